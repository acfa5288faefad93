//! API clients as administrators see and make them (protocol 15).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{ApiClientId, ApiKeyId},
    jose::Jwk,
    timestamp::Timestamp,
};

/// What a new API client shall be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiClient {
    /// 1–128 characters.
    #[schema(example = "identity provider")]
    pub name: String,
    /// At least one: `enrollments`, `challenges`, `users:read`, `users:write`, `devices:read`, `devices:write`,
    /// `audit:read`, `admin`.
    pub scopes: Vec<String>,
    /// The applications that it may ask approvals for, 1–100; all if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub applications: Option<Vec<String>>,
    /// The public P-256 key with which it signs its requests (`ClientProof`); without it a secret is made, and shown
    /// once.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Jwk>,
    /// The first key's life in days, 1–3650; without end if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u16>,
}

/// One more key of an API client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddApiKey {
    /// The public P-256 key with which it signs its requests (`ClientProof`); without it a secret is made, and shown
    /// once.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Jwk>,
    /// The key's life in days, 1–3650; without end if absent.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u16>,
}

/// What of an API client shall change; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeApiClient {
    /// 1–128 characters.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At least one.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The applications that it may ask approvals for, 1–100.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub applications: Option<Vec<String>>,
    /// `true`: it may ask for all from now on. Not together with `applications`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub all_applications: Option<bool>,
}

/// An API client.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiClient {
    /// Our id.
    pub id: ApiClientId,
    /// What operators call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The applications that it may ask approvals for; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applications: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, with all its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Its keys, oldest first, revoked ones included; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<ApiKey>>,
}

/// A key of an API client. Never its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Our id.
    pub id: ApiKeyId,
    /// `api_key` (a secret that is sent) or `public_key` (its private half signs).
    #[schema(example = "api_key")]
    pub kind: String,
    /// `live`, `expired` or `revoked`.
    #[schema(example = "live")]
    pub state: String,
    /// RFC 7638, of a public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_thumbprint: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// When it last called, to a few seconds; a crash may lose the last few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// An API client that was made, with its first key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiClientCreated {
    /// The client.
    #[serde(flatten)]
    pub client: ApiClient,
    /// The secret, shown in this reply only; absent if it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// A key that was made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKey,
    /// The secret, shown in this reply only; absent if it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}
