//! "That was not me": a device disputes a notice, and the registration that the notice is about is suspended.
//!
//! Judged in one transaction that holds the user and both devices: a device that is being suspended itself either
//! disputes before, or not at all. The other device is turned off exactly as an administrator would do it.

use async_trait::async_trait;
use countersign_core::{
    device::{StatusChange, Transition, transition},
    event::{Event, EventKind, Subjects},
    ports::devices::{ChangeDeviceStatus, DisputeNotice, DisputeNoticeOutcome},
};
use countersign_proto::{
    ids::{DeviceId, EventId, UserId},
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, EnrollmentPurpose, RevokeReason},
};

use super::{
    super::{Columns, Outcome, Plain, Tx, events::kind, query},
    insert_reply, status,
};
use crate::failure::Failure;

#[async_trait]
impl Plain for DisputeNotice {
    type Reply = DisputeNoticeOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<DisputeNoticeOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        // Who they are never changes, so it may be read before anything is locked.
        let Some(before) = disputer(self, tx).await? else {
            return Ok(Outcome::Rollback(DisputeNoticeOutcome::StaleKey));
        };
        let notice = notice(self, tx, before.user_id).await?;
        tx.lock_user(tenant_id, before.user_id).await?;
        let concerned = notice.as_ref().and_then(|notice| notice.device_id);
        let devices: Vec<_> = concerned.into_iter().chain([self.device_id]).map(|id| (tenant_id, id)).collect();
        tx.lock_devices(&devices).await?;
        let now = disputer(self, tx).await?;
        let Some(now) = now.filter(|now| now.key == self.key.as_str()) else {
            return Ok(Outcome::Rollback(DisputeNoticeOutcome::StaleKey));
        };
        if now.status != DeviceStatus::Active {
            return Ok(Outcome::Rollback(DisputeNoticeOutcome::NotActive(now.status)));
        }
        let Some(notice) = notice else {
            return Ok(Outcome::Rollback(DisputeNoticeOutcome::NotFound));
        };
        match notice.device_id {
            Some(device_id) => suspend(self, tx, &notice, device_id, &now).await,
            None => Ok(Outcome::Rollback(DisputeNoticeOutcome::NotDisputable)),
        }
    }
}

/// Whether a device that became active at `asking_since` may dispute a notice of this kind about one that did at
/// `concerned_since` (`None`: not yet). Only about younger ones: whoever sneaks a new device in cannot turn the old
/// ones off with it, whatever happens to those later. A broker answers to a program, not to the person.
pub(super) fn may_dispute(kind: EventKind, concerned_since: Option<Timestamp>, asking: &Asking) -> bool {
    let Some(since) = asking.since else { return false };
    let is_younger = concerned_since.is_none_or(|concerned| concerned >= since);
    EventKind::DISPUTABLE.contains(&kind) && is_younger && asking.purpose == EnrollmentPurpose::Approval
}

/// The device that asks, if it is active.
pub(super) struct Asking {
    pub(super) purpose: EnrollmentPurpose,
    pub(super) since: Option<Timestamp>,
}

struct Disputer {
    user_id: UserId,
    status: DeviceStatus,
    key: String,
    asking: Asking,
}

async fn disputer(command: &DisputeNotice, tx: &mut Tx<'_>) -> Result<Option<Disputer>, Failure> {
    let disputer = "-- disputer
        SELECT id, user_id, status, key_thumbprint, purpose, activated_at FROM devices
        WHERE id = $1 AND tenant_id = $2";
    let disputer = query(disputer).bind(command.device_id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    let Some(row) = tx.fetch_optional(disputer).await? else { return Ok(None) };
    let row = Columns::new("devices", &row);
    Ok(Some(Disputer {
        user_id: row.id("user_id")?,
        status: row.word("status")?,
        key: row.text("key_thumbprint")?,
        asking: Asking { purpose: row.word("purpose")?, since: row.optional_time("activated_at")? },
    }))
}

struct Notice {
    id: EventId,
    kind: EventKind,
    device_id: Option<DeviceId>,
}

/// The notice, if it is one that this device is shown. It never changes.
async fn notice(command: &DisputeNotice, tx: &mut Tx<'_>, user_id: UserId) -> Result<Option<Notice>, Failure> {
    let notice = "-- disputed_notice
        SELECT id, kind, device_id FROM events
        WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND at >= $4";
    let notice = query(notice)
        .bind(command.notice_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(user_id.as_uuid())
        .bind(command.not_before.as_millis());
    let Some(row) = tx.fetch_optional(notice).await? else { return Ok(None) };
    let row = Columns::new("events", &row);
    let notice = Notice { id: row.id("id")?, kind: kind(&row)?, device_id: row.optional_id("device_id")? };
    let is_own = notice.device_id == Some(command.device_id) && !notice.kind.concerns_every_device();
    Ok(Some(notice).filter(|notice| EventKind::NOTICES.contains(&notice.kind) && !is_own))
}

/// Turns the other device off, if it is not yet. User and devices are locked.
async fn suspend(
    command: &DisputeNotice,
    tx: &mut Tx<'_>,
    notice: &Notice,
    device_id: DeviceId,
    disputer: &Disputer,
) -> Result<Outcome<DisputeNoticeOutcome>, Failure> {
    let user_id = disputer.user_id;
    let mut change = ChangeDeviceStatus {
        stamp: command.stamp.clone(),
        device_id,
        change: StatusChange::Suspend,
        key: None,
        reply: Some(command.reply.clone()),
    };
    let Some(device) = status::read(&change, tx).await?.filter(|device| device.user.id == user_id) else {
        return Ok(Outcome::Rollback(DisputeNoticeOutcome::NotDisputable));
    };
    if !may_dispute(notice.kind, device.activated_at, &disputer.asking) {
        return Ok(Outcome::Rollback(DisputeNoticeOutcome::NotDisputable));
    }
    if device.status == DeviceStatus::PendingConfirmation {
        // What was never confirmed cannot be suspended, and need not be kept.
        change.change = StatusChange::Revoke(RevokeReason::Other);
    }
    let outcome = match transition(device.status, change.change) {
        Transition::To(to) => {
            record(command, tx, notice, device_id, user_id).await?;
            status::change(&change, tx, &device, to, None).await?;
            DisputeNoticeOutcome::Suspended(device_id)
        }
        Transition::Already | Transition::Impossible => {
            insert_reply(tx, command.stamp.tenant_id, user_id, &command.reply).await?;
            DisputeNoticeOutcome::Already(device_id)
        }
    };
    Ok(Outcome::Commit(outcome))
}

/// Writes `device.disputed`, each time that a dispute turns the device off: also when it was turned on again since.
async fn record(
    command: &DisputeNotice,
    tx: &mut Tx<'_>,
    notice: &Notice,
    device_id: DeviceId,
    user_id: UserId,
) -> Result<(), Failure> {
    let subjects = Subjects { user_id: Some(user_id), device_id: Some(device_id), ..Subjects::default() };
    let event = Event::new(&command.stamp, EventKind::DeviceDisputed, subjects).with("notice", notice.id.to_string());
    tx.insert_events(vec![event]).await
}
