//! Suspending, resuming, revoking, deregistering: the barrier (protocol 10.1).
//!
//! Whoever decides a challenge shares the device's row until its commit; here the row is held alone. So a
//! decision either committed before this change, or sees it and loses: on any node, once a suspension or
//! revocation has returned, no approve of that device commits.

use std::collections::BTreeSet;

use async_trait::async_trait;
use countersign_core::{
    actor::Actor,
    device::{DeviceRecord, StatusChange, Transition, transition},
    event::{Event, EventKind, Subjects},
    ports::devices::{ChangeDeviceStatus, ChangeDeviceStatusOutcome},
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, EnrollmentId, UserId},
    push::PushBinding,
    vocabulary::{ChallengeReason, DeviceStatus, Word as _},
};

use serde_json::json;

use super::{
    super::{Room, dialect, enrollments::OpenEnrollments},
    Columns, Outcome, Plain, Tx, by_id, device, insert_reply, push_json, query,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CHALLENGES: &rows::Columns = &[("r_challenge_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    withdraw_deliveries_of_device: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            withdraw_deliveries_of_device: Statement::new(format!(
                "-- withdraw_deliveries_of_device
                UPDATE deliveries SET state = 'withdrawn', updated_at = $3
                FROM {challenges}
                WHERE deliveries.challenge_id = r_challenge_id AND deliveries.device_id = $2
                  AND deliveries.state IN ('queued', 'retrying')",
                challenges = dialect::row_source(1, CHALLENGES),
            )),
        }
    }
}

#[async_trait]
impl Plain for ChangeDeviceStatus {
    type Reply = ChangeDeviceStatusOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ChangeDeviceStatusOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        // A device never changes hands, so its user may be read before anything is locked.
        let Some(before) = read(self, tx).await? else {
            return Ok(Outcome::Rollback(ChangeDeviceStatusOutcome::NotFound));
        };
        tx.lock_user(tenant_id, before.user.id).await?;
        tx.lock_device(tenant_id, self.device_id).await?;
        // Again, now that nobody else can change it. It may be gone: an unconfirmed device is deleted.
        let Some(now) = read(self, tx).await? else {
            return Ok(Outcome::Rollback(ChangeDeviceStatusOutcome::NotFound));
        };
        // Judged by a read, it may have been replaced since: then this is not the device's wish any more.
        if self.key.as_ref().is_some_and(|key| *key != now.key_thumbprint) {
            return Ok(Outcome::Rollback(ChangeDeviceStatusOutcome::StaleKey));
        }
        match transition(now.status, self.change) {
            Transition::Impossible => Ok(Outcome::Rollback(ChangeDeviceStatusOutcome::Impossible(now.status))),
            // The reply is not kept here: it says when the device was revoked, which was not now.
            Transition::Already => Ok(Outcome::Rollback(ChangeDeviceStatusOutcome::Already(Box::new(now)))),
            Transition::To(to) => {
                let cancelled = change(self, tx, &now, to, None).await?;
                let Some(after) = read(self, tx).await? else {
                    return Ok(Outcome::Rollback(ChangeDeviceStatusOutcome::NotFound));
                };
                Ok(Outcome::Commit(ChangeDeviceStatusOutcome::Changed { device: Box::new(after), cancelled }))
            }
        }
    }

    fn room(&self) -> Room {
        match self.change {
            StatusChange::Revoke(_) | StatusChange::Suspend => Room::Reserved,
            StatusChange::Resume => Room::Free,
        }
    }
}

pub(super) async fn read(command: &ChangeDeviceStatus, tx: &mut Tx<'_>) -> Result<Option<DeviceRecord>, Failure> {
    let statements = tx.statements();
    let row = tx.fetch_optional(by_id(&statements.devices, command.stamp.tenant_id, command.device_id)).await?;
    Ok(row.as_ref().map(device).transpose()?)
}

/// All that a change of status brings with it; returns the challenges that ended. User and device are locked.
/// `superseded_by`: the registration that takes its place, if that is why.
pub(super) async fn change(
    command: &ChangeDeviceStatus,
    tx: &mut Tx<'_>,
    before: &DeviceRecord,
    to: DeviceStatus,
    superseded_by: Option<DeviceId>,
) -> Result<Vec<ChallengeId>, Failure> {
    let user_id = before.user.id;
    move_status(command, tx, before.status, to).await?;
    count(command, tx, user_id, to).await?;
    let event = event(command, user_id);
    let mut events = match superseded_by {
        Some(id) => vec![event.with("superseded_by", id.to_string())],
        None => vec![event],
    };
    if to == DeviceStatus::Revoked {
        forget_push(command, tx).await?;
        if let Some(enrollment_id) = cancel_enrollment(command, tx, user_id).await? {
            let subjects = Subjects { enrollment_id: Some(enrollment_id), ..about(command, user_id) };
            events.push(Event::new(&command.stamp, EventKind::EnrollmentCancelled, subjects));
        }
    }
    tx.insert_events(events).await?;
    if to != DeviceStatus::Active {
        // What it agreed to may have been the thief's wish.
        let which = OpenEnrollments::ApprovedBy(command.device_id);
        tx.cancel_open_enrollments(&command.stamp, user_id, which, "approving_device_gone").await?;
    }
    remember_reply(command, tx, user_id).await?;
    tx.wake(WakeKey::Device(command.device_id));
    let reason = match command.change {
        StatusChange::Resume => return Ok(Vec::new()),
        StatusChange::Suspend => ChallengeReason::DeviceSuspended,
        StatusChange::Revoke(_) => ChallengeReason::DeviceRevoked,
    };
    let cancelled = tx.cancel_challenges_of(&command.stamp, user_id, command.device_id, reason).await?;
    withdraw(command, tx).await?;
    Ok(cancelled)
}

async fn move_status(
    command: &ChangeDeviceStatus,
    tx: &mut Tx<'_>,
    from: DeviceStatus,
    to: DeviceStatus,
) -> Result<(), Failure> {
    let (revoked_at, reason) = match command.change {
        StatusChange::Revoke(reason) => (Some(command.stamp.at.as_millis()), Some(reason.as_str())),
        StatusChange::Suspend | StatusChange::Resume => (None, None),
    };
    let update = "-- change_device_status
        UPDATE devices SET status = $4, revoked_at = $5, revoke_reason = $6, decision_id = $7
        WHERE id = $1 AND tenant_id = $2 AND status = $3";
    let update = query(update)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(from.as_str())
        .bind(to.as_str())
        .bind(revoked_at)
        .bind(reason)
        .bind(command.stamp.command_id.as_uuid());
    match tx.execute(update).await? {
        1 => Ok(()),
        // The row is held and was just read.
        _ => Err(sqlx::Error::RowNotFound.into()),
    }
}

async fn count(
    command: &ChangeDeviceStatus,
    tx: &mut Tx<'_>,
    user_id: UserId,
    to: DeviceStatus,
) -> Result<(), Failure> {
    let count = "-- count_changed_device
        UPDATE users SET devices_version = devices_version + 1, device_count = device_count - $3
        WHERE id = $1 AND tenant_id = $2";
    let count = query(count)
        .bind(user_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(i64::from(to == DeviceStatus::Revoked));
    tx.execute(count).await?;
    Ok(())
}

async fn forget_push(command: &ChangeDeviceStatus, tx: &mut Tx<'_>) -> Result<(), Failure> {
    let forget = "-- forget_push
        UPDATE devices SET push_channel = $3, push = $4, push_token_gone = 0, push_undeliverable = NULL,
            push_undeliverable_at = NULL
        WHERE id = $1 AND tenant_id = $2";
    let none = PushBinding::None;
    let forget = query(forget)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(none.channel().as_str())
        .bind(push_json(&none)?);
    tx.execute(forget).await?;
    Ok(())
}

/// The enrollment that still waits for this device's confirmation, if there is one, ends with the device.
async fn cancel_enrollment(
    command: &ChangeDeviceStatus,
    tx: &mut Tx<'_>,
    user_id: UserId,
) -> Result<Option<EnrollmentId>, Failure> {
    let cancel = "-- cancel_enrollment_of_device
        UPDATE enrollments SET status = 'cancelled', code = NULL, decision_id = $4
        WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $1 AND users.id = $2)
            AND device_id = $3 AND status = 'claimed'
        RETURNING id";
    let cancel = query(cancel)
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(user_id.as_uuid())
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.command_id.as_uuid());
    let row = tx.fetch_optional(cancel).await?;
    Ok(row.map(|row| Columns::new("enrollments", &row).id("id")).transpose()?)
}

/// Nothing more is sent to the device. What is left of its deliveries belongs to challenges that others may answer.
async fn withdraw(command: &ChangeDeviceStatus, tx: &mut Tx<'_>) -> Result<(), Failure> {
    let (device_id, tenant_id) = (command.device_id.as_uuid(), command.stamp.tenant_id.as_uuid());
    // A delivery waits as long as its notification: those are few, however many deliveries the device has had.
    let delete = "-- delete_notifications_of_device
        DELETE FROM notifications WHERE device_id = $1 AND tenant_id = $2 RETURNING id, challenge_id";
    let mut challenges = BTreeSet::new();
    for row in &tx.fetch_all(query(delete).bind(device_id).bind(tenant_id)).await? {
        let challenge_id: Option<ChallengeId> = Columns::new("notifications", row).optional_id("challenge_id")?;
        challenges.extend(challenge_id);
    }
    if !challenges.is_empty() {
        // In the order in which everybody meets deliveries.
        let rows = challenges.into_iter().map(|id| json!({"r_challenge_id": rows::id(id)})).collect();
        let statements = tx.statements();
        let withdraw = query(&statements.devices.status.withdraw_deliveries_of_device)
            .bind(rows::to_parameter(CHALLENGES, rows))
            .bind(device_id)
            .bind(command.stamp.at.as_millis());
        tx.execute(withdraw).await?;
    }
    let withdraw = "-- withdraw_test_pushes_of_device
        UPDATE test_pushes SET state = 'withdrawn', updated_at = $3
        WHERE device_id = $1 AND tenant_id = $2 AND state IN ('queued', 'retrying')";
    tx.execute(query(withdraw).bind(device_id).bind(tenant_id).bind(command.stamp.at.as_millis())).await?;
    Ok(())
}

async fn remember_reply(command: &ChangeDeviceStatus, tx: &mut Tx<'_>, user_id: UserId) -> Result<(), Failure> {
    match &command.reply {
        Some(reply) => insert_reply(tx, command.stamp.tenant_id, user_id, reply).await,
        None => Ok(()),
    }
}

fn event(command: &ChangeDeviceStatus, user_id: UserId) -> Event {
    let subjects = about(command, user_id);
    let event = |kind| Event::new(&command.stamp, kind, subjects);
    match (command.change, command.stamp.actor) {
        (StatusChange::Suspend, _) => event(EventKind::DeviceSuspended),
        (StatusChange::Resume, _) => event(EventKind::DeviceResumed),
        (StatusChange::Revoke(reason), Actor::Device(id)) if id == command.device_id => {
            event(EventKind::DeviceDeregistered).with("reason", reason.as_str())
        }
        (StatusChange::Revoke(reason), _) => event(EventKind::DeviceRevoked).with("reason", reason.as_str()),
    }
}

fn about(command: &ChangeDeviceStatus, user_id: UserId) -> Subjects {
    Subjects { user_id: Some(user_id), device_id: Some(command.device_id), ..Subjects::default() }
}
