//! Devices and their keys.
//!
//! The barrier (protocol 10.1): once [`Devices::change_device_status`] to suspended or revoked has returned, no
//! approve of that device commits, on any node: the decision's statement and this one meet on the device's row.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ChallengeId, DeviceId, EventId, TenantId, UserId},
    jose::Thumbprint,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, Platform},
};

use super::{PageRequest, Reply, StoreError};
use crate::{
    actor::Stamp,
    device::{DeviceRecord, StatusChange, StoredKey},
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
    /// Replaces the push channel.
    async fn update_push(&self, command: UpdatePush) -> Result<UpdatePushOutcome, StoreError>;
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
    /// The first reply to this very artefact, if it was accepted and is not forgotten at `now`.
    async fn reply(&self, artefact: Digest, now: Timestamp) -> Result<Option<String>, StoreError>;
    /// Keeps the first reply to an artefact that changed nothing; an earlier one stays.
    async fn remember_reply(&self, tenant_id: TenantId, reply: Reply) -> Result<(), StoreError>;
}
