//! Notifications: push jobs, leased by dispatchers.
//!
//! A lease is a token and an end. Leasing also moves `due_at` to the lease's end: a job whose worker died is due
//! again by itself. A verdict is stored only while its token still stands in the row.

#[path = "notifications/claim.rs"]
mod claim;
#[path = "notifications/finish.rs"]
mod finish;

use async_trait::async_trait;
use countersign_core::ports::{
    StoreError,
    notifications::{
        ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification, NotificationKind, Notifications,
        Sightings,
    },
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, NotificationId, TenantId},
    timestamp::Timestamp,
    vocabulary::PushChannel,
};
use serde_json::json;

use super::{Columns, Database, Tx, batch::SetCommand, dialect, query};
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
/// See the module.
pub(super) struct Statements {
    insert_notifications: Statement,
    claim: claim::Statements,
    finish: finish::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            claim: claim::Statements::new(),
            finish: finish::Statements::new(),
            insert_notifications: Statement::new(format!(
                "-- insert_notifications
                INSERT INTO notifications (id, tenant_id, kind, device_id, challenge_id, due_at, expires_at)
                SELECT r_id, r_tenant_id, r_kind, r_device_id, r_challenge_id, r_due_at, r_expires_at FROM {new}",
                new = dialect::row_source(1, NEW),
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
}

fn kind(row: &Columns<'_>) -> Result<NotificationKind, StoreError> {
    let word = row.text("kind")?;
    let kinds =
        [NotificationKind::Challenge, NotificationKind::Withdrawn, NotificationKind::Notice, NotificationKind::Test];
    kinds.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| row.corrupt("kind"))
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
        self.write(finish::ExpireNotifications { now, limit }).await
    }

    async fn oldest_due(&self, _now: Timestamp) -> Result<Vec<(PushChannel, Timestamp)>, StoreError> {
        Ok(Vec::new())
    }

    async fn record_sightings(&self, _sightings: Sightings) -> Result<(), StoreError> {
        Ok(())
    }
}
