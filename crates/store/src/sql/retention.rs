//! Deleting what has been kept for long enough, a portion at a time, in the order of the keys.
//!
//! A challenge that waits is never deleted, however old: the sweeper ends it first. Two nodes that delete the same
//! portion delete it once. Never on the way of a sign-in: what is deleted has ended days ago.

use async_trait::async_trait;
use countersign_core::ports::{
    StoreError,
    retention::{Forget, Forgotten, Retention},
};
use countersign_proto::ids::{ChallengeId, EnrollmentId, Id, TenantId};
use serde_json::json;
use uuid::Uuid;

use super::{Columns, Database, Outcome, Plain, Query, Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CHALLENGES: &rows::Columns = &[("r_challenge_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    forget_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            forget_deliveries: Statement::new(format!(
                "-- forget_deliveries
                DELETE FROM deliveries WHERE challenge_id IN (SELECT r_challenge_id FROM {challenges})",
                challenges = dialect::row_source(1, CHALLENGES),
            )),
        }
    }
}

#[async_trait]
impl Plain for Forget<ChallengeId> {
    type Reply = Forgotten<ChallengeId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<Forgotten<ChallengeId>>, Failure> {
        let forget = query(match self.tenant_id {
            None => {
                "-- forget_challenges
                DELETE FROM challenges WHERE id IN
                    (SELECT id FROM challenges WHERE id > $1 AND id < $2 AND status <> 'pending' ORDER BY id LIMIT $3)
                RETURNING id"
            }
            Some(_) => {
                "-- forget_challenges_of_tenant
                DELETE FROM challenges WHERE id IN
                    (SELECT id FROM challenges
                     WHERE tenant_id = $4 AND id > $1 AND id < $2 AND status <> 'pending' ORDER BY id LIMIT $3)
                RETURNING id"
            }
        });
        let forgotten = forget_rows(tx, forget, self, "challenges").await?;
        if !forgotten.is_empty() {
            let rows = forgotten.iter().map(|id| json!({"r_challenge_id": rows::id(*id)})).collect();
            let statements = tx.statements();
            let deliveries = query(&statements.retention.forget_deliveries);
            tx.execute(deliveries.bind(rows::to_parameter(CHALLENGES, rows))).await?;
        }
        Ok(outcome(&forgotten))
    }
}

#[async_trait]
impl Plain for Forget<EnrollmentId> {
    type Reply = Forgotten<EnrollmentId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<Forgotten<EnrollmentId>>, Failure> {
        let forget = query(match self.tenant_id {
            None => {
                "-- forget_enrollments
                DELETE FROM enrollments WHERE id IN
                    (SELECT id FROM enrollments
                     WHERE id > $1 AND id < $2 AND status NOT IN ('pending', 'claimed') ORDER BY id LIMIT $3)
                RETURNING id"
            }
            Some(_) => {
                "-- forget_enrollments_of_tenant
                DELETE FROM enrollments WHERE id IN
                    (SELECT id FROM enrollments
                     WHERE tenant_id = $4 AND id > $1 AND id < $2 AND status NOT IN ('pending', 'claimed')
                     ORDER BY id LIMIT $3)
                RETURNING id"
            }
        });
        Ok(outcome(&forget_rows(tx, forget, self, "enrollments").await?))
    }
}

async fn forget_rows<K>(
    tx: &mut Tx<'_>,
    forget: Query<'_>,
    command: &Forget<Id<K>>,
    table: &'static str,
) -> Result<Vec<Id<K>>, Failure> {
    let forget = forget
        .bind(command.after.map_or(Uuid::nil(), Id::as_uuid))
        .bind(rows::first_id_at(command.made_before))
        .bind(i64::from(command.limit));
    let forget = match command.tenant_id {
        Some(tenant_id) => forget.bind(tenant_id.as_uuid()),
        None => forget,
    };
    let rows = tx.fetch_all(forget).await?;
    Ok(rows.iter().map(|row| Columns::new(table, row).id("id")).collect::<Result<_, _>>()?)
}

fn outcome<K>(forgotten: &[Id<K>]) -> Outcome<Forgotten<Id<K>>> {
    let count = u32::try_from(forgotten.len()).unwrap_or(u32::MAX);
    // Not in the order of the statement's result, which nobody promises.
    let last = forgotten.iter().copied().max_by_key(|id| id.as_uuid());
    match count {
        // Nothing to write costs no commit.
        0 => Outcome::Rollback(Forgotten { count, last }),
        _ => Outcome::Commit(Forgotten { count, last }),
    }
}

/// See [`Retention::put_forgotten`].
struct PutForgotten {
    tenant_id: Option<TenantId>,
    before: Option<String>,
    note: String,
}

#[async_trait]
impl Plain for PutForgotten {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        let put = "-- put_forgotten
            INSERT INTO forgotten (tenant_id, note) VALUES ($1, $2)
            ON CONFLICT (tenant_id) DO UPDATE SET note = excluded.note WHERE forgotten.note = $3";
        let put = query(put).bind(whose(self.tenant_id)).bind(&self.note).bind(&self.before);
        Ok(match tx.execute(put).await? {
            0 => Outcome::Rollback(false),
            _ => Outcome::Commit(true),
        })
    }
}

/// Whose note it is: under the nil id that of all.
fn whose(tenant_id: Option<TenantId>) -> Uuid {
    tenant_id.map_or(Uuid::nil(), TenantId::as_uuid)
}

#[async_trait]
impl Retention for Database {
    async fn forget_challenges(&self, command: Forget<ChallengeId>) -> Result<Forgotten<ChallengeId>, StoreError> {
        self.write(command).await
    }

    async fn forget_enrollments(&self, command: Forget<EnrollmentId>) -> Result<Forgotten<EnrollmentId>, StoreError> {
        self.write(command).await
    }

    async fn forgotten(&self, tenant_id: Option<TenantId>) -> Result<Option<String>, StoreError> {
        let forgotten = query("-- forgotten\nSELECT tenant_id, note FROM forgotten WHERE tenant_id = $1");
        let row = self.fetch_optional(forgotten.bind(whose(tenant_id))).await?;
        row.map(|row| Columns::new("forgotten", &row).text("note")).transpose()
    }

    async fn put_forgotten(
        &self,
        tenant_id: Option<TenantId>,
        before: Option<String>,
        note: String,
    ) -> Result<bool, StoreError> {
        self.write(PutForgotten { tenant_id, before, note }).await
    }
}
