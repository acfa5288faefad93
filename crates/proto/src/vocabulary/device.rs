//! What is said about a device and its registration.
//!
//! To add a word, see the parent module.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// What a device runs on (protocol 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Platform {
    /// iOS or iPadOS.
    Ios,
    /// Android.
    Android,
    /// A browser.
    Web,
    /// watchOS.
    Watchos,
    /// Wear OS.
    Wearos,
    /// Anything else, such as the command-line phone.
    Other,
}

impl Word for Platform {
    const ALL: &'static [Self] = &[Self::Ios, Self::Android, Self::Web, Self::Watchos, Self::Wearos, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ios => "ios",
            Self::Android => "android",
            Self::Web => "web",
            Self::Watchos => "watchos",
            Self::Wearos => "wearos",
            Self::Other => "other",
        }
    }
}

impl FromStr for Platform {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for Platform {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Whether a device may answer (protocol 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum DeviceStatus {
    /// Registered, its confirmation code not yet typed.
    PendingConfirmation,
    /// May answer.
    Active,
    /// May not answer until resumed.
    Suspended,
    /// Will never answer again.
    Revoked,
}

impl Word for DeviceStatus {
    const ALL: &'static [Self] = &[Self::PendingConfirmation, Self::Active, Self::Suspended, Self::Revoked];

    fn as_str(self) -> &'static str {
        match self {
            Self::PendingConfirmation => "pending_confirmation",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for DeviceStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for DeviceStatus {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Why a device was revoked or deregistered (protocol 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum RevokeReason {
    /// Lost.
    Lost,
    /// Stolen.
    Stolen,
    /// Replaced by another.
    Replaced,
    /// Its user left the organisation.
    Left,
    /// Anything else.
    Other,
}

impl Word for RevokeReason {
    const ALL: &'static [Self] = &[Self::Lost, Self::Stolen, Self::Replaced, Self::Left, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stolen => "stolen",
            Self::Replaced => "replaced",
            Self::Left => "left",
            Self::Other => "other",
        }
    }
}

impl FromStr for RevokeReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for RevokeReason {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
