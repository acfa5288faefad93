//! Replacing a device's keys (protocol 10.6).
//!
//! Whoever decides a challenge shares the device's row until its commit and requires the binding under which its key was
//! believed; here the row is held alone, and the binding moves. So a decision under the former keys either committed
//! before the rotation, or sees it and loses, on any node. Updates of the push channel, disputes and further rotations
//! hold the row too, and name their key. What the former keys agreed to and is still open ends with them. Never adds a
//! key in a role in which the device had none, and never more often than once in a minute: keys are kept for ever.

use async_trait::async_trait;
use countersign_core::{
    device::{KeyRole, NewKey},
    digest::Digest,
    event::{Event, EventKind, Subjects},
    limits::KEY_ROTATION_PAUSE_SECONDS,
    ports::{
        StoreError,
        devices::{RotateKeys, RotateKeysOutcome},
    },
    wake::WakeKey,
};
use countersign_proto::vocabulary::DeviceStatus;

use super::{
    super::{Columns, Outcome, Plain, Tx, enrollments::OpenEnrollments, query},
    insert_reply,
    key::insert_keys,
};
use crate::failure::Failure;

#[async_trait]
impl Plain for RotateKeys {
    type Reply = RotateKeysOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<RotateKeysOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        // The user's other devices are rung, so the user comes first, as everywhere.
        tx.lock_user(tenant_id, self.user_id).await?;
        tx.lock_device(tenant_id, self.device_id).await?;
        if !move_keys(self, tx).await? {
            return Ok(Outcome::Rollback(why_not(self, tx).await?));
        }
        let keys = new_keys(self);
        for (_, role) in &keys {
            retire(self, tx, *role).await?;
        }
        if !insert_keys(tx, &self.stamp, self.device_id, &keys).await? {
            return Ok(Outcome::Rollback(RotateKeysOutcome::KeyAlreadyRegistered));
        }
        // Whoever had a copy of the former key may have let a device of their own in by it.
        let agreed = OpenEnrollments::ApprovedBy(self.device_id);
        tx.cancel_open_enrollments(&self.stamp, self.user_id, agreed, "approving_key_gone").await?;
        insert_reply(tx, tenant_id, self.user_id, &self.reply).await?;
        tx.insert_events(vec![event(self)]).await?;
        // A read that is held under a former key asks again whether it may go on.
        tx.wake(WakeKey::Device(self.device_id));
        Ok(Outcome::Commit(RotateKeysOutcome::Rotated))
    }

    fn finds_itself(&self) -> bool {
        true
    }
}

fn new_keys(command: &RotateKeys) -> Vec<(&NewKey, KeyRole)> {
    let device_key = command.device_key.iter().map(|key| (key, KeyRole::Device));
    device_key.chain(command.uv_key.iter().map(|key| (key, KeyRole::UserVerification))).collect()
}

/// The one conditional write: the device is active, and signing key and binding are still its current ones.
async fn move_keys(command: &RotateKeys, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let update = "-- rotate_keys
        UPDATE devices SET key_thumbprint = COALESCE($7, key_thumbprint), uv_thumbprint = COALESCE($8, uv_thumbprint),
            binding_id = $9, binding = $10, keys_changed_at = $11
        WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND status = 'active' AND binding_id = $4
            AND (key_thumbprint = $5 OR uv_thumbprint = $5) AND ($6 = 0 OR uv_thumbprint IS NOT NULL)
            AND (keys_changed_at IS NULL OR keys_changed_at <= $12)";
    let update = query(update)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.user_id.as_uuid())
        .bind(command.binding_id.as_uuid())
        .bind(command.key.as_str())
        .bind(i64::from(command.uv_key.is_some()))
        .bind(command.device_key.as_ref().map(|key| key.thumbprint.as_str()))
        .bind(command.uv_key.as_ref().map(|key| key.thumbprint.as_str()))
        .bind(command.binding.id.as_uuid())
        .bind(&command.binding.jws)
        .bind(command.stamp.at.as_millis())
        .bind(command.stamp.at.plus_seconds(-KEY_ROTATION_PAUSE_SECONDS).as_millis());
    Ok(tx.execute(update).await? == 1)
}

/// Notes until when the current key of a role was the device's.
async fn retire(command: &RotateKeys, tx: &mut Tx<'_>, role: KeyRole) -> Result<(), Failure> {
    let retire = "-- retire_key
        UPDATE device_keys SET retired_at = $4
        WHERE device_id = $1 AND tenant_id = $2 AND role = $3 AND retired_at IS NULL";
    let retire = query(retire)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(role.as_str())
        .bind(command.stamp.at.as_millis());
    match tx.execute(retire).await? {
        1 => Ok(()),
        // A device has one live key of a role, or none of it: not of this one, which was just replaced.
        _ => {
            let row = command.device_id.to_string();
            Err(StoreError::Corrupt { table: "device_keys", column: "retired_at", row }.into())
        }
    }
}

async fn why_not(command: &RotateKeys, tx: &mut Tx<'_>) -> Result<RotateKeysOutcome, Failure> {
    let now = "-- rotation_state
        SELECT id, status, binding_id, keys_changed_at FROM devices WHERE id = $1 AND tenant_id = $2 AND user_id = $3";
    let now = query(now)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.user_id.as_uuid());
    let Some(row) = tx.fetch_optional(now).await? else { return Ok(RotateKeysOutcome::StaleKey) };
    let row = Columns::new("devices", &row);
    // This command was committed before, and only the answer was lost.
    if row.optional_id("binding_id")? == Some(command.binding.id) {
        return Ok(RotateKeysOutcome::Rotated);
    }
    let again_at = row.optional_time("keys_changed_at")?.map(|at| at.plus_seconds(KEY_ROTATION_PAUSE_SECONDS));
    let is_current = row.optional_id("binding_id")? == Some(command.binding_id);
    Ok(match (row.word("status")?, again_at) {
        (DeviceStatus::Active, Some(again_at)) if is_current && command.stamp.at < again_at => {
            RotateKeysOutcome::TooSoon(again_at)
        }
        (DeviceStatus::Active, _) => RotateKeysOutcome::StaleKey,
        (other, _) => RotateKeysOutcome::NotActive(other),
    })
}

/// Thumbprints are digests of public keys: they name a key and open nothing.
fn event(command: &RotateKeys) -> Event {
    let (user_id, device_id) = (Some(command.user_id), Some(command.device_id));
    let subjects = Subjects { user_id, device_id, ..Subjects::default() };
    let event = Event::new(&command.stamp, EventKind::DeviceKeyChanged, subjects);
    let mut event = event.with("binding_sha256", Digest::of(&command.binding.jws).to_b64u());
    for (name, key) in [("key_sha256", &command.device_key), ("uv_key_sha256", &command.uv_key)] {
        if let Some(key) = key {
            event = event.with(name, key.thumbprint.as_str());
        }
    }
    event
}
