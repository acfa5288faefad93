//! Health and housekeeping.

use async_trait::async_trait;
use countersign_core::{
    limits::TEST_PUSH_KEPT_SECONDS,
    ports::{StoreError, system::System},
};
use countersign_proto::timestamp::Timestamp;

use super::{Columns, Database, Outcome, Plain, Tx, dialect, query};
use crate::failure::Failure;

/// Writes one row, durably.
struct CheckWritable(Timestamp);

#[async_trait]
impl Plain for CheckWritable {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        let write = query("-- check_writable\nUPDATE installation SET checked_at = $1 WHERE id = 1");
        let changed = tx.execute(write.bind(self.0.as_millis())).await?;
        Ok(Outcome::Commit(changed == 1))
    }
}

/// Deletes what nobody may ask for any more.
struct ForgetExpired {
    now: Timestamp,
    limit: u32,
}

#[async_trait]
impl Plain for ForgetExpired {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        let kept = self.now.plus_seconds(-TEST_PUSH_KEPT_SECONDS);
        let statements = [
            (
                "-- forget_replies
                DELETE FROM replies WHERE artefact IN
                    (SELECT artefact FROM replies WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
                self.now,
            ),
            (
                "-- forget_idempotency_keys
                DELETE FROM idempotency_keys WHERE (client_id, key) IN
                    (SELECT client_id, key FROM idempotency_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
                self.now,
            ),
            (
                "-- forget_push_update_jtis
                DELETE FROM push_update_jtis WHERE (device_id, jti) IN
                    (SELECT device_id, jti FROM push_update_jtis WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
                self.now,
            ),
            (
                "-- forget_client_proof_jtis
                DELETE FROM client_proof_jtis WHERE (client_id, jti) IN
                    (SELECT client_id, jti FROM client_proof_jtis WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
                self.now,
            ),
            (
                "-- forget_test_pushes
                DELETE FROM test_pushes WHERE id IN
                    (SELECT id FROM test_pushes WHERE created_at <= $1 ORDER BY created_at LIMIT $2)",
                kept,
            ),
        ];
        let mut count = 0;
        for (statement, until) in statements {
            let delete = query(statement).bind(until.as_millis()).bind(i64::from(self.limit));
            count += tx.execute(delete).await?;
        }
        Ok(Outcome::Commit(count))
    }
}

#[async_trait]
impl System for Database {
    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError> {
        let applied = self.fetch_all(query("-- migrations\nSELECT version, success FROM _sqlx_migrations")).await?;
        let mut versions = Vec::with_capacity(applied.len());
        for row in &applied {
            let row = Columns::new("_sqlx_migrations", row);
            if row.get::<bool>("success")? {
                versions.push(row.integer("version")?);
            }
        }
        versions.sort_unstable();
        if !versions.iter().copied().eq(dialect::MIGRATIONS.iter().map(|migration| migration.version)) {
            return Err(StoreError::Unavailable("the database has other migrations than this program".to_owned()));
        }
        self.lookups.check(now).await?;
        match self.write(CheckWritable(now)).await? {
            true => Ok(()),
            false => Err(StoreError::Corrupt { table: "installation", column: "id", row: "1".to_owned() }),
        }
    }

    async fn forget_expired(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(ForgetExpired { now, limit }).await
    }

    async fn close(&self) {
        self.shut_down().await;
    }
}
