//! Revoking several devices at once (protocol 10.7).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{DeviceId, UserId},
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, Platform, RevokeReason},
};

/// `POST /v1/users/{id}/devices/revoke-all`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllDevices {
    /// Why; default `other`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<RevokeReason>,
}

/// The reply to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AllDevicesRevoked {
    /// The devices that this call revoked, oldest first; a repeat finds none.
    pub revoked: Vec<DeviceId>,
}

/// `POST /v1/devices/revoke`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeDevices {
    /// Which devices.
    pub filter: RevokeFilter,
    /// Why; default `other`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<RevokeReason>,
    /// `true`: say how many it would be, and change nothing.
    pub dry_run: bool,
    /// Of the dry run with the very same filter and reason; with `dry_run:false` only.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<String>,
}

/// All that is named must hold; at least one member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeFilter {
    /// Of this user (the tenant's own id).
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Of this user (our id).
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// On this platform.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// `active`, `suspended` or `pending_confirmation`; if absent, active and suspended devices.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub status: Option<DeviceStatus>,
    /// Of this installed app.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<String>,
    /// Of this app.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The app's version is known, and older than this one.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(example = "2.4.0")]
    pub app_version_below: Option<String>,
    /// It has decided nothing for so many days: 1 to 3650.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub inactive_for_days: Option<u32>,
    /// Registered after this time.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    /// Registered before this time.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
}

/// The reply to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum DevicesRevoked {
    /// Of a dry run.
    DryRun(RevokeDryRun),
    /// Of a real one.
    Portion(RevokedPortion),
}

/// What a real run would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokeDryRun {
    /// How many devices the filter finds now.
    pub matched: u32,
    /// The first of them, oldest first, at most 50.
    pub device_ids: Vec<DeviceId>,
    /// Hand it to the real run.
    pub confirmation: String,
    /// It is good until then.
    pub expires_at: Timestamp,
}

/// What one call has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedPortion {
    /// The devices that this call revoked, oldest first, at most 100.
    pub revoked: Vec<DeviceId>,
    /// How many are left: repeat the call until it is 0.
    pub remaining: u32,
}
