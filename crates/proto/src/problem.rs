//! Problem documents (RFC 9457) as clients read them, and the closed list of their types (protocol 11).
//!
//! Which error becomes which problem is decided in the server's `http/problem.rs`, nowhere else.
//! To add a type: a variant of [`ProblemType`] with its slug, title, status and explanation; the page
//! `/problems/<slug>`, OpenAPI and the documents' test follow from [`ProblemType::ALL`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A rule that one member of the request breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// RFC 6901 pointer into the request body, or the claim set of a signed artefact.
    #[schema(example = "/user/external_id")]
    pub pointer: String,
    /// What the rule asks for; safe to show.
    pub detail: String,
}

/// A problem document. Extension members are in `extensions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `{issuer}/problems/<slug>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The type's short name; never changes for a type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here; safe to show.
    pub detail: String,
    /// Also in `X-Request-Id` and in the server's log.
    pub request_id: String,
    /// The members at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Further members of the type.
    #[serde(flatten)]
    pub extensions: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// The last part of `type`, for example `not-found`.
    pub fn slug(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }
}

/// The closed list of problem types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant's meaning is its `explanation`, which is also its public page")]
pub enum ProblemType {
    MalformedRequest,
    InvalidRequest,
    Unauthenticated,
    InsufficientScope,
    ClientProofRequired,
    NotFound,
    Erased,
    MethodNotAllowed,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    QuotaExceeded,
    TenantDisabled,
    Internal,
    Unavailable,
    InvalidDeviceSignature,
    ClockSkew,
    DeviceNotActive,
    DeviceStatusConflict,
    DeviceNotReachable,
    ConfirmationStale,
    NoticeNotDisputable,
    EnrollmentNotFound,
    KeyAlreadyRegistered,
    TooManyDevices,
    PolicyVersionConflict,
    WrongCode,
    EnrollmentNotClaimed,
    EnrollmentClosed,
    ApprovalRequired,
    NoEligibleDevice,
    BelowPolicyFloor,
    ApplicationNotAllowed,
    ChallengeTooLarge,
    TooManyPending,
    IdempotencyKeyReused,
    RiskRefused,
    ChallengeGone,
    ChallengeClosed,
    ChallengeMismatch,
    NotAwaitingCode,
    AwaitingCode,
    UserVerificationRequired,
    ApprovedTooFast,
    UserLocked,
    NumberMismatch,
}

/// What is fixed about a problem type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemSpec {
    /// The last part of the `type` URI.
    pub slug: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The short name.
    pub title: &'static str,
    /// What it means and what the client can do about it, for the type's page.
    pub explanation: &'static str,
}

const fn spec(slug: &'static str, status: u16, title: &'static str, explanation: &'static str) -> ProblemSpec {
    ProblemSpec { slug, status, title, explanation }
}

impl ProblemType {
    /// Every type, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::MalformedRequest,
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::InsufficientScope,
        Self::ClientProofRequired,
        Self::NotFound,
        Self::Erased,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyRequests,
        Self::QuotaExceeded,
        Self::TenantDisabled,
        Self::Internal,
        Self::Unavailable,
        Self::InvalidDeviceSignature,
        Self::ClockSkew,
        Self::DeviceNotActive,
        Self::DeviceStatusConflict,
        Self::DeviceNotReachable,
        Self::ConfirmationStale,
        Self::NoticeNotDisputable,
        Self::EnrollmentNotFound,
        Self::KeyAlreadyRegistered,
        Self::TooManyDevices,
        Self::PolicyVersionConflict,
        Self::WrongCode,
        Self::EnrollmentNotClaimed,
        Self::EnrollmentClosed,
        Self::ApprovalRequired,
        Self::NoEligibleDevice,
        Self::BelowPolicyFloor,
        Self::ApplicationNotAllowed,
        Self::ChallengeTooLarge,
        Self::TooManyPending,
        Self::IdempotencyKeyReused,
        Self::RiskRefused,
        Self::ChallengeGone,
        Self::ChallengeClosed,
        Self::ChallengeMismatch,
        Self::NotAwaitingCode,
        Self::AwaitingCode,
        Self::UserVerificationRequired,
        Self::ApprovedTooFast,
        Self::UserLocked,
        Self::NumberMismatch,
    ];

    /// The type's slug, status, title and explanation.
    #[rustfmt::skip]
    pub const fn spec(self) -> ProblemSpec {
        match self {
            Self::MalformedRequest => spec("malformed-request", 400, "Malformed request", "The body is not UTF-8 JSON, or the request line or headers cannot be read."),
            Self::InvalidRequest => spec("invalid-request", 422, "Invalid request", "A member breaks a rule; `errors` names each by its JSON pointer. Unknown members and nulls are refused too. Nothing was changed."),
            Self::Unauthenticated => spec("unauthenticated", 401, "Unauthenticated", "No valid API key and no valid proof: missing, unknown, expired, revoked, or a signature that is not for this very request. Send `Authorization: Bearer csk_…`, or `ClientProof` with a fresh signature by a registered key."),
            Self::InsufficientScope => spec("insufficient-scope", 403, "Insufficient scope", "The API key is valid but does not hold the scope in `required_scope`."),
            Self::ClientProofRequired => spec("client-proof-required", 401, "Client proof required", "The organisation's policy takes signed requests only: `Authorization: ClientProof` with a registered key. API keys are refused."),
            Self::NotFound => spec("not-found", 404, "Not found", "There is no such thing for this caller. Another tenant's object, an unknown id and a malformed id all get this answer."),
            Self::Erased => spec("erased", 410, "Erased", "It was about a person who has been erased. What happened stays in the log, without a name."),
            Self::MethodNotAllowed => spec("method-not-allowed", 405, "Method not allowed", "The resource exists; `Allow` lists its methods."),
            Self::RequestTimeout => spec("request-timeout", 408, "Request timeout", "The request's body did not arrive in time."),
            Self::PayloadTooLarge => spec("payload-too-large", 413, "Payload too large", "Bodies are limited to 64 KiB, signed artefacts of a device to 8 KiB."),
            Self::UnsupportedMediaType => spec("unsupported-media-type", 415, "Unsupported media type", "JSON requests are `application/json`; device artefacts are `application/jwt`."),
            Self::TooManyRequests => spec("too-many-requests", 429, "Too many requests", "Wait for `Retry-After` seconds."),
            Self::QuotaExceeded => spec("quota-exceeded", 409, "Quota exceeded", "The organisation has as many of these as it may; `quota` names which, `limit` says how many. Nothing was created."),
            Self::TenantDisabled => spec("tenant-disabled", 403, "Tenant disabled", "The signature is good, but the organisation has been disabled: its devices neither answer nor change anything."),
            Self::Internal => spec("internal", 500, "Internal error", "The server failed. `request_id` finds the cause in its log. Never to be read as an approval."),
            Self::Unavailable => spec("unavailable", 503, "Unavailable", "The server cannot take the request now; nothing was acknowledged. Retry after `Retry-After` seconds, with the same `Idempotency-Key` if you sent one."),
            Self::InvalidDeviceSignature => spec("invalid-device-signature", 401, "Invalid device signature", "The signed artefact is not acceptable: form, type, key, signature, audience or a claim's type. The reason is in the server's log under the request id."),
            Self::ClockSkew => spec("clock-skew", 401, "Clock skew", "The signature is good but `iat` is too far from the server's time, which is in `server_time`. Correct the clock and sign again."),
            Self::DeviceNotActive => spec("device-not-active", 403, "Device not active", "The signature is good but the device may not do this; `device_status` says why."),
            Self::DeviceStatusConflict => spec("device-status-conflict", 409, "Device status conflict", "The device is not in a status from which this is possible; `device_status` says which it is in."),
            Self::DeviceNotReachable => spec("device-not-reachable", 409, "Device not reachable", "The device has no push channel, or its provider said that its token is gone. It pulls; it will be rung again once it has told us a new token."),
            Self::ConfirmationStale => spec("confirmation-stale", 409, "Confirmation stale", "The confirmation is not of a dry run of this very request within the last hour, or more devices match by now than it counted. Nothing was revoked by this call: do the dry run again."),
            Self::NoticeNotDisputable => spec("notice-not-disputable", 409, "Notice not disputable", "Nothing would be undone by disputing this notice: it is not about a newer registration of the same person. Tell your administrator instead."),
            Self::EnrollmentNotFound => spec("enrollment-not-found", 404, "Enrollment not found", "The ticket is unknown, used, expired or cancelled. Ask for a new one."),
            Self::KeyAlreadyRegistered => spec("key-already-registered", 409, "Key already registered", "Each registration needs fresh keys. The ticket is still unused."),
            Self::TooManyDevices => spec("too-many-devices", 409, "Too many devices", "The user has as many devices as the policy allows. The ticket is still unused: revoke a device and try again."),
            Self::PolicyVersionConflict => spec("policy-version-conflict", 412, "Policy version conflict", "The policy was changed since it was read: `policy_version` is the one in force. Read it, and change it again."),
            Self::WrongCode => spec("wrong-code", 422, "Wrong code", "The code is not the one on the device. `attempts_left` tries remain; the fifth wrong one ends the enrollment or denies the challenge."),
            Self::EnrollmentNotClaimed => spec("enrollment-not-claimed", 409, "Enrollment not claimed", "No device has used the ticket yet."),
            Self::EnrollmentClosed => spec("enrollment-closed", 409, "Enrollment closed", "The enrollment has ended; `enrollment_status` says how."),
            Self::ApprovalRequired => spec("approval-required", 403, "Approval required", "The organisation's policy lets a user who has a device enroll another one only with the approval of a device that the user has: `approval` is the id of an approved challenge of this user with the action `enroll_device`, at most five minutes old and not used before."),
            Self::NoEligibleDevice => spec("no-eligible-device", 422, "No eligible device", "The user has no device that may answer this challenge, or is unknown: one answer for both. Enroll a device."),
            Self::BelowPolicyFloor => spec("below-policy-floor", 422, "Below policy floor", "The organisation's policy asks for more than the request; it is never raised silently because the caller would not show the number."),
            Self::ApplicationNotAllowed => spec("application-not-allowed", 403, "Application not allowed", "This API client may not create challenges for that application."),
            Self::ChallengeTooLarge => spec("challenge-too-large", 422, "Challenge too large", "The signed challenge would exceed 16 KiB. Shorten the texts or address fewer devices."),
            Self::TooManyPending => spec("too-many-pending", 429, "Too many pending challenges", "Too many challenges of this user wait for an answer. Wait for `Retry-After` seconds or cancel some."),
            Self::IdempotencyKeyReused => spec("idempotency-key-reused", 422, "Idempotency key reused", "The same `Idempotency-Key` came with another body. Use a new key for a new request."),
            Self::RiskRefused => spec("risk-refused", 403, "Risk refused", "At this risk the organisation's policy allows no challenge. Nothing was created and nobody was rung."),
            Self::ChallengeGone => spec("challenge-gone", 410, "Challenge gone", "The challenge no longer waits for an answer; `challenge_status` says how it ended."),
            Self::ChallengeClosed => spec("challenge-closed", 409, "Challenge closed", "The challenge has ended; `challenge_status` is its true and final state."),
            Self::ChallengeMismatch => spec("challenge-mismatch", 422, "Challenge mismatch", "`challenge_sha256` is not the digest of the challenge that the server signed: the text that was shown was altered. The challenge stays pending."),
            Self::NotAwaitingCode => spec("not-awaiting-code", 409, "Not awaiting a code", "No device has been shown a code yet, or the challenge is not one in the mode `display`."),
            Self::AwaitingCode => spec("awaiting-code", 409, "Awaiting the code", "Another device was shown the code already. Type that one where you sign in, or deny."),
            Self::UserVerificationRequired => spec("user-verification-required", 403, "User verification required", "Approve with the key that the platform releases after a PIN or biometric. The challenge stays pending."),
            Self::ApprovedTooFast => spec("approved-too-fast", 403, "Approved too fast", "The approval came faster than a person reads, and the organisation's policy refuses it. The challenge stays pending: approve again."),
            Self::UserLocked => spec("user-locked", 423, "User locked", "Too many wrong numbers or codes, or a report of fraud. Approvals are refused for `Retry-After` seconds; denying always works."),
            Self::NumberMismatch => spec("number-mismatch", 403, "Number mismatch", "The number is not the one on the sign-in screen. The challenge is denied for good."),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ProblemType;

    #[test]
    fn every_problem_type_has_its_own_slug() {
        let slugs: HashSet<_> = ProblemType::ALL.iter().map(|kind| kind.spec().slug).collect();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
    }
}
