//! Users as the API shows them (protocol 10).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::UserId,
    timestamp::Timestamp,
    vocabulary::{ReportReason, ReportedBy},
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
