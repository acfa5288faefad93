//! Devices: what a registration says, which status leads to which, what keys a device has.
//!
//! To add a status: the vocabulary in `countersign-proto`, then [`transition`].

use countersign_proto::{
    ids::{BindingId, DeviceId, TenantId, UserId},
    jose::{PublicKey, Thumbprint, claims::RegistrationClaims},
    problem::FieldError,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, EnrollmentPurpose, Platform, PushChannel, RevokeReason},
};

use crate::{push, text::Checker};

/// Which of a device's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// The device key.
    Device,
    /// The second key, which the platform releases only after a PIN or biometric.
    UserVerification,
}

impl KeyRole {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::UserVerification => "uv",
        }
    }
}

/// What a registration says about the device, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDescription {
    /// 1–64 characters.
    pub name: String,
    /// The platform that the app named.
    pub platform: Platform,
    /// As the app named it; all of these at most 128 characters.
    pub model: Option<String>,
    /// The operating system's version.
    pub os_version: Option<String>,
    /// The app's identifier.
    pub app_id: Option<String>,
    /// The app's version.
    pub app_version: Option<String>,
    /// Groups the registrations of one installed app.
    pub installation_id: Option<String>,
}

/// A checked registration (protocol 4.2).
#[derive(Debug, Clone)]
pub struct Registration {
    /// The description.
    pub description: DeviceDescription,
    /// Where to ring.
    pub push: PushBinding,
    /// The second key.
    pub uv_key: Option<PublicKey>,
}

/// Checks a registration's own members (protocol 4.2).
///
/// # Errors
/// The members at fault.
pub fn check_registration(
    claims: &RegistrationClaims,
    device_key: &PublicKey,
) -> Result<Registration, Vec<FieldError>> {
    let mut checker = Checker::default();
    let device = &claims.device;
    let mut short = |name: &str, value: Option<&String>| {
        checker.optional_text(&format!("/device/{name}"), value.map(String::as_str), 1, 128)
    };
    let model = short("model", device.model.as_ref());
    let os_version = short("os_version", device.os_version.as_ref());
    let app_id = short("app_id", device.app_id.as_ref());
    let app_version = short("app_version", device.app_version.as_ref());
    let installation_id = short("installation_id", device.installation_id.as_ref());
    let name = checker.text("/device/name", &device.name, 1, 64);
    push::check(&mut checker, "/push", &claims.push);
    let uv_key = match claims.uv_jwk.as_ref().map(PublicKey::from_jwk) {
        Some(Ok(key)) if key == *device_key => {
            // One key in both roles would make every plain signature count as user-verified.
            checker.refuse("/uv_jwk", "must differ from the device key");
            None
        }
        Some(Ok(key)) => Some(key),
        Some(Err(_)) => {
            checker.refuse("/uv_jwk", "must be a P-256 public key with exactly kty, crv, x and y");
            None
        }
        None => None,
    };
    checker.finish()?;
    let description =
        DeviceDescription { name, platform: device.platform, model, os_version, app_id, app_version, installation_id };
    Ok(Registration { description, push: claims.push.clone(), uv_key })
}

/// A key as the database has it: to be believed only with a binding that verifies, while the device is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Whose key.
    pub device_id: DeviceId,
    /// The device's organisation.
    pub tenant_id: TenantId,
    /// The device's user.
    pub user_id: UserId,
    /// Which of the device's keys.
    pub role: KeyRole,
    /// Uncompressed SEC1.
    pub public_key: Vec<u8>,
    /// Whether it is the device's current key of this role; a replaced key is dead.
    pub is_current: bool,
    /// The device's status right now.
    pub device_status: DeviceStatus,
    /// When the device was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The binding, once the device became active.
    pub binding: Option<StoredBinding>,
    /// How old the device is.
    pub versions: DeviceVersions,
    /// Whether the device's organisation has been disabled.
    pub is_tenant_disabled: bool,
}

/// What a device runs on, as it told: texts of its own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceVersions {
    /// The platform.
    pub platform: Platform,
    /// The app's version.
    pub app_version: Option<String>,
    /// The operating system's version.
    pub os_version: Option<String>,
}

/// The server's signed statement that the keys are the device's, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBinding {
    /// Its `jti`.
    pub id: BindingId,
    /// `countersign-binding+jwt`.
    pub jws: String,
}

/// A key's public halves and thumbprint, as the store writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// RFC 7638.
    pub thumbprint: Thumbprint,
    /// Uncompressed SEC1.
    pub public_key: [u8; 65],
}

impl From<&PublicKey> for NewKey {
    fn from(key: &PublicKey) -> Self {
        Self { thumbprint: key.thumbprint(), public_key: key.to_sec1() }
    }
}

/// A device, as admins see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Our id.
    pub id: DeviceId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// Its user.
    pub user: crate::ports::users::UserName,
    /// What it says about itself.
    pub description: DeviceDescription,
    /// What it is for.
    pub purpose: EnrollmentPurpose,
    /// Where it is in its life.
    pub status: DeviceStatus,
    /// RFC 7638 thumbprint of the current device key.
    pub key_thumbprint: Thumbprint,
    /// Whether it has a second key.
    pub has_uv_key: bool,
    /// Where to ring.
    pub push_channel: PushChannel,
    /// Whether the provider said that the token is gone.
    pub push_token_gone: bool,
    /// Why and since when the provider refuses the token for good, if it does; [`DeviceRecord::push_channel`] and the
    /// token stay.
    pub push_undeliverable: Option<Undeliverable>,
    /// How pushes to it fared, and when it last asked.
    pub push_health: PushHealth,
    /// When the device last told us its token.
    pub push_updated_at: Timestamp,
    /// The binding, once active.
    pub binding: Option<StoredBinding>,
    /// When it registered.
    pub created_at: Timestamp,
    /// When it became active.
    pub activated_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why.
    pub revoke_reason: Option<RevokeReason>,
}

/// A provider's refusal of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeliverable {
    /// Our code and the provider's status.
    pub reason: String,
    /// When it said so.
    pub since: Timestamp,
}

/// How pushes to a device fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushHealth {
    /// When a provider last took a push to it.
    pub accepted_at: Option<Timestamp>,
    /// When it last asked for its challenges.
    pub pulled_at: Option<Timestamp>,
    /// When it last decided one.
    pub answered_at: Option<Timestamp>,
    /// Our code and the provider's status of the last failure, and when.
    pub last_error: Option<(String, Timestamp)>,
}

impl DeviceRecord {
    /// When it last decided a challenge or, if that is later, became active.
    pub fn last_used_at(&self) -> Timestamp {
        last_used_at(self.push_health.answered_at, self.activated_at, self.created_at)
    }
}

/// When a device last decided a challenge or, if that is later, became active; of one that never did either, when it
/// registered.
pub fn last_used_at(
    answered_at: Option<Timestamp>,
    activated_at: Option<Timestamp>,
    created_at: Timestamp,
) -> Timestamp {
    answered_at.max(activated_at).unwrap_or(created_at)
}

/// Whether a device that was last used then is dormant at `now` (protocol 9): challenges are addressed to it no more.
/// Only a fresh enrollment leads back, for nothing but a decision counts as use.
pub fn is_dormant(last_used_at: Timestamp, dormant_after_days: Option<u32>, now: Timestamp) -> bool {
    dormant_after_days.is_some_and(|days| now >= last_used_at.plus_seconds(i64::from(days) * 86_400))
}

/// What an admin, or the device itself, may do to an existing device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusChange {
    /// No approve commits until it is resumed.
    Suspend,
    /// Back to active.
    Resume,
    /// For ever.
    Revoke(RevokeReason),
}

/// What a change of status comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The device goes to this status.
    To(DeviceStatus),
    /// It is there already: the call is idempotent.
    Already,
    /// There is no way from here.
    Impossible,
}

/// Which status leads to which (protocol 10).
pub const fn transition(from: DeviceStatus, change: StatusChange) -> Transition {
    match (from, change) {
        (DeviceStatus::Active, StatusChange::Suspend) => Transition::To(DeviceStatus::Suspended),
        (DeviceStatus::Suspended, StatusChange::Resume) => Transition::To(DeviceStatus::Active),
        (DeviceStatus::Suspended, StatusChange::Suspend)
        | (DeviceStatus::Active, StatusChange::Resume)
        | (DeviceStatus::Revoked, StatusChange::Revoke(_)) => Transition::Already,
        (DeviceStatus::Revoked, _)
        | (DeviceStatus::PendingConfirmation, StatusChange::Suspend | StatusChange::Resume) => Transition::Impossible,
        (_, StatusChange::Revoke(_)) => Transition::To(DeviceStatus::Revoked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_dormant_from_the_end_of_its_days_on() {
        let used = Timestamp::from_seconds(1_800_000_000);
        assert!(!is_dormant(used, Some(30), used.plus_seconds(30 * 86_400 - 1)));
        assert!(is_dormant(used, Some(30), used.plus_seconds(30 * 86_400)));
        assert!(!is_dormant(used, None, used.plus_seconds(3_650 * 86_400)));
        let later = used.plus_seconds(1);
        assert_eq!(last_used_at(Some(used), Some(later), used), later);
        assert_eq!(last_used_at(Some(later), Some(used), used), later);
        assert_eq!(last_used_at(None, None, used), used);
    }

    #[test]
    fn nothing_leads_back_from_revoked() {
        for change in [StatusChange::Suspend, StatusChange::Resume] {
            assert_eq!(transition(DeviceStatus::Revoked, change), Transition::Impossible);
        }
    }

    #[test]
    fn resume_never_skips_the_confirmation() {
        assert_eq!(transition(DeviceStatus::PendingConfirmation, StatusChange::Resume), Transition::Impossible);
    }

    #[test]
    fn every_status_can_be_revoked_and_repeating_is_harmless() {
        let revoke = StatusChange::Revoke(RevokeReason::Lost);
        for from in [DeviceStatus::PendingConfirmation, DeviceStatus::Active, DeviceStatus::Suspended] {
            assert_eq!(transition(from, revoke), Transition::To(DeviceStatus::Revoked));
        }
        assert_eq!(transition(DeviceStatus::Revoked, revoke), Transition::Already);
    }
}
