//! The append-only log as callers read it (`GET /v1/events`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId, EventId, UserId},
    timestamp::Timestamp,
};

/// One change. Ids and digests only: erasing a person never touches the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Our id.
    pub id: EventId,
    /// Its place in the tenant's log: 1, 2, 3 … without gaps.
    pub position: u64,
    /// What happened, for example `challenge.approved`.
    #[serde(rename = "type")]
    #[schema(example = "challenge.approved")]
    pub kind: String,
    /// Who did it.
    pub actor: EventActor,
    /// The user concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The device concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// The challenge concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_id: Option<ChallengeId>,
    /// The enrollment concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
    /// The API client concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_client_id: Option<ApiClientId>,
    /// The request that caused it, as in `X-Request-Id` and in the server's own log.
    pub request_id: String,
    /// When.
    pub created_at: Timestamp,
    /// Particulars of the kind; ids, digests and fixed words only.
    pub data: serde_json::Value,
}

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventActor {
    /// `api_client`, `device`, `operator` (the command line) or `system` (the server itself).
    #[serde(rename = "type")]
    #[schema(example = "device")]
    pub kind: String,
    /// The API client's or device's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}
