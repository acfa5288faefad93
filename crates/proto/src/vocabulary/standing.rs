//! How a device stands with what its organisation asks.
//!
//! To add a word, see the parent module.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// Whether a device is as new as its organisation asks (protocol 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum UpdateState {
    /// It is.
    Current,
    /// It told no version, or one that nobody can compare.
    Unknown,
    /// It is older.
    UpdateRequired,
}

impl Word for UpdateState {
    const ALL: &'static [Self] = &[Self::Current, Self::Unknown, Self::UpdateRequired];

    fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Unknown => "unknown",
            Self::UpdateRequired => "update_required",
        }
    }
}

impl FromStr for UpdateState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for UpdateState {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Why a device is in the report of those at risk (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum RiskReason {
    /// The app is older than the policy asks.
    AppVersionTooOld,
    /// Nobody can say how old the app is, and the policy asks.
    AppVersionUnknown,
    /// The operating system is older than the policy asks.
    OsVersionTooOld,
    /// Nobody can say how old the operating system is, and the policy asks.
    OsVersionUnknown,
    /// The policy asks for a uv key, and it has none.
    NoUserVerificationKey,
    /// It has decided nothing for longer than the policy allows.
    Dormant,
    /// Its push token is gone.
    PushTokenGone,
    /// Its push provider refuses its token.
    PushUndeliverable,
    /// A report of fraud about its user waits for an administrator.
    UserReported,
    /// Its user is locked.
    UserLocked,
}

impl Word for RiskReason {
    const ALL: &'static [Self] = &[
        Self::AppVersionTooOld,
        Self::AppVersionUnknown,
        Self::OsVersionTooOld,
        Self::OsVersionUnknown,
        Self::NoUserVerificationKey,
        Self::Dormant,
        Self::PushTokenGone,
        Self::PushUndeliverable,
        Self::UserReported,
        Self::UserLocked,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::AppVersionTooOld => "app_version_too_old",
            Self::AppVersionUnknown => "app_version_unknown",
            Self::OsVersionTooOld => "os_version_too_old",
            Self::OsVersionUnknown => "os_version_unknown",
            Self::NoUserVerificationKey => "no_user_verification_key",
            Self::Dormant => "dormant",
            Self::PushTokenGone => "push_token_gone",
            Self::PushUndeliverable => "push_undeliverable",
            Self::UserReported => "user_reported",
            Self::UserLocked => "user_locked",
        }
    }
}

impl FromStr for RiskReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for RiskReason {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
