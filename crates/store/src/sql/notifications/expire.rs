//! The jobs that nobody will send any more.

use async_trait::async_trait;
use countersign_core::ports::notifications::NotificationKind;
use countersign_proto::{ids::NotificationId, timestamp::Timestamp, vocabulary::DeliveryState};

use super::{
    super::{Columns, Outcome, Plain, Tx, dialect, query, test_pushes::TestPushChange},
    delivery::{DeliveryChange, DeliveryChanges},
    kind,
};
use crate::{failure::Failure, statement::Statement};

/// See the module.
pub(super) struct Statements {
    expired_notifications: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            expired_notifications: Statement::new(format!(
                "-- expired_notifications
                SELECT id, kind, device_id, challenge_id, attempts FROM notifications
                WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {lock}",
                lock = dialect::locking("FOR UPDATE SKIP LOCKED"),
            )),
        }
    }
}

/// Removes what nobody will send.
pub(super) struct ExpireNotifications {
    pub(super) now: Timestamp,
    pub(super) limit: u32,
}

#[async_trait]
impl Plain for ExpireNotifications {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        let statements = tx.statements();
        let expired = query(&statements.notifications.expire.expired_notifications)
            .bind(self.now.as_millis())
            .bind(i64::from(self.limit));
        let rows = tx.fetch_all(expired).await?;
        let (state, error, at) = (DeliveryState::Expired, None, self.now);
        let mut ids = Vec::with_capacity(rows.len());
        let mut deliveries = DeliveryChanges::new();
        let mut tests = Vec::new();
        for row in &rows {
            let row = Columns::new("notifications", row);
            let (id, attempts): (NotificationId, _) = (row.id("id")?, row.integer("attempts")?);
            ids.push(id);
            match (kind(&row)?, row.optional_id("challenge_id")?) {
                (NotificationKind::Challenge, Some(challenge_id)) => {
                    let change = DeliveryChange { state, attempts, error: error.clone(), at };
                    deliveries.insert((challenge_id, row.id("device_id")?), change);
                }
                (NotificationKind::Test, _) => {
                    tests.push(TestPushChange { id, state, attempts, error: error.clone(), at });
                }
                _ => {}
            }
        }
        tx.delete_notifications(&ids).await?;
        tx.update_deliveries(&deliveries).await?;
        tx.update_test_pushes(&tests).await?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        Ok(if count == 0 { Outcome::Rollback(0) } else { Outcome::Commit(count) })
    }
}
