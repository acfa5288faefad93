//! Devices and their keys.
//!
//! The barrier (protocol 10.1): once [`Devices::change_device_status`] to suspended or revoked has returned, no
//! approve of that device commits, on any node: the decision's statement and this one meet on the device's row.

use async_trait::async_trait;
use countersign_proto::{
    ids::{BindingId, ChallengeId, DeviceId, EventId, TenantId, UserId},
    jose::Thumbprint,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, Platform, RevokeReason},
};

use super::{PageRequest, Reply, StoreError};
use crate::{
    actor::Stamp,
    device::{DeviceRecord, NewKey, StatusChange, StoredBinding, StoredKey},
    digest::Digest,
    event::EventKind,
    policy::devices::DeviceStanding,
};

/// How a device is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName {
    /// Our id.
    pub id: DeviceId,
    /// The name that the app gave itself.
    pub name: String,
    /// The platform that the app named.
    pub platform: Platform,
}

/// Which devices to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Of this user (our id).
    pub user_id: Option<UserId>,
    /// Of this user (the tenant's id, NFC).
    pub external_id: Option<String>,
    /// In this status.
    pub status: Option<DeviceStatus>,
    /// On this platform.
    pub platform: Option<Platform>,
    /// Of this installed app.
    pub installation_id: Option<String>,
    /// Of this app.
    pub app_id: Option<String>,
    /// Registered after this.
    pub created_after: Option<Timestamp>,
    /// Registered before this.
    pub created_before: Option<Timestamp>,
}

/// Suspends, resumes or revokes a device. Events: `device.suspended|resumed|revoked|deregistered` (the last
/// when the device itself is the actor), and `challenge.cancelled` for each challenge that ended with it.
#[derive(Debug, Clone)]
pub struct ChangeDeviceStatus {
    /// Who, where, when.
    pub stamp: Stamp,
    /// Which device.
    pub device_id: DeviceId,
    /// What to do.
    pub change: StatusChange,
    /// For a deregistration: the key that signed; must be the device's current one.
    pub key: Option<Thumbprint>,
    /// For a deregistration: what a byte-identical repeat gets.
    pub reply: Option<Reply>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeDeviceStatusOutcome {
    /// From the commit on the barrier holds. `cancelled`: pending challenges that were addressed to no other
    /// active device.
    Changed {
        /// The device now.
        device: Box<DeviceRecord>,
        /// Challenges that ended `cancelled` with it.
        cancelled: Vec<ChallengeId>,
    },
    /// It was so before: nothing was changed.
    Already(Box<DeviceRecord>),
    /// There is no way from the status that it has.
    Impossible(DeviceStatus),
    /// The key is no longer the device's current one.
    StaleKey,
    /// No such device in this tenant.
    NotFound,
}

/// Revokes all of a user's devices, and cancels the user's open enrollments. Events: as of [`ChangeDeviceStatus`], for
/// each; `enrollment.cancelled` for each.
#[derive(Debug, Clone)]
pub struct RevokeAllDevices {
    /// Who, where, when.
    pub stamp: Stamp,
    /// Whose devices.
    pub user_id: UserId,
    /// Why.
    pub reason: RevokeReason,
}

/// Gives a device another name. Event: `device.renamed`, without the name.
#[derive(Debug, Clone)]
pub struct RenameDevice {
    /// Who, where, when.
    pub stamp: Stamp,
    /// Which device.
    pub device_id: DeviceId,
    /// Checked.
    pub name: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenameDeviceOutcome {
    /// It has this name now.
    Renamed(Box<DeviceRecord>),
    /// It had this name before: nothing was changed.
    Already(Box<DeviceRecord>),
    /// It is revoked: its record stays as it is, or as erasure left it.
    Revoked,
    /// No such device in this tenant.
    NotFound,
}

/// Replaces a device's push channel.
#[derive(Debug, Clone)]
pub struct UpdatePush {
    /// Who (the device), where, when.
    pub stamp: Stamp,
    /// Which device.
    pub device_id: DeviceId,
    /// The key that signed; must be the device's current one.
    pub key: Thumbprint,
    /// The artefact's `jti`.
    pub jti: String,
    /// The new channel, checked.
    pub push: PushBinding,
    /// The app's version by now, if it says so.
    pub app_version: Option<String>,
    /// The operating system's version by now, if it says so.
    pub os_version: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdatePushOutcome {
    /// Stored; the token counts as registered at `stamp.at`.
    Updated,
    /// The `jti` was used by this device less than five minutes ago: a replay.
    Replayed,
    /// Neither active nor pending confirmation.
    NotActive(DeviceStatus),
    /// The key is no longer the device's current one, or the device is gone.
    StaleKey,
}

/// Replaces keys of a device (protocol 10.6). Event: `device.key_changed` with the thumbprints of the new keys.
///
/// From the commit on the replaced keys, and whatever was verified under the former binding and is not written yet, are
/// worth nothing, on any node: every write of a device names the key or the binding that it was verified with.
#[derive(Debug, Clone)]
pub struct RotateKeys {
    /// Who (the device), where, when.
    pub stamp: Stamp,
    /// Which device.
    pub device_id: DeviceId,
    /// Its user.
    pub user_id: UserId,
    /// The key that signed; must be one of the device's current ones.
    pub key: Thumbprint,
    /// The binding under which that key, and those that stay, were believed; must be the device's current one.
    pub binding_id: BindingId,
    /// The next device key.
    pub device_key: Option<NewKey>,
    /// The next user verification key: replaces one, never adds one.
    pub uv_key: Option<NewKey>,
    /// States all keys that the device has from now on.
    pub binding: StoredBinding,
    /// What a byte-identical repeat gets.
    pub reply: Reply,
}

/// What came of it. All but `Rotated` change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotateKeysOutcome {
    /// The new keys are the device's.
    Rotated,
    /// The device is not active.
    NotActive(DeviceStatus),
    /// The key or the binding is no longer the device's current one, or the device is gone.
    StaleKey,
    /// One of the new keys was registered before, by anybody.
    KeyAlreadyRegistered,
    /// The device has replaced keys less than [`KEY_ROTATION_PAUSE_SECONDS`](crate::limits::KEY_ROTATION_PAUSE_SECONDS)
    /// ago: not before then.
    TooSoon(Timestamp),
}

/// A device says "that was not me" to a notice about another registration of its user: that one is suspended.
/// Events: `device.disputed` and, if it was active, `device.suspended` with what follows (see
/// [`ChangeDeviceStatus`]).
///
/// Only a notice of a kind in [`EventKind::DISPUTABLE`], about another device that became active after the disputing
/// one: whoever sneaks a new device in cannot turn the old ones off with it, whatever happens to those later.
#[derive(Debug, Clone)]
pub struct DisputeNotice {
    /// Who (the device), where, when.
    pub stamp: Stamp,
    /// The disputing device.
    pub device_id: DeviceId,
    /// The key that signed; must be the device's current one.
    pub key: Thumbprint,
    /// The notice: an event of the same user.
    pub notice_id: EventId,
    /// Notices before this are forgotten.
    pub not_before: Timestamp,
    /// What a byte-identical repeat gets; kept if the outcome is `Suspended` or `Already`. The reply's body is the
    /// same for both.
    pub reply: Reply,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisputeNoticeOutcome {
    /// The other device is suspended; the barrier holds. Also if it was pending confirmation: then it is revoked.
    Suspended(DeviceId),
    /// It was suspended or revoked before; `device.disputed` is written once per notice and disputing device.
    Already(DeviceId),
    /// The device that disputes is not active.
    NotActive(DeviceStatus),
    /// The key is no longer the device's current one.
    StaleKey,
    /// No such notice for this device.
    NotFound,
    /// Nothing can be undone by disputing this notice.
    NotDisputable,
}

/// Something a device is told about its user's registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// The event.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// The registration concerned, if it still exists.
    pub device: Option<DeviceName>,
    /// Whether the asking device may dispute it (see [`DisputeNotice`]) and nobody has yet made it pointless: the
    /// other device is neither suspended nor revoked.
    pub is_disputable: bool,
}

/// Devices.
#[async_trait]
pub trait Devices: Send + Sync {
    /// The key with this thumbprint, with what its device is right now. Unverified: see [`StoredKey`].
    async fn key(&self, thumbprint: &Thumbprint) -> Result<Option<StoredKey>, StoreError>;
    /// By id.
    async fn device(&self, tenant_id: TenantId, id: DeviceId) -> Result<Option<DeviceRecord>, StoreError>;
    /// The tenant's devices, newest first.
    async fn devices(
        &self,
        tenant_id: TenantId,
        filter: DeviceFilter,
        page: PageRequest<DeviceId>,
    ) -> Result<Vec<DeviceRecord>, StoreError>;
    /// How the tenant's active approval devices stand, newest first.
    async fn device_standings(
        &self,
        tenant_id: TenantId,
        page: PageRequest<DeviceId>,
    ) -> Result<Vec<DeviceStanding>, StoreError>;
    /// Suspends, resumes, revokes, deregisters.
    async fn change_device_status(&self, command: ChangeDeviceStatus) -> Result<ChangeDeviceStatusOutcome, StoreError>;
    /// Revokes all of a user's devices, in the order of their ids, in one transaction: those that it revoked, or `None` if
    /// there is no such user in this tenant. From the commit on the barrier holds for each.
    async fn revoke_all_devices(&self, command: RevokeAllDevices) -> Result<Option<Vec<DeviceId>>, StoreError>;
    /// Gives a device another name.
    async fn rename_device(&self, command: RenameDevice) -> Result<RenameDeviceOutcome, StoreError>;
    /// Replaces the push channel.
    async fn update_push(&self, command: UpdatePush) -> Result<UpdatePushOutcome, StoreError>;
    /// Replaces keys.
    async fn rotate_keys(&self, command: RotateKeys) -> Result<RotateKeysOutcome, StoreError>;
    /// Suspends the device that a notice is about.
    async fn dispute_notice(&self, command: DisputeNotice) -> Result<DisputeNoticeOutcome, StoreError>;
    /// Events of the kinds in [`EventKind::NOTICES`] about the user since then, newest first, at most 50, without
    /// those about `device_id` itself (but for kinds of which [`EventKind::concerns_every_device`]).
    async fn notices(
        &self,
        tenant_id: TenantId,
        user_id: UserId,
        device_id: DeviceId,
        since: Timestamp,
    ) -> Result<Vec<NoticeRecord>, StoreError>;
    /// The first reply to this very artefact, if it was accepted and is not forgotten at `now`; none while its
    /// organisation is disabled, nor to somebody who is erased.
    async fn reply(&self, artefact: Digest, now: Timestamp) -> Result<Option<String>, StoreError>;
    /// Keeps the first reply to an artefact that changed nothing; an earlier one stays.
    async fn remember_reply(&self, tenant_id: TenantId, user_id: UserId, reply: Reply) -> Result<(), StoreError>;
}
