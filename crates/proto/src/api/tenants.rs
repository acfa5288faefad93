//! An organisation's own settings (protocol 15).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ids::TenantId, timestamp::Timestamp};

/// `GET /v1/tenant`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Our id.
    pub id: TenantId,
    /// What operators type.
    pub slug: String,
    /// What people see on their phones.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// One more with each change of name or settings.
    pub settings_version: u32,
    /// How long what has ended is kept.
    pub retention: TenantRetention,
    /// What there is, and how much of it the operator allows.
    pub quotas: Quotas,
}

/// How long an organisation keeps what has ended, where that is not the server's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantRetention {
    /// Days from the creation of a challenge, 2 to 36500. Never longer than the server keeps it.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 36500)]
    pub challenge_days: Option<u32>,
    /// The same for enrollments.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 36500)]
    pub enrollment_days: Option<u32>,
}

/// What has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quotas {
    /// People.
    pub users: Usage,
    /// API clients that are not revoked.
    pub api_clients: Usage,
    /// Webhooks.
    pub webhooks: Usage,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// How many there are.
    pub count: u32,
    /// How many there may be; absent: as many as you like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// `PATCH /v1/tenant`. A member that is absent leaves what it names as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTenant {
    /// 1–128 characters.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Takes the place of the whole retention; what is absent in it is kept as long as the server keeps it.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub retention: Option<TenantRetention>,
}
