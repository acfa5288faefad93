//! Users as the API shows them (protocol 10).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::devices::Device,
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ReportReason, ReportedBy, RiskReason, UpdateState},
};

/// How a caller names a user: the identity provider's own stable id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserReference {
    /// 1–255 characters after NFC, case-sensitive, no leading or trailing white space.
    #[schema(example = "employee-4711")]
    pub external_id: String,
}

/// A user named at enrollment; created if new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1–255 characters after NFC, case-sensitive, no leading or trailing white space.
    #[schema(example = "employee-4711")]
    pub external_id: String,
    /// 1–128 characters; shown on the phone.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(example = "Ada Lovelace")]
    pub display_name: Option<String>,
}

/// The user inside other replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserSummary {
    /// Our id.
    pub id: UserId,
    /// The tenant's id of this user.
    pub external_id: String,
    /// The name shown on the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// A user, as `GET /v1/users/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Our id.
    pub id: UserId,
    /// The tenant's id of this user.
    pub external_id: String,
    /// The name shown on the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When the user was first named in an enrollment.
    pub created_at: Timestamp,
    /// Registrations that count against the limit: pending, active and suspended ones.
    pub device_count: u32,
    /// Challenges that wait for an answer.
    pub pending_challenges: u32,
    /// Consecutive wrong numbers and codes since the last right one or unlock.
    pub consecutive_failures: u32,
    /// Approvals are refused until then; absent when the user is not locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Somebody else tries to sign in as this user, and no administrator has cleared that yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<UserReport>,
    /// Nobody is rung for the user's challenges until then, after a report or several denials; devices still pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushes_stopped_until: Option<Timestamp>,
}

/// A report of fraud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserReport {
    /// When it came, the last one if there were several.
    pub at: Timestamp,
    /// From whom.
    pub by: ReportedBy,
}

/// `POST /v1/users/{id}/report` (protocol 10).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportUser {
    /// Why; default `other`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReportReason>,
}

/// A tenant inside other replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantSummary {
    /// Our id.
    pub id: crate::ids::TenantId,
    /// The organisation's name, shown on the phone.
    pub name: String,
}

/// `PATCH /v1/users/{id}` (protocol 10.8). A member that is absent leaves what it names as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// 1–128 characters; shown on the phone in challenges that are made from now on. Empty: no name any more.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(example = "Ada Lovelace")]
    pub display_name: Option<String>,
}

/// `GET /v1/users/{id}/methods` (protocol 10.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Methods {
    /// Newest first; at most as many as the policy lets a user have devices.
    pub methods: Vec<Method>,
}

/// A way in which a user may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Method {
    /// `push`. Others may come.
    #[serde(rename = "type")]
    pub kind: MethodKind,
    /// Whether it can be used now.
    pub state: MethodState,
    /// Of `push`: the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Of `push`: seconds since its keys were last bound to the user, by enrollment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
    /// Of `push`: whether the device is as new as the policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateState>,
    /// Why the organisation should look after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<RiskReason>,
}

/// Sorts of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// A device that answers challenges.
    Push,
}

/// Whether a method can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodState {
    /// The next challenge is addressed to it, and rings it.
    Usable,
    /// The next challenge is addressed to it, but nobody can ring it: the person opens the app.
    PullOnly,
    /// It waits for its confirmation.
    PendingConfirmation,
    /// Somebody has suspended it.
    Suspended,
    /// It has decided nothing for too long (policy `dormant_after_days`): nothing is addressed to it.
    Dormant,
}

/// One entry of a user's timeline, newest first (protocol 10.8): an event, or a challenge as it is by now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// The event's or challenge's id; also a cursor.
    pub id: String,
    /// The event's kind; of a challenge `challenge.created` while it waits, else how it ended.
    #[serde(rename = "type")]
    #[schema(example = "device.added")]
    pub kind: String,
    /// When it happened; of a challenge, when it was made.
    pub created_at: Timestamp,
    /// Of a challenge: when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Of a challenge: why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ChallengeReason>,
    /// Of a challenge: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_id: Option<ChallengeId>,
    /// Of a challenge: who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_client_id: Option<ApiClientId>,
    /// The device that it is about, or that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// The enrollment that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
    /// Of an event: who caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<crate::api::events::EventActor>,
    /// Of an event: ids, digests and fixed words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Map<String, serde_json::Value>>,
}

/// `GET /v1/users/{id}/export` (protocol 10.8): what is held on a person. Written as it is read, so that a long history
/// costs no memory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserExport {
    /// `countersign-user-export/1`.
    pub format: String,
    /// The server.
    pub issuer: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// The person.
    pub user: User,
    /// Counters and locks of the moment.
    pub guards: serde_json::Value,
    /// Registrations, revoked ones too, each with `keys`, `binding` and what waits or is kept for it.
    pub devices: Vec<serde_json::Value>,
    /// Invitations.
    pub enrollments: Vec<serde_json::Value>,
    /// That a reply to a device is kept for a repeat, since when and until when; not what it says.
    pub stored_replies: Vec<serde_json::Value>,
    /// Challenges with their deliveries, evidence and kept requests.
    pub challenges: Vec<serde_json::Value>,
    /// The person's part of the log, sign-ins too, oldest first, each with the messages about it to webhooks.
    pub events: Vec<serde_json::Value>,
    /// The last member. An export without it broke off.
    pub complete: bool,
}
