//! Words about users.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// Who reported that somebody else tries to sign in as a user (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ReportedBy {
    /// The person, by a deny with the reason `not_me`.
    Device,
    /// An API client, for instance a help desk's.
    ApiClient,
}

impl Word for ReportedBy {
    const ALL: &'static [Self] = &[Self::Device, Self::ApiClient];

    fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::ApiClient => "api_client",
        }
    }
}

impl FromStr for ReportedBy {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ReportedBy {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Why an API client reports fraud (protocol 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ReportReason {
    /// The person says that it was somebody else.
    NotMe,
    /// Something looks wrong to a person or a program.
    Suspicious,
    /// Another reason, or none given.
    Other,
}

impl Word for ReportReason {
    const ALL: &'static [Self] = &[Self::NotMe, Self::Suspicious, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::NotMe => "not_me",
            Self::Suspicious => "suspicious",
            Self::Other => "other",
        }
    }
}

impl FromStr for ReportReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ReportReason {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// What a list of users may be asked for (protocol 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum UserState {
    /// Approvals are refused now.
    Locked,
    /// Somebody else tries to sign in as the user, and no administrator has cleared that.
    Reported,
    /// No device is registered that is not revoked: nobody can approve.
    WithoutDevice,
}

impl Word for UserState {
    const ALL: &'static [Self] = &[Self::Locked, Self::Reported, Self::WithoutDevice];

    fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Reported => "reported",
            Self::WithoutDevice => "without_device",
        }
    }
}

impl FromStr for UserState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for UserState {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
