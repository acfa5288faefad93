//! What is said about a challenge: how it is proven, how it ends, why.
//!
//! To add a word, see the parent module.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// What a person decided (protocol 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Decision {
    /// Yes, it was me.
    Approve,
    /// No.
    Deny,
}

impl Word for Decision {
    const ALL: &'static [Self] = &[Self::Approve, Self::Deny];

    fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

impl FromStr for Decision {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for Decision {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Why a device denied (protocol 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum DenyReason {
    /// Somebody else asked: the fraud rule applies (protocol 9).
    NotMe,
    /// The person asked by mistake.
    Mistake,
    /// Anything else.
    Other,
}

impl Word for DenyReason {
    const ALL: &'static [Self] = &[Self::NotMe, Self::Mistake, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::NotMe => "not_me",
            Self::Mistake => "mistake",
            Self::Other => "other",
        }
    }
}

impl FromStr for DenyReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for DenyReason {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// The one state of a challenge; every state but `pending` is for ever (protocol 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ChallengeStatus {
    /// Waits for a decision.
    Pending,
    /// A device approved it.
    Approved,
    /// A device denied it, or a number was wrong.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Taken back before a decision.
    Cancelled,
}

impl Word for ChallengeStatus {
    const ALL: &'static [Self] = &[Self::Pending, Self::Approved, Self::Denied, Self::Expired, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for ChallengeStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ChallengeStatus {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Why a challenge was denied or cancelled (protocol 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ChallengeReason {
    /// Denied: the person did not ask.
    NotMe,
    /// Denied: asked by mistake.
    Mistake,
    /// Denied for another reason.
    Other,
    /// Denied: the typed or chosen number was wrong.
    WrongNumber,
    /// Denied: the fifth wrong code in mode `display`.
    WrongCode,
    /// Cancelled by the API client.
    Client,
    /// Cancelled: its only device was revoked.
    DeviceRevoked,
    /// Cancelled: its only device was suspended.
    DeviceSuspended,
    /// Cancelled: the person reported another challenge as fraud.
    Reported,
    /// Cancelled: the user was erased.
    UserErased,
    /// Cancelled: the organisation was disabled.
    TenantDisabled,
    /// Cancelled: an older state of the database was put back.
    DatabaseRestored,
}

impl Word for ChallengeReason {
    const ALL: &'static [Self] = &[
        Self::NotMe,
        Self::Mistake,
        Self::Other,
        Self::WrongNumber,
        Self::WrongCode,
        Self::Client,
        Self::DeviceRevoked,
        Self::DeviceSuspended,
        Self::Reported,
        Self::UserErased,
        Self::TenantDisabled,
        Self::DatabaseRestored,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NotMe => "not_me",
            Self::Mistake => "mistake",
            Self::Other => "other",
            Self::WrongNumber => "wrong_number",
            Self::WrongCode => "wrong_code",
            Self::Client => "client",
            Self::DeviceRevoked => "device_revoked",
            Self::DeviceSuspended => "device_suspended",
            Self::Reported => "reported",
            Self::UserErased => "user_erased",
            Self::TenantDisabled => "tenant_disabled",
            Self::DatabaseRestored => "database_restored",
        }
    }
}

impl FromStr for ChallengeReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ChallengeReason {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// What is remarkable about a decision (protocol 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ChallengeFlag {
    /// The approve came faster than a person reads: within 400 ms of the device's first fetch.
    FastApproval,
}

impl Word for ChallengeFlag {
    const ALL: &'static [Self] = &[Self::FastApproval];

    fn as_str(self) -> &'static str {
        match self {
            Self::FastApproval => "fast_approval",
        }
    }
}

impl FromStr for ChallengeFlag {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ChallengeFlag {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How a person proves to look at the sign-in that is approved (protocol 6.1, 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum VerificationMode {
    /// The person types the number into the device.
    Enter,
    /// The person picks the number out of three on the device.
    Choose,
    /// The device shows a code that the person types at the caller.
    Display,
    /// A plain yes or no.
    None,
}

impl Word for VerificationMode {
    const ALL: &'static [Self] = &[Self::Enter, Self::Choose, Self::Display, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Choose => "choose",
            Self::Display => "display",
            Self::None => "none",
        }
    }
}

impl FromStr for VerificationMode {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for VerificationMode {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Whether the key behind biometric or PIN has to sign (protocol 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum UserVerification {
    /// An approve must be signed by the uv key.
    Required,
    /// The uv key is used where there is one.
    Preferred,
    /// The device key is enough.
    Discouraged,
}

impl Word for UserVerification {
    const ALL: &'static [Self] = &[Self::Required, Self::Preferred, Self::Discouraged];

    fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Preferred => "preferred",
            Self::Discouraged => "discouraged",
        }
    }
}

impl FromStr for UserVerification {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for UserVerification {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How the platform verified the user before it released the uv key (protocol 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum UvMethod {
    /// A PIN or passcode.
    Pin,
    /// A fingerprint.
    Fpt,
    /// A face.
    Face,
    /// Something else.
    Other,
}

impl Word for UvMethod {
    const ALL: &'static [Self] = &[Self::Pin, Self::Fpt, Self::Face, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Fpt => "fpt",
            Self::Face => "face",
            Self::Other => "other",
        }
    }
}

impl FromStr for UvMethod {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for UvMethod {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
