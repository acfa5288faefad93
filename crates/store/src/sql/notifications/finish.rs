//! Verdicts: what became of a push, in the job and in its delivery; and the jobs that nobody will send.

use std::collections::HashMap;

use async_trait::async_trait;
use countersign_core::ports::{
    StoreError,
    notifications::{FinishNotification, FinishOutcome, NotificationKind, NotificationVerdict},
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, NotificationId},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeliveryState, Word as _},
};
use serde_json::json;

use super::{
    super::{
        Columns, Outcome, Plain, Tx,
        challenges::{Withdrawn, withdrawal},
        dialect, query,
    },
    kind,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];
const VERDICTS: &rows::Columns = &[("r_id", Type::Id), ("r_lease", Type::Id), ("r_due_at", Type::Integer)];
const DELIVERIES: &rows::Columns = &[
    ("r_challenge_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_state", Type::Text),
    ("r_attempts", Type::Integer),
    ("r_error", Type::Text),
    ("r_now", Type::Integer),
];
const TOKENS: &rows::Columns = &[("r_device_id", Type::Id), ("r_registered_at", Type::Integer)];

/// See the module.
pub(super) struct Statements {
    end_leases: Statement,
    delete_notifications: Statement,
    update_deliveries: Statement,
    clear_tokens: Statement,
    late_deliveries: Statement,
    expired_notifications: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let ids = dialect::row_source(1, IDS);
        let deliveries = dialect::row_source(1, DELIVERIES);
        Self {
            // The lock on the row: from here on nobody else leases it.
            end_leases: Statement::new(format!(
                "-- end_leases
                UPDATE notifications SET lease = NULL, leased_until = NULL, due_at = r_due_at
                FROM {verdicts} WHERE notifications.id = r_id AND notifications.lease = r_lease
                RETURNING id, tenant_id, kind, device_id, challenge_id, attempts",
                verdicts = dialect::row_source(1, VERDICTS),
            )),
            delete_notifications: Statement::new(format!(
                "-- delete_notifications
                DELETE FROM notifications WHERE id IN (SELECT r_id FROM {ids})"
            )),
            update_deliveries: Statement::new(format!(
                "-- update_deliveries
                UPDATE deliveries SET state = r_state, attempts = r_attempts, last_error = r_error, updated_at = r_now
                FROM {deliveries}
                WHERE deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id"
            )),
            // Only the token that was tried: the device may have told us a new one meanwhile.
            clear_tokens: Statement::new(format!(
                "-- clear_tokens
                UPDATE devices SET push_token_gone = 1, push = $2
                FROM {tokens} WHERE devices.id = r_device_id AND devices.push_updated_at = r_registered_at",
                tokens = dialect::row_source(1, TOKENS),
            )),
            late_deliveries: Statement::new(format!(
                "-- late_deliveries
                SELECT deliveries.challenge_id AS challenge_id, deliveries.device_id AS device_id, channel
                FROM {deliveries} CROSS JOIN challenges CROSS JOIN deliveries
                WHERE challenges.id = r_challenge_id AND challenges.status NOT IN ('pending', 'expired')
                  AND deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id
                  AND (challenges.device_id IS NULL OR challenges.device_id <> r_device_id)"
            )),
            expired_notifications: Statement::new(format!(
                "-- expired_notifications
                SELECT id, kind, device_id, challenge_id, attempts FROM notifications
                WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {lock}",
                lock = dialect::locking("FOR UPDATE SKIP LOCKED"),
            )),
        }
    }
}

/// What a finished or expired notification makes of its delivery.
struct DeliveryChange {
    challenge_id: ChallengeId,
    device_id: DeviceId,
    state: DeliveryState,
    attempts: i64,
    error: Option<String>,
    at: Timestamp,
}

impl Tx<'_> {
    /// Stores verdicts on different notifications.
    pub(in super::super) async fn finish_notifications(
        &mut self,
        commands: &[&FinishNotification],
    ) -> Result<Vec<FinishOutcome>, Failure> {
        let statements = self.statements();
        let row = |command: &&FinishNotification| {
            let due_at = match command.verdict {
                NotificationVerdict::RetryAt(at, _) => at,
                _ => command.at,
            };
            json!({"r_id": rows::id(command.leased.id), "r_lease": rows::id(command.leased.lease), "r_due_at": rows::time(due_at)})
        };
        let verdicts = rows::to_parameter(VERDICTS, commands.iter().map(row).collect());
        let ended = self.fetch_all(query(&statements.notifications.finish.end_leases).bind(verdicts)).await?;
        let mut stored = HashMap::new();
        for row in &ended {
            let row = Columns::new("notifications", row);
            stored.insert(row.id::<countersign_proto::ids::kind::Notification>("id")?, row);
        }
        let mut changes = Vec::new();
        let mut done = Vec::new();
        let mut tokens = Vec::new();
        for command in commands {
            let Some(row) = stored.get(&command.leased.id) else { continue };
            changes.extend(delivery_change(command, row)?);
            if !matches!(command.verdict, NotificationVerdict::RetryAt(..)) {
                done.push(command.leased.id);
            }
            if let NotificationVerdict::TokenGone(_) = command.verdict {
                let registered_at = command.leased.push_updated_at;
                tokens.push(json!({"r_device_id": rows::id::<()>(row.id("device_id")?),
                    "r_registered_at": rows::time(registered_at)}));
            }
        }
        self.delete_notifications(&done).await?;
        self.update_deliveries(&changes).await?;
        self.withdraw_late(commands, &changes, &stored).await?;
        if !tokens.is_empty() {
            let none = rows::json(&PushBinding::None)?;
            let clear = query(&statements.notifications.finish.clear_tokens).bind(rows::to_parameter(TOKENS, tokens));
            self.execute(clear.bind(none)).await?;
        }
        let outcome = |command: &&FinishNotification| match stored.contains_key(&command.leased.id) {
            true => FinishOutcome::Stored,
            false => FinishOutcome::StaleLease,
        };
        Ok(commands.iter().map(outcome).collect())
    }

    async fn delete_notifications(&mut self, ids: &[NotificationId]) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let parameter = rows::to_parameter(IDS, ids.iter().map(|id| json!({"r_id": rows::id(*id)})).collect());
        let statements = self.statements();
        self.execute(query(&statements.notifications.finish.delete_notifications).bind(parameter)).await.map(|_| ())
    }

    async fn update_deliveries(&mut self, changes: &[DeliveryChange]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let statements = self.statements();
        let update = query(&statements.notifications.finish.update_deliveries).bind(delivery_rows(changes.iter()));
        self.execute(update).await.map(|_| ())
    }

    /// A push that arrives after its challenge has ended is withdrawn like one that arrived before.
    async fn withdraw_late(
        &mut self,
        commands: &[&FinishNotification],
        changes: &[DeliveryChange],
        stored: &HashMap<NotificationId, Columns<'_>>,
    ) -> Result<(), Failure> {
        let delivered = || changes.iter().filter(|change| change.state == DeliveryState::Delivered);
        if delivered().next().is_none() {
            return Ok(());
        }
        let statements = self.statements();
        let late = query(&statements.notifications.finish.late_deliveries).bind(delivery_rows(delivered()));
        let mut withdrawals = Vec::new();
        for row in &self.fetch_all(late).await? {
            let late = Columns::new("deliveries", row);
            let (challenge_id, device_id) = (late.id("challenge_id")?, late.id("device_id")?);
            for command in commands {
                let Some(row) = stored.get(&command.leased.id) else { continue };
                if row.optional_id("challenge_id")? == Some(challenge_id) && row.id("device_id")? == device_id {
                    let tenant_id = row.id("tenant_id")?;
                    let channel = late.word("channel")?;
                    let of = Withdrawn { tenant_id, challenge_id, device_id, channel };
                    withdrawals.extend(withdrawal(command.leased.lease, command.at, of));
                }
            }
        }
        self.insert_notifications(withdrawals).await
    }
}

fn delivery_rows<'a>(changes: impl Iterator<Item = &'a DeliveryChange>) -> String {
    let row = |change: &DeliveryChange| {
        json!({
            "r_challenge_id": rows::id(change.challenge_id),
            "r_device_id": rows::id(change.device_id),
            "r_state": change.state.as_str(),
            "r_attempts": change.attempts,
            "r_error": change.error,
            "r_now": rows::time(change.at),
        })
    };
    rows::to_parameter(DELIVERIES, changes.map(row).collect())
}

/// What the verdict makes of the delivery, if the notification has one.
fn delivery_change(command: &FinishNotification, row: &Columns<'_>) -> Result<Option<DeliveryChange>, StoreError> {
    let Some(challenge_id) = row.optional_id("challenge_id")? else { return Ok(None) };
    let (state, error) = match &command.verdict {
        NotificationVerdict::Delivered => (DeliveryState::Delivered, None),
        NotificationVerdict::RetryAt(_, error) => (DeliveryState::Retrying, Some(error.clone())),
        NotificationVerdict::TokenGone(error) => (DeliveryState::TokenGone, Some(error.clone())),
        NotificationVerdict::Undeliverable(error) | NotificationVerdict::Rejected(error) => (DeliveryState::Rejected, Some(error.clone())),
        NotificationVerdict::Expired(error) => (DeliveryState::Expired, error.clone()),
    };
    let state = match (kind(row)?, state) {
        (NotificationKind::Challenge, state) => state,
        // The phone was told; before that the delivery stays what it was.
        (NotificationKind::Withdrawn, DeliveryState::Delivered) => DeliveryState::Withdrawn,
        _ => return Ok(None),
    };
    let (device_id, attempts) = (row.id("device_id")?, row.integer("attempts")?);
    Ok(Some(DeliveryChange { challenge_id, device_id, state, attempts, error, at: command.at }))
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
        let expired = query(&statements.notifications.finish.expired_notifications)
            .bind(self.now.as_millis())
            .bind(i64::from(self.limit));
        let rows = tx.fetch_all(expired).await?;
        let mut ids = Vec::with_capacity(rows.len());
        let mut changes = Vec::new();
        for row in &rows {
            let row = Columns::new("notifications", row);
            ids.push(row.id("id")?);
            if let (NotificationKind::Challenge, Some(challenge_id)) = (kind(&row)?, row.optional_id("challenge_id")?) {
                let (device_id, attempts) = (row.id("device_id")?, row.integer("attempts")?);
                let state = DeliveryState::Expired;
                changes.push(DeliveryChange { challenge_id, device_id, state, attempts, error: None, at: self.now });
            }
        }
        tx.delete_notifications(&ids).await?;
        tx.update_deliveries(&changes).await?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        Ok(if count == 0 { Outcome::Rollback(0) } else { Outcome::Commit(count) })
    }
}
