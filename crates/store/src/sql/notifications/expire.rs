//! The jobs that nobody will send any more.

use async_trait::async_trait;
use countersign_core::ports::notifications::NotificationKind;
use countersign_proto::{ids::NotificationId, timestamp::Timestamp, vocabulary::DeliveryState};

use super::{
    super::{Columns, Outcome, Plain, Tx, dialect, query, test_pushes::TestPushChange},
    delivery::{DeliveryChange, Sent},
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
                SELECT id, tenant_id, kind, device_id, challenge_id, attempts FROM notifications
                WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {lock}",
                lock = dialect::locking("FOR UPDATE SKIP LOCKED"),
            )),
        }
    }
}

impl Tx<'_> {
    /// Ends the deliveries of pushes that are gone from the outbox without a verdict, and withdraws those of ended
    /// challenges that somebody may have sent, as often as is said with each: whoever was to tell us is dead.
    pub(super) async fn end_challenges_pushes(&mut self, pushes: Vec<(Sent, i64)>) -> Result<(), Failure> {
        let late = self.late(&pushes.iter().map(|(push, _)| push.key).collect::<Vec<_>>()).await?;
        let change = |(push, attempts): &(Sent, i64)| {
            let is_late = late.contains_key(&push.key);
            let state = if is_late { DeliveryState::Withdrawn } else { DeliveryState::Expired };
            (push.key, DeliveryChange { state, attempts: *attempts, error: None, at: push.at })
        };
        self.update_deliveries(&pushes.iter().map(change).collect()).await?;
        let sent = pushes.into_iter().filter(|(_, attempts)| *attempts > 0);
        self.withdraw_late(&late, sent.map(|(push, _)| push)).await
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
        let mut ids = Vec::with_capacity(rows.len());
        let mut challenges = Vec::new();
        let mut tests = Vec::new();
        for row in &rows {
            let row = Columns::new("notifications", row);
            let (id, attempts): (NotificationId, _) = (row.id("id")?, row.integer("attempts")?);
            ids.push(id);
            match (kind(&row)?, row.optional_id("challenge_id")?) {
                (NotificationKind::Challenge, Some(challenge_id)) => {
                    let key = (challenge_id, row.id("device_id")?);
                    challenges.push((Sent { id, tenant_id: row.id("tenant_id")?, key, at: self.now }, attempts));
                }
                (NotificationKind::Test, _) => {
                    tests.push(TestPushChange {
                        id,
                        state: DeliveryState::Expired,
                        attempts,
                        error: None,
                        at: self.now,
                    });
                }
                _ => {}
            }
        }
        tx.delete_notifications(&ids).await?;
        tx.end_challenges_pushes(challenges).await?;
        tx.update_test_pushes(&tests).await?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        Ok(if count == 0 { Outcome::Rollback(0) } else { Outcome::Commit(count) })
    }
}
