//! Notifications: push jobs, leased by dispatchers.
//!
//! A lease is a token and an end. Leasing also moves `due_at` to the lease's end: a job whose worker died is due
//! again by itself. A verdict is stored only while its token still stands in the row.
//! Each job waits in the lane of its device's channel, which follows the device to another channel.
//! To add a verdict: what it makes of the delivery in `notifications/verdict.rs`, of the device in
//! `notifications/token.rs`. To add a kind of push: whoever causes it calls [`Tx::insert_notifications`].

#[path = "notifications/claim.rs"]
mod claim;
#[path = "notifications/delivery.rs"]
mod delivery;
#[path = "notifications/expire.rs"]
mod expire;
#[path = "notifications/finish.rs"]
mod finish;
#[path = "notifications/health.rs"]
mod health;
#[path = "notifications/sightings.rs"]
mod sightings;
#[path = "notifications/token.rs"]
mod token;
#[path = "notifications/verdict.rs"]
mod verdict;

use async_trait::async_trait;
use countersign_core::{
    ports::{
        StoreError,
        notifications::{
            ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification, NotificationKind, Notifications,
            Sightings,
        },
    },
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, NotificationId, TenantId},
    timestamp::Timestamp,
    vocabulary::{PushChannel, Word as _},
};
use serde_json::json;

pub(super) use self::{token::changes_device, verdict::LAST_ERROR};
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

/// What both the claim and the outbox's age look at, of `notifications` beside `devices` and `tenants`; `now` is a
/// parameter. The rest waits for its end: a device that is back, or has told us a new token, still gets it.
fn is_sendable(now: &str) -> String {
    format!(
        "notifications.expires_at > {now}
        AND devices.id = notifications.device_id AND devices.tenant_id = notifications.tenant_id
        AND devices.status = 'active' AND devices.push_channel <> 'none' AND devices.push_token_gone = 0
        AND tenants.id = notifications.tenant_id AND tenants.disabled_at IS NULL"
    )
}

/// Pushes of a lane that its age is measured by.
const LOOKED_AT: u32 = 500;

/// The channels that push.
const CHANNELS: &rows::Columns = &[("r_channel", Type::Text)];
const PUSHING: [PushChannel; 3] = [PushChannel::Apns, PushChannel::Fcm, PushChannel::Webpush];

/// See the module.
pub(super) struct Statements {
    insert_notifications: Statement,
    oldest_unsent: Statement,
    claim: claim::Statements,
    delivery: delivery::Statements,
    expire: expire::Statements,
    finish: finish::Statements,
    health: health::Statements,
    sightings: sightings::Statements,
    token: token::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // The device's channel is read here, not passed on from an earlier read.
            // A notice says only that there is something to look at, so that one that waits stands for all that
            // happen meanwhile. One that is being sent may have been looked at before the latest happened: its lease
            // is broken, so that it goes out once more, and what became of the first is of no account.
            // In the devices' order: two that ring the same ones must not wait for each other.
            insert_notifications: Statement::new(format!(
                "-- insert_notifications
                INSERT INTO notifications
                    (id, tenant_id, kind, device_id, challenge_id, due_at, expires_at, channel)
                SELECT r_id, r_tenant_id, r_kind, r_device_id, r_challenge_id, r_due_at, r_expires_at,
                    devices.push_channel
                FROM {new} CROSS JOIN devices WHERE devices.id = r_device_id AND devices.tenant_id = r_tenant_id
                ORDER BY r_device_id
                ON CONFLICT (device_id) WHERE kind = 'notice' DO UPDATE SET
                    expires_at = excluded.expires_at, channel = excluded.channel,
                    due_at = CASE WHEN notifications.lease IS NULL THEN notifications.due_at
                                  ELSE excluded.due_at END,
                    lease = NULL, leased_until = NULL
                RETURNING channel",
                new = dialect::row_source(1, NEW),
            )),
            // An id begins with the time at which it was made. Of a long lane only those are looked at that are due
            // next: in an outage all are tried again and again, so that the oldest is hardly ever far behind.
            oldest_unsent: Statement::new(format!(
                "-- oldest_unsent
                SELECT (SELECT notifications.id
                        FROM (SELECT id, tenant_id, device_id, expires_at FROM notifications
                              WHERE channel = r_channel ORDER BY due_at, id LIMIT {LOOKED_AT}) AS notifications
                        CROSS JOIN devices CROSS JOIN tenants
                        WHERE {is_sendable}
                        ORDER BY notifications.id LIMIT 1) AS id, r_channel AS channel
                FROM {channels}",
                is_sendable = is_sendable("$2"),
                channels = dialect::row_source(1, CHANNELS),
            )),
            claim: claim::Statements::new(),
            delivery: delivery::Statements::new(),
            expire: expire::Statements::new(),
            finish: finish::Statements::new(),
            health: health::Statements::new(),
            sightings: sightings::Statements::new(),
            token: token::Statements::new(),
        }
    }
}

/// A push job to be written. Its lane is the device's channel. Of notices at most one per device in a set.
#[derive(Clone)]
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
    /// Queues pushes, and wakes this node's dispatchers of their channels after the commit.
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
        let insert = query(&statements.notifications.insert_notifications).bind(parameter);
        for row in &self.fetch_all(insert).await? {
            self.wake(WakeKey::Outbox(Columns::new("notifications", row).word("channel")?));
        }
        Ok(())
    }

    /// What is queued for a device follows it to another channel, so that no lane holds what it cannot send. The
    /// device's row is locked.
    pub(super) async fn move_notifications(
        &mut self,
        tenant_id: TenantId,
        device_id: DeviceId,
        channel: PushChannel,
    ) -> Result<(), Failure> {
        let follow = "-- move_notifications
            UPDATE notifications SET channel = $3 WHERE device_id = $1 AND tenant_id = $2";
        let follow = query(follow).bind(device_id.as_uuid()).bind(tenant_id.as_uuid()).bind(channel.as_str());
        if self.execute(follow).await? > 0 {
            self.wake(WakeKey::Outbox(channel));
        }
        Ok(())
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
        self.write(expire::ExpireNotifications { now, limit }).await
    }

    async fn oldest_unsent(&self, now: Timestamp) -> Result<Vec<(PushChannel, Timestamp)>, StoreError> {
        let pushing = PUSHING.iter().map(|channel| json!({"r_channel": channel.as_str()})).collect();
        let oldest = query(&self.statements.notifications.oldest_unsent)
            .bind(rows::to_parameter(CHANNELS, pushing))
            .bind(now.as_millis());
        let mut channels = Vec::new();
        for row in &self.fetch_all(oldest).await? {
            let row = Columns::new("notifications", row);
            let Some(id): Option<NotificationId> = row.optional_id("id")? else { continue };
            channels.push((row.word("channel")?, id.made_at()));
        }
        Ok(channels)
    }

    async fn record_sightings(&self, sightings: Sightings) -> Result<(), StoreError> {
        for some in sightings::chunks(&sightings) {
            self.write(some).await?;
        }
        Ok(())
    }
}
