//! What an organisation's policy is made of.
//!
//! To add a word, see the parent module.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnknownWord, Word, find};

/// A set of requirements that a policy can be bound to as a whole (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Profile {
    /// The out-of-band section of NIST SP 800-63B-4.
    #[serde(rename = "nist-800-63b-4")]
    Nist80063b4,
}

impl Word for Profile {
    const ALL: &'static [Self] = &[Self::Nist80063b4];

    fn as_str(self) -> &'static str {
        match self {
            Self::Nist80063b4 => "nist-800-63b-4",
        }
    }
}

impl FromStr for Profile {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for Profile {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Who has to agree to one more device of a user (protocol 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum EnrollmentApproval {
    /// The API client alone decides.
    None,
    /// A user who has an active device approves it there.
    ExistingDevice,
}

impl Word for EnrollmentApproval {
    const ALL: &'static [Self] = &[Self::None, Self::ExistingDevice];

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ExistingDevice => "existing_device",
        }
    }
}

impl FromStr for EnrollmentApproval {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for EnrollmentApproval {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How API clients have to prove who they are (protocol 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ClientAuthentication {
    /// By an API key or by a signature.
    ApiKey,
    /// By a signature of a registered key only.
    ClientProof,
}

impl Word for ClientAuthentication {
    const ALL: &'static [Self] = &[Self::ApiKey, Self::ClientProof];

    fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::ClientProof => "client_proof",
        }
    }
}

impl FromStr for ClientAuthentication {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ClientAuthentication {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// How risky the caller finds a sign-in (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum RiskLevel {
    /// Nothing unusual.
    Low,
    /// Something is unusual.
    Medium,
    /// Probably an attack.
    High,
}

impl Word for RiskLevel {
    const ALL: &'static [Self] = &[Self::Low, Self::Medium, Self::High];

    fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl FromStr for RiskLevel {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for RiskLevel {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// What a risk leads to, from the mildest to the strictest (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum RiskAction {
    /// The devices are rung as usual.
    Push,
    /// The devices are rung, and the number has eight digits.
    LongerNumber,
    /// Nobody is rung: the person opens the app.
    PullOnly,
    /// No challenge is made.
    Refuse,
}

impl Word for RiskAction {
    const ALL: &'static [Self] = &[Self::Push, Self::LongerNumber, Self::PullOnly, Self::Refuse];

    fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::LongerNumber => "longer_number",
            Self::PullOnly => "pull_only",
            Self::Refuse => "refuse",
        }
    }
}

impl FromStr for RiskAction {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for RiskAction {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// What becomes of an approve that comes faster than a person reads (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum FastApproval {
    /// Nothing.
    Allow,
    /// It counts, and is flagged.
    Flag,
    /// It is refused; the challenge stays pending.
    Refuse,
}

impl Word for FastApproval {
    const ALL: &'static [Self] = &[Self::Allow, Self::Flag, Self::Refuse];

    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Refuse => "refuse",
        }
    }
}

impl FromStr for FastApproval {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for FastApproval {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// What a report of fraud does to the user (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ReportAction {
    /// The report is shown on the user until an administrator clears it.
    Flag,
    /// And the user is locked until then.
    Lock,
}

impl Word for ReportAction {
    const ALL: &'static [Self] = &[Self::Flag, Self::Lock];

    fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Lock => "lock",
        }
    }
}

impl FromStr for ReportAction {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for ReportAction {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}

/// Which rule decided about a member of a challenge's policy (protocol 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum PolicySource {
    /// The tenant's policy.
    Tenant,
    /// The application's overrides.
    Application,
    /// The profile.
    Profile,
    /// The caller's request.
    Request,
    /// What the policy says to the request's risk.
    Risk,
}

impl Word for PolicySource {
    const ALL: &'static [Self] = &[Self::Tenant, Self::Application, Self::Profile, Self::Request, Self::Risk];

    fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Application => "application",
            Self::Profile => "profile",
            Self::Request => "request",
            Self::Risk => "risk",
        }
    }
}

impl FromStr for PolicySource {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        find(text)
    }
}

impl TryFrom<String> for PolicySource {
    type Error = UnknownWord;

    fn try_from(text: String) -> Result<Self, UnknownWord> {
        find(&text)
    }
}
