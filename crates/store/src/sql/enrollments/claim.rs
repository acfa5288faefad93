//! A ticket turns into a device (protocol 4.3).
//!
//! The user's row is held throughout, so claims, confirmations and ends of one user's enrollments follow one
//! another. A claim that cannot be completed is rolled back as a whole: the ticket stays unused.

use async_trait::async_trait;
use countersign_core::{
    device::KeyRole,
    digest::Digest,
    event::{Event, EventKind},
    ports::enrollments::{Activation, ClaimOutcome, ClaimTicket},
};
use countersign_proto::{
    ids::DeviceId,
    vocabulary::{DeviceStatus, EnrollmentStatus, Word as _},
};

use super::{Columns, Outcome, Plain, Tx, about, close::delete_waiting_device, devices, query};
use crate::failure::Failure;

#[async_trait]
impl Plain for ClaimTicket {
    type Reply = ClaimOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ClaimOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        tx.lock_user(self.stamp.tenant_id, self.user_id).await?;
        if !use_ticket(self, tx).await? {
            return Ok(match contest(self, tx).await? {
                true => Outcome::Commit(ClaimOutcome::NotFound),
                false => Outcome::Rollback(ClaimOutcome::NotFound),
            });
        }
        insert_device(self, tx).await?;
        let mut keys = vec![(&self.device_key, KeyRole::Device)];
        keys.extend(self.uv_key.as_ref().map(|key| (key, KeyRole::UserVerification)));
        if !devices::insert_keys(tx, &self.stamp, self.device_id, &keys).await? {
            return Ok(Outcome::Rollback(ClaimOutcome::KeyAlreadyRegistered));
        }
        if !count_device(self, tx).await? {
            return Ok(Outcome::Rollback(ClaimOutcome::TooManyDevices));
        }
        devices::insert_reply(tx, self.stamp.tenant_id, self.user_id, &self.reply).await?;
        tx.insert_events(events(self)).await?;
        if let Activation::AtOnce(_) = self.activation {
            devices::supersede(tx, &self.stamp, self.user_id, self.device_id).await?;
        }
        Ok(Outcome::Commit(ClaimOutcome::Claimed))
    }
}

/// Marks the ticket used; `false` if it is not there to be used. One to which nobody agreed is not, in an organisation
/// that asks for it, once the user has a device.
async fn use_ticket(command: &ClaimTicket, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let (status, code) = match &command.activation {
        Activation::ByCode(code) => (EnrollmentStatus::Claimed, Some(code.as_str())),
        Activation::AtOnce(_) => (EnrollmentStatus::Completed, None),
    };
    let update = "-- use_ticket
        UPDATE enrollments SET status = $6, code = $7, device_id = $8, device_name = $9, device_platform = $10,
            key_thumbprint = $11, decision_id = $12, claim_seal = $13
        WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND ticket = $4 AND status = 'pending' AND expires_at > $5
            AND ($14 = 0 OR approval_id IS NOT NULL OR overridden = 1 OR NOT EXISTS (
                SELECT 1 FROM devices
                WHERE devices.user_id = enrollments.user_id AND devices.tenant_id = enrollments.tenant_id
                    AND devices.purpose = 'approval' AND devices.status IN ('active', 'suspended')))";
    let update = query(update)
        .bind(command.enrollment_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.user_id.as_uuid())
        .bind(command.ticket.as_ref())
        .bind(command.stamp.at.as_millis())
        .bind(status.as_str())
        .bind(code)
        .bind(command.device_id.as_uuid())
        .bind(&command.description.name)
        .bind(command.description.platform.as_str())
        .bind(command.device_key.thumbprint.as_str())
        .bind(command.stamp.command_id.as_uuid())
        .bind(&command.claim_seal)
        .bind(i64::from(command.is_guarded));
    Ok(tx.execute(update).await? == 1)
}

/// The right ticket with another key while claimed: somebody saw the code over a shoulder, and nobody can say
/// which of the two phones is the person's. Ends the enrollment and deletes the waiting device; `false` if it is
/// not so.
async fn contest(command: &ClaimTicket, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let cancel = "-- contest_enrollment
        UPDATE enrollments SET status = 'cancelled', code = NULL, decision_id = $7
        WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND ticket = $4 AND status = 'claimed' AND expires_at > $5
            AND key_thumbprint <> $6
        RETURNING id, device_id";
    let cancel = query(cancel)
        .bind(command.enrollment_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.user_id.as_uuid())
        .bind(command.ticket.as_ref())
        .bind(command.stamp.at.as_millis())
        .bind(command.device_key.thumbprint.as_str())
        .bind(command.stamp.command_id.as_uuid());
    let Some(row) = tx.fetch_optional(cancel).await? else { return Ok(false) };
    let device_id: DeviceId = Columns::new("enrollments", &row).id("device_id")?;
    delete_waiting_device(tx, command.stamp.tenant_id, command.user_id, device_id).await?;
    let subjects = about(command.user_id, command.enrollment_id, Some(device_id));
    let event = |kind| Event::new(&command.stamp, kind, subjects);
    tx.insert_events(vec![event(EventKind::EnrollmentContested), event(EventKind::EnrollmentCancelled)]).await?;
    Ok(true)
}

async fn insert_device(command: &ClaimTicket, tx: &mut Tx<'_>) -> Result<(), Failure> {
    let at = command.stamp.at.as_millis();
    let (status, binding) = match &command.activation {
        Activation::ByCode(_) => (DeviceStatus::PendingConfirmation, None),
        Activation::AtOnce(binding) => (DeviceStatus::Active, Some(binding)),
    };
    let about = &command.description;
    let insert = "-- insert_device
        INSERT INTO devices (id, tenant_id, user_id, name, platform, model, os_version, app_id, app_version,
            installation_id, purpose, status, key_thumbprint, uv_thumbprint, binding_id, binding, push_channel,
            push, push_updated_at, created_at, activated_at, decision_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $19, $20, $21)";
    let insert = query(insert)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.user_id.as_uuid())
        .bind(&about.name)
        .bind(about.platform.as_str())
        .bind(about.model.as_deref())
        .bind(about.os_version.as_deref())
        .bind(about.app_id.as_deref())
        .bind(about.app_version.as_deref())
        .bind(about.installation_id.as_deref())
        .bind(command.purpose.as_str())
        .bind(status.as_str())
        .bind(command.device_key.thumbprint.as_str())
        .bind(command.uv_key.as_ref().map(|key| key.thumbprint.as_str()))
        .bind(binding.map(|binding| binding.id.as_uuid()))
        .bind(binding.map(|binding| binding.jws.as_str()))
        .bind(command.push.channel().as_str())
        .bind(devices::push_json(&command.push)?)
        .bind(at)
        .bind(binding.map(|_| at))
        .bind(command.stamp.command_id.as_uuid());
    tx.execute(insert).await?;
    Ok(())
}

/// Counts the device; `false` if the user has as many as allowed. One that will take the place of another, of the same
/// installed app, may be one too many until it is active: never two, for those that wait are counted.
async fn count_device(command: &ClaimTicket, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let count = "-- count_device
        UPDATE users SET device_count = device_count + 1, devices_version = devices_version + 1
        WHERE id = $1 AND tenant_id = $2 AND (device_count < $3 OR (device_count = $3 AND EXISTS (
            SELECT 1 FROM devices
            WHERE devices.user_id = $1 AND devices.tenant_id = $2 AND devices.id <> $4
                AND devices.installation_id = $5 AND devices.purpose = $6
                AND devices.status IN ('active', 'suspended'))))";
    let count = query(count)
        .bind(command.user_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(i64::from(command.max_devices_per_user))
        .bind(command.device_id.as_uuid())
        .bind(command.description.installation_id.as_deref())
        .bind(command.purpose.as_str());
    Ok(tx.execute(count).await? == 1)
}

fn events(command: &ClaimTicket) -> Vec<Event> {
    let kinds: &[EventKind] = match command.activation {
        Activation::ByCode(_) => &[EventKind::EnrollmentClaimed],
        Activation::AtOnce(_) => {
            &[EventKind::EnrollmentClaimed, EventKind::EnrollmentCompleted, EventKind::DeviceAdded]
        }
    };
    let subjects = about(command.user_id, command.enrollment_id, Some(command.device_id));
    let event = |&kind: &EventKind| match (kind, &command.activation) {
        // The log knows which statement about the device's keys holds from here on.
        (EventKind::DeviceAdded, Activation::AtOnce(binding)) => {
            Event::new(&command.stamp, kind, subjects).with("binding_sha256", Digest::of(&binding.jws).to_b64u())
        }
        _ => Event::new(&command.stamp, kind, subjects),
    };
    kinds.iter().map(event).collect()
}
