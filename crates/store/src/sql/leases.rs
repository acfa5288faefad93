//! Leases of kinds of background work.

use async_trait::async_trait;
use countersign_core::ports::{
    StoreError,
    leases::{FAR_AHEAD_MILLIS, HolderId, Leases, TakeLease},
};

use super::{Database, Outcome, Plain, Tx, query};
use crate::failure::Failure;

#[async_trait]
impl Plain for TakeLease {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        // One row, one write: of two that ask at once the second sees what the first has done. Asked again after a
        // COMMIT whose answer was lost, it is the holder's own, and is renewed.
        let take = "-- take_lease
            INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
            WHERE leases.holder = excluded.holder OR leases.until <= $4 OR leases.until > $5";
        let take = query(take)
            .bind(self.name)
            .bind(self.holder.as_uuid())
            .bind(self.until.as_millis())
            .bind(self.now.as_millis())
            .bind(self.until.as_millis().saturating_add(FAR_AHEAD_MILLIS));
        Ok(match tx.execute(take).await? {
            // Nothing to write: whoever waits for a lease costs no commit.
            0 => Outcome::Rollback(false),
            _ => Outcome::Commit(true),
        })
    }
}

struct GiveBackLease {
    name: &'static str,
    holder: HolderId,
}

#[async_trait]
impl Plain for GiveBackLease {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        let give_back = "-- give_back_lease
            DELETE FROM leases WHERE name = $1 AND holder = $2";
        tx.execute(query(give_back).bind(self.name).bind(self.holder.as_uuid())).await?;
        Ok(Outcome::Commit(()))
    }
}

#[async_trait]
impl Leases for Database {
    async fn take_lease(&self, command: TakeLease) -> Result<bool, StoreError> {
        self.write(command).await
    }

    async fn give_back_lease(&self, name: &'static str, holder: HolderId) -> Result<(), StoreError> {
        self.write(GiveBackLease { name, holder }).await
    }
}
