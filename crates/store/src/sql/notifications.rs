//! Notifications: push jobs, leased by dispatchers.
//!
//! A lease is a token and an end. Leasing also moves `due_at` to the lease's end: a job whose worker died is due
//! again by itself. A verdict is stored only while its token still stands in the row.

use std::collections::HashMap;

use async_trait::async_trait;
use countersign_core::ports::{
    StoreError,
    notifications::{
        ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification, NotificationKind,
        NotificationVerdict, Notifications,
    },
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, NotificationId, TenantId},
    timestamp::Timestamp,
    vocabulary::{DeliveryState, Word as _},
};
use serde_json::json;

use super::{Columns, Database, Outcome, Plain, Row, Tx, batch::SetCommand, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const NEW: &rows::Columns = &[
    ("r_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_kind", Type::Text),
    ("r_device_id", Type::Id),
    ("r_challenge_id", Type::Id),
    ("r_due_at", Type::Integer),
    ("r_expires_at", Type::Integer),
];
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
    insert_notifications: Statement,
    claim_notifications: Statement,
    leased_notifications: Statement,
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
            insert_notifications: Statement::new(format!(
                "-- insert_notifications
                INSERT INTO notifications (id, tenant_id, kind, device_id, challenge_id, due_at, expires_at)
                SELECT r_id, r_tenant_id, r_kind, r_device_id, r_challenge_id, r_due_at, r_expires_at FROM {new}",
                new = dialect::row_source(1, NEW),
            )),
            // Whoever suspends or revokes the device holds its row, and is skipped, or comes after the lease.
            claim_notifications: Statement::new(format!(
                "-- claim_notifications
                UPDATE notifications SET lease = $1, leased_until = $2, due_at = $2, attempts = attempts + 1
                WHERE id IN (
                    SELECT notifications.id
                    FROM notifications CROSS JOIN devices
                    WHERE notifications.due_at <= $3 AND notifications.expires_at > $3
                      AND devices.id = notifications.device_id AND devices.tenant_id = notifications.tenant_id
                      AND devices.status = 'active' AND devices.push_token_gone = 0
                      AND (notifications.kind <> 'challenge' OR EXISTS (
                          SELECT 1 FROM challenges
                          WHERE challenges.id = notifications.challenge_id AND challenges.status = 'pending'
                            AND challenges.expires_at > $3))
                    ORDER BY notifications.due_at, notifications.id LIMIT $4 {lock})
                RETURNING id",
                lock = dialect::locking("FOR UPDATE OF notifications SKIP LOCKED FOR SHARE OF devices SKIP LOCKED"),
            )),
            leased_notifications: Statement::new(format!(
                "-- leased_notifications
                SELECT notifications.id AS id, notifications.tenant_id AS tenant_id, kind, device_id, challenge_id,
                    push, push_updated_at, attempts, expires_at, leased_until
                FROM {ids} CROSS JOIN notifications CROSS JOIN devices
                WHERE notifications.id = r_id AND notifications.lease = $2
                  AND devices.id = notifications.device_id AND devices.tenant_id = notifications.tenant_id
                ORDER BY notifications.id"
            )),
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

/// A push job to be written.
pub(super) struct NewNotification {
    pub(super) id: NotificationId,
    pub(super) tenant_id: TenantId,
    pub(super) kind: NotificationKind,
    pub(super) device_id: DeviceId,
    pub(super) challenge_id: Option<ChallengeId>,
    pub(super) due_at: Timestamp,
    pub(super) expires_at: Timestamp,
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
    /// Queues pushes.
    pub(super) async fn insert_notifications(&mut self, notifications: Vec<NewNotification>) -> Result<(), Failure> {
        if notifications.is_empty() {
            return Ok(());
        }
        let row = |notification: &NewNotification| {
            json!({
                "r_id": rows::id(notification.id),
                "r_tenant_id": rows::id(notification.tenant_id),
                "r_kind": notification.kind.as_str(),
                "r_device_id": rows::id(notification.device_id),
                "r_challenge_id": notification.challenge_id.map(rows::id),
                "r_due_at": rows::time(notification.due_at),
                "r_expires_at": rows::time(notification.expires_at),
            })
        };
        let parameter = rows::to_parameter(NEW, notifications.iter().map(row).collect());
        let statements = self.statements();
        self.execute(query(&statements.notifications.insert_notifications).bind(parameter)).await.map(|_| ())
    }

    /// Leases what is due.
    pub(super) async fn claim_notifications(
        &mut self,
        command: &ClaimNotifications,
    ) -> Result<Vec<LeasedNotification>, Failure> {
        let statements = self.statements();
        let leased_until = command.now.plus_seconds(command.lease_seconds);
        let claim = query(&statements.notifications.claim_notifications)
            .bind(command.lease.as_uuid())
            .bind(leased_until.as_millis())
            .bind(command.now.as_millis())
            .bind(i64::from(command.limit));
        let claimed = self.fetch_all(claim).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids = Vec::with_capacity(claimed.len());
        for row in &claimed {
            ids.push(json!({"r_id": rows::id::<()>(Columns::new("notifications", row).id("id")?)}));
        }
        let leased = query(&statements.notifications.leased_notifications)
            .bind(rows::to_parameter(IDS, ids))
            .bind(command.lease.as_uuid());
        let leased = self.fetch_all(leased).await?;
        leased.iter().map(|row| Ok(leased_notification(row, command)?)).collect()
    }

    /// Stores verdicts on different notifications.
    pub(super) async fn finish_notifications(
        &mut self,
        commands: &[&FinishNotification],
    ) -> Result<Vec<FinishOutcome>, Failure> {
        let statements = self.statements();
        let row = |command: &&FinishNotification| {
            let due_at = match command.verdict {
                NotificationVerdict::RetryAt(at, _) => at,
                _ => command.at,
            };
            json!({"r_id": rows::id(command.id), "r_lease": rows::id(command.lease), "r_due_at": rows::time(due_at)})
        };
        let verdicts = rows::to_parameter(VERDICTS, commands.iter().map(row).collect());
        let ended = self.fetch_all(query(&statements.notifications.end_leases).bind(verdicts)).await?;
        let mut stored = HashMap::new();
        for row in &ended {
            let row = Columns::new("notifications", row);
            stored.insert(row.id::<countersign_proto::ids::kind::Notification>("id")?, row);
        }
        let mut changes = Vec::new();
        let mut done = Vec::new();
        let mut tokens = Vec::new();
        for command in commands {
            let Some(row) = stored.get(&command.id) else { continue };
            changes.extend(delivery_change(command, row)?);
            if !matches!(command.verdict, NotificationVerdict::RetryAt(..)) {
                done.push(command.id);
            }
            if let NotificationVerdict::TokenGone { registered_at } = command.verdict {
                tokens.push(json!({"r_device_id": rows::id::<()>(row.id("device_id")?),
                    "r_registered_at": rows::time(registered_at)}));
            }
        }
        self.delete_notifications(&done).await?;
        self.update_deliveries(&changes).await?;
        self.withdraw_late(commands, &changes, &stored).await?;
        if !tokens.is_empty() {
            let none = rows::json(&countersign_proto::push::PushBinding::None)?;
            let clear = query(&statements.notifications.clear_tokens).bind(rows::to_parameter(TOKENS, tokens));
            self.execute(clear.bind(none)).await?;
        }
        let outcome = |command: &&FinishNotification| match stored.contains_key(&command.id) {
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
        self.execute(query(&statements.notifications.delete_notifications).bind(parameter)).await.map(|_| ())
    }

    async fn update_deliveries(&mut self, changes: &[DeliveryChange]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let statements = self.statements();
        let update = query(&statements.notifications.update_deliveries).bind(delivery_rows(changes.iter()));
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
        let late = query(&statements.notifications.late_deliveries).bind(delivery_rows(delivered()));
        let mut withdrawals = Vec::new();
        for row in &self.fetch_all(late).await? {
            let late = Columns::new("deliveries", row);
            let (challenge_id, device_id) = (late.id("challenge_id")?, late.id("device_id")?);
            for command in commands {
                let Some(row) = stored.get(&command.id) else { continue };
                if row.optional_id("challenge_id")? == Some(challenge_id) && row.id("device_id")? == device_id {
                    let tenant_id = row.id("tenant_id")?;
                    let channel = late.word("channel")?;
                    let of = super::challenges::Withdrawn { tenant_id, challenge_id, device_id, channel };
                    withdrawals.extend(super::challenges::withdrawal(command.lease, command.at, of));
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
        NotificationVerdict::TokenGone { .. } => (DeliveryState::TokenGone, None),
        NotificationVerdict::Rejected(error) => (DeliveryState::Rejected, Some(error.clone())),
        NotificationVerdict::Expired => (DeliveryState::Expired, None),
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

fn kind(row: &Columns<'_>) -> Result<NotificationKind, StoreError> {
    let word = row.text("kind")?;
    let kinds =
        [NotificationKind::Challenge, NotificationKind::Withdrawn, NotificationKind::Notice, NotificationKind::Test];
    kinds.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| row.corrupt("kind"))
}

fn leased_notification(row: &Row, command: &ClaimNotifications) -> Result<LeasedNotification, StoreError> {
    let row = Columns::new("notifications", row);
    Ok(LeasedNotification {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        kind: kind(&row)?,
        device_id: row.id("device_id")?,
        challenge_id: row.optional_id("challenge_id")?,
        push: row.json("push")?,
        push_updated_at: row.time("push_updated_at")?,
        // This one is counted already.
        attempts: row.count("attempts")?.saturating_sub(1),
        expires_at: row.time("expires_at")?,
        lease: command.lease,
        leased_until: row.time("leased_until")?,
    })
}

/// Removes what nobody will send.
struct ExpireNotifications {
    now: Timestamp,
    limit: u32,
}

#[async_trait]
impl Plain for ExpireNotifications {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        let statements = tx.statements();
        let expired = query(&statements.notifications.expired_notifications)
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

#[async_trait]
impl Notifications for Database {
    async fn claim_notifications(&self, command: ClaimNotifications) -> Result<Vec<LeasedNotification>, StoreError> {
        self.write_in_batch(command, |ask| SetCommand::Claim(Box::new(ask))).await
    }

    async fn finish_notification(&self, command: FinishNotification) -> Result<FinishOutcome, StoreError> {
        self.write_in_batch(command, |ask| SetCommand::Finish(Box::new(ask))).await
    }

    async fn expire_notifications(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(ExpireNotifications { now, limit }).await
    }
}
