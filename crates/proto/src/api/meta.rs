//! What the server says about itself (`/.well-known/countersign`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// `GET /.well-known/countersign`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Discovery {
    /// The server's public URL: scheme, host, port.
    #[schema(example = "https://approve.example.org")]
    pub issuer: String,
    /// Where the server's public keys are.
    pub jwks_uri: String,
    /// `v1`.
    pub api_version: String,
    /// The server's time.
    pub server_time: Timestamp,
    /// Absolute URLs for devices.
    pub endpoints: Endpoints,
    /// What the server refuses beyond.
    pub limits: Limits,
    /// The server's Web Push key (RFC 8292), an uncompressed P-256 point in b64u: browsers subscribe with it as
    /// `applicationServerKey`.
    pub vapid_public_key: String,
}

/// Absolute URLs for devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoints {
    /// `POST` a registration.
    pub registrations: String,
    /// `GET` the device's own record.
    pub device: String,
    /// `GET` what waits for an answer.
    pub device_challenges: String,
    /// `PUT` the push channel.
    pub push: String,
    /// `POST` a key rotation; absent on a server without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `POST` a deregistration.
    pub deregistration: String,
    /// `POST` "that was not me" to a notice, with its id in place of `{id}`.
    pub dispute: String,
    /// `GET` the organisation's signed policy; absent on an older server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// What the server refuses beyond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Bytes of a signed artefact from a device.
    pub max_artifact_bytes: u32,
    /// Seconds that a read may be held.
    pub max_wait_seconds: u32,
    /// Seconds that a challenge may live.
    pub max_ttl_seconds: u32,
}
