//! Challenges as callers create and read them (protocol 6).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        devices::DeviceSummary,
        users::{UserReference, UserSummary},
    },
    evidence::Evidence,
    ids::{ChallengeId, DeviceId},
    timestamp::Timestamp,
    vocabulary::{
        ChallengeFlag, ChallengeReason, ChallengeStatus, DeliveryState, PushChannel, PushStatus, RiskLevel,
        UserVerification, VerificationMode,
    },
};

pub use crate::jose::claims::{ChallengeContext, Detail};

/// `POST /v1/challenges` (protocol 6.1). Lengths are Unicode scalar values after NFC.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateChallenge {
    /// Who is asked.
    pub user: UserReference,
    /// What the person signs in to; 1–64 characters.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(example = "VPN")]
    pub application: Option<String>,
    /// `[a-z0-9_.:-]{1,64}`; default `sign_in`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(example = "sign_in")]
    pub action: Option<String>,
    /// At most 256 characters, shown on the phone.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where the request comes from.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub context: Option<ChallengeContext>,
    /// At most 20 labelled values, for example of a payment.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Detail>>,
    /// At most 255 characters, echoed to the caller, never shown.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub client_reference: Option<String>,
    /// 10–600; default from policy (120).
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 10, maximum = 600)]
    pub ttl_seconds: Option<i64>,
    /// Only these devices of the user; default all that may answer.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub device_ids: Option<Vec<String>>,
    /// Whether to ring the devices; default true. Devices can always pull.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub push: Option<bool>,
    /// How the person proves to sit before the screen that asked.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub verification: Option<RequestedVerification>,
    /// Whether the phone must check a PIN or biometric.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub user_verification: Option<UserVerification>,
    /// What the caller thinks of the sign-in; the policy says what follows (protocol 9).
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
}

/// What the caller thinks of a sign-in. Never shown to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// How risky.
    pub level: RiskLevel,
    /// Why, for people who read the record: at most 10, each 1–64 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// The verification that a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestedVerification {
    /// The mode.
    pub mode: VerificationMode,
    /// 2–8, for `enter` and `choose`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 8)]
    pub digits: Option<u8>,
}

/// The verification that a challenge asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// The mode.
    pub mode: VerificationMode,
    /// How many digits, where there is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
}

/// The policy that held when the challenge was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedPolicy {
    /// The version of the tenant's policy.
    pub version: u32,
    /// The profile, if one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// A challenge, as its caller sees it (protocol 6.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Challenge {
    /// Our id.
    pub id: ChallengeId,
    /// `pending`, then exactly one of the others, for ever.
    pub status: ChallengeStatus,
    /// Why it was denied or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ChallengeReason>,
    /// Who is asked.
    pub user: UserSummary,
    /// What the person signs in to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// What is approved.
    pub action: String,
    /// Shown on the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where the request comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ChallengeContext>,
    /// Labelled values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Detail>>,
    /// The caller's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_reference: Option<String>,
    /// How the person proves to sit before the screen that asked.
    pub verification: Verification,
    /// Whether the phone must check a PIN or biometric.
    pub user_verification: UserVerification,
    /// The policy that held at creation.
    pub policy: AppliedPolicy,
    /// What the caller thought of the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// Mode `display`: a device was shown the code, which the person now types where they sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaiting_code: Option<bool>,
    /// What is remarkable about the decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<ChallengeFlag>,
    /// How the pushes fare.
    pub push_status: PushStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// It is `expired` from then on.
    pub expires_at: Timestamp,
    /// When it ended by a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// The device that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceSummary>,
    /// RFC 8176 authentication methods of an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<String>>,
    /// `countersign-result+jwt`, to the creating client, once decided or otherwise ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_token: Option<String>,
    /// The addressed devices, with `include=deliveries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<Delivery>>,
    /// The signatures that prove the decision, with `include=evidence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// The reply to `POST /v1/challenges`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChallengeCreated {
    /// The challenge.
    #[serde(flatten)]
    pub challenge: Challenge,
    /// Digits to show to the person, for `enter` and `choose`; no other call returns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "042137")]
    pub number: Option<String>,
    /// The user is locked: approvals are refused until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

/// `POST /v1/challenges/{id}/code` (protocol 6.8): what the person typed where they sign in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnterCode {
    /// As many digits as the challenge's `verification.digits` says.
    #[schema(example = "042137")]
    pub code: String,
}

/// Leaves out the code.
impl std::fmt::Debug for EnterCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnterCode").finish_non_exhaustive()
    }
}

/// One addressed device of a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The device.
    pub device_id: DeviceId,
    /// Its channel when the challenge was made.
    pub channel: PushChannel,
    /// How the push fares.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Our code and the provider's status; never the provider's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the state last changed.
    pub updated_at: Timestamp,
    /// When the provider took the push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// When the device was first handed the challenge, by a pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<Timestamp>,
}
