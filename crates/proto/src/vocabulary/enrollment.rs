//! What is said about an enrollment.
//!
//! To add a word, see the parent module.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// The state of an enrollment (protocol 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum EnrollmentStatus {
    /// Its ticket is unused.
    Pending,
    /// A device registered; the confirmation code is awaited.
    Claimed,
    /// Its device is active.
    Completed,
    /// Time ran out first.
    Expired,
    /// Taken back, contested, or too many wrong codes.
    Cancelled,
}

impl Word for EnrollmentStatus {
    const ALL: &'static [Self] = &[Self::Pending, Self::Claimed, Self::Completed, Self::Expired, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for EnrollmentStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for EnrollmentStatus {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// What the enrolled device is for (protocol 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum EnrollmentPurpose {
    /// A person's authenticator.
    Approval,
    /// A broker that serves a person's other devices.
    Broker,
}

impl Word for EnrollmentPurpose {
    const ALL: &'static [Self] = &[Self::Approval, Self::Broker];

    fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Broker => "broker",
        }
    }
}

impl FromStr for EnrollmentPurpose {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for EnrollmentPurpose {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How the page that began an enrollment confirms the device (protocol 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Confirmation {
    /// The person types the code that the device shows.
    Code,
    /// Not at all.
    None,
}

impl Word for Confirmation {
    const ALL: &'static [Self] = &[Self::Code, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::None => "none",
        }
    }
}

impl FromStr for Confirmation {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for Confirmation {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
