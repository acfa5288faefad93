//! Devices as admins and as the device itself see them (protocol 5, 10).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::users::{TenantSummary, UserSummary},
    ids::{ChallengeId, DeviceId, EventId, NotificationId},
    timestamp::Timestamp,
    vocabulary::{
        ChallengeStatus, DeliveryState, DeviceStatus, EnrollmentPurpose, Platform, PushChannel, PushState,
        RevokeReason, UserVerification, VerificationMode,
    },
};

/// The device inside other replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceSummary {
    /// Our id.
    pub id: DeviceId,
    /// The name that the app gave itself.
    #[schema(example = "Ada's phone")]
    pub name: String,
    /// The platform that the app named.
    pub platform: Platform,
}

/// The push channel of a device; never its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushSummary {
    /// Where pushes go.
    pub channel: PushChannel,
    /// Whether it can be rung.
    pub state: PushState,
    /// Our code and the provider's status, where the state is `undeliverable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "bad-device-token 400")]
    pub reason: Option<String>,
    /// When the device last told us its token.
    pub updated_at: Timestamp,
    /// Whether that was more than 30 days ago: apps tell it again from time to time, and one that does not may be gone.
    pub is_unconfirmed: bool,
}

/// How pushes to a device fare, for whoever wonders why a phone did not ring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushHealth {
    /// When a provider last took a push to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accepted_at: Option<Timestamp>,
    /// When it last asked for its challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pull_at: Option<Timestamp>,
    /// Our code and the provider's status of the last failure; never the provider's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "unavailable 503")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<Timestamp>,
    /// Seconds since the device last told us its token; absent without a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_age_seconds: Option<i64>,
}

/// A test push, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestPush {
    /// Our id.
    pub id: NotificationId,
    /// The device.
    pub device_id: DeviceId,
    /// Its channel when the test was made.
    pub channel: PushChannel,
    /// How the push fares. `delivered`: the provider took it; whether the phone rang, only its holder can say.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Our code and the provider's status; never the provider's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the state last changed.
    pub updated_at: Timestamp,
}

/// The reply to a dispute (protocol 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disputed {
    /// The notice.
    pub notice_id: EventId,
    /// Always true: the device that the notice is about can approve nothing any more.
    pub suspended: bool,
}

/// `PATCH /v1/devices/{id}` (protocol 10.7).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameDevice {
    /// The name by which people know it: 1–64 characters.
    #[schema(example = "Ada's phone")]
    pub name: String,
}

/// The reply to a key rotation (protocol 10.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysRotated {
    /// The device.
    pub device_id: DeviceId,
    /// `countersign-binding+jwt` over all keys that the device has from now on.
    pub binding: String,
}

/// A device, as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Our id.
    pub id: DeviceId,
    /// Whose device it is.
    pub user: UserSummary,
    /// The name that the app gave itself.
    pub name: String,
    /// The platform that the app named.
    pub platform: Platform,
    /// The model that the app named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The operating system version that the app named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The app's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The app's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// What groups the registrations of one installed app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<String>,
    /// `approval` devices answer challenges; `broker` ones never do.
    pub purpose: EnrollmentPurpose,
    /// Where the device is in its life.
    pub status: DeviceStatus,
    /// Whether it registered a second key that needs a PIN or biometric.
    pub has_user_verification_key: bool,
    /// The push channel.
    pub push: PushSummary,
    /// How pushes to it fared; in `GET /v1/devices/{id}` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_health: Option<PushHealth>,
    /// RFC 7638 thumbprint of the current device key.
    pub key_thumbprint: String,
    /// When it registered.
    pub created_at: Timestamp,
    /// When it became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// When it last decided a challenge, up to a few seconds late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision_at: Option<Timestamp>,
    /// In `GET /v1/devices` and `GET /v1/devices/{id}`: `true` if it has decided nothing for `dormant_after_days`, so that challenges are
    /// addressed to it no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dormant: Option<bool>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_reason: Option<RevokeReason>,
}

/// The reply to `GET /v1/device` (protocol 5.1).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceSelf {
    /// The device that asks.
    pub device: OwnDevice,
    /// Its user.
    pub user: UserSummary,
    /// Its organisation.
    pub tenant: TenantSummary,
    /// `countersign-binding+jwt`; absent while the device is not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// What the organisation asks of approvals.
    pub policy: DevicePolicy,
    /// What happened to the user's registrations in the last 30 days, newest first.
    pub notices: Vec<Notice>,
    /// The server's time, to correct a phone's clock.
    pub server_time: Timestamp,
}

/// The asking device's own record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnDevice {
    /// Our id.
    pub id: DeviceId,
    /// The name that the app gave itself.
    pub name: String,
    /// The platform that the app named.
    pub platform: Platform,
    /// Where the device is in its life.
    pub status: DeviceStatus,
    /// The push channel.
    pub push: PushSummary,
    /// When it registered.
    pub created_at: Timestamp,
}

/// What the organisation asks of approvals, as a hint to the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DevicePolicy {
    /// The verification modes that challenges may use.
    pub modes: Vec<VerificationMode>,
    /// Whether the second key is needed.
    pub user_verification: UserVerification,
}

/// Something that the person should know about their registrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// The event's id.
    pub id: EventId,
    /// The event's kind, for example `device.added`.
    #[serde(rename = "type")]
    #[schema(example = "device.added")]
    pub kind: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// The registration that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<NoticeDevice>,
    /// Whether "that was not me" (8.8) would suspend that registration.
    #[serde(default)]
    pub is_disputable: bool,
}

/// The registration that a notice is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeDevice {
    /// Its name.
    pub name: String,
    /// Its platform.
    pub platform: Platform,
}

/// The reply to `GET /v1/device/challenges` (protocol 5.2).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PendingChallenges {
    /// Pending and addressed to this device, oldest first.
    pub challenges: Vec<PendingChallenge>,
    /// The device is older than its organisation asks (5.4): tell the person to update. Absent: not known to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_required: Option<bool>,
    /// The server's time.
    pub server_time: Timestamp,
}

/// One challenge that waits for this device's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingChallenge {
    /// The challenge's id.
    pub id: ChallengeId,
    /// `countersign-challenge+jwt`: verify it, show only what is in it.
    pub challenge: String,
    /// No answer is taken from then on.
    pub expires_at: Timestamp,
}

/// The reply to a recorded response (protocol 7.2, step 11).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseRecorded {
    /// The challenge that was answered.
    pub challenge_id: ChallengeId,
    /// What it became; `pending` while the code is awaited (6.8).
    pub status: ChallengeStatus,
    /// When; absent while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Mode `display`, while pending: what the person types where they sign in. Only the device that approved gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "042137")]
    pub display_code: Option<String>,
}

/// Leaves out the code.
impl std::fmt::Debug for ResponseRecorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { challenge_id, status, decided_at, display_code: _ } = self;
        let mut recorded = f.debug_struct("ResponseRecorded");
        recorded.field("challenge_id", challenge_id).field("status", status).field("decided_at", decided_at);
        recorded.finish_non_exhaustive()
    }
}

/// The reply to a deregistration (protocol 10.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deregistered {
    /// The device that is no more.
    pub device_id: DeviceId,
    /// Always `revoked`.
    pub status: DeviceStatus,
    /// When it stopped.
    pub revoked_at: Timestamp,
}

/// The reply to a push update (protocol 8.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushUpdated {
    /// The device.
    pub device_id: DeviceId,
    /// Its channel from now on.
    pub push: PushSummary,
}
