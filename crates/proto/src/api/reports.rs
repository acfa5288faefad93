//! Reports for administrators (protocol 9).
//!
//! To add a reason: the vocabulary's `RiskReason`, and the rule that finds it in `countersign_core::policy::risk`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::users::UserSummary,
    ids::DeviceId,
    timestamp::Timestamp,
    vocabulary::{Platform, RiskReason},
};

/// An active device that the organisation should look after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceAtRisk {
    /// Our id.
    pub id: DeviceId,
    /// Whose device it is.
    pub user: UserSummary,
    /// The name that the app gave itself.
    pub name: String,
    /// The platform that the app named.
    pub platform: Platform,
    /// The app's version, as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// The operating system's version, as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// When it last decided a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision_at: Option<Timestamp>,
    /// When it last asked for its challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pull_at: Option<Timestamp>,
    /// Why it is here: at least one.
    pub reasons: Vec<RiskReason>,
}
