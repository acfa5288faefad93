//! Judging a device's response (protocol 7.2). The comments' numbers are the protocol's.
//!
//! Steps 1–2 (JOSE, repeats) are the caller's; here are the steps that follow from facts which never change
//! ([`judge`]), and what the state that does change makes of them ([`first_obstacle`]). The happy path needs
//! only the former: the store's one conditional write (step 11) decides the rest.

use countersign_proto::{
    ids::{DeviceId, TenantId, UserId},
    jose::claims::{ChallengeClaims, ResponseClaims},
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, Decision, DenyReason, DeviceStatus, UserVerification, UvMethod, VerificationMode},
};

use crate::{
    challenge::{ChallengeFacts, status_at},
    device::KeyRole,
    digest::Digest,
    limits::{FAST_APPROVAL_MILLIS, SKEW_SECONDS},
};

/// Who signed, as its verified key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer {
    /// The device.
    pub device_id: DeviceId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// Its user.
    pub user_id: UserId,
    /// Which of its keys.
    pub role: KeyRole,
}

/// What a response comes to, if the state still allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The person approves.
    Approve {
        /// A right number was typed: the failure counter falls to 0. One picked out of three proves too little for that:
        /// whoever guesses would pick until the counter is at 0 again.
        with_number: bool,
    },
    /// The person approves in mode `display`: the device is shown a code, and the challenge stays pending until it
    /// is typed where the person signs in (6.8).
    ShowCode,
    /// The person denies.
    Deny(Option<DenyReason>),
    /// The person approves with a number that is not on the sign-in screen: denied for good, and counted.
    WrongNumber,
}

impl Verdict {
    /// Whether the response says approve, whatever it comes to. A lock stops these.
    pub const fn says_approve(self) -> bool {
        matches!(self, Self::Approve { .. } | Self::ShowCode | Self::WrongNumber)
    }
}

/// Why a response is refused by what never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Step 4.
    #[error("no such challenge for this device")]
    NotFound,
    /// Step 6.
    #[error("challenge_sha256 is not the digest of the signed challenge")]
    ChallengeMismatch,
    /// Step 7.
    #[error("the challenge asks for the user verification key")]
    UserVerificationRequired,
    /// Step 9: due and missing.
    #[error("number is missing")]
    NumberMissing,
    /// Step 9: not that many digits.
    #[error("number is malformed")]
    NumberMalformed,
    /// Step 9: given where none is due.
    #[error("number is not asked for")]
    NumberNotDue,
    /// A reason goes with a deny only.
    #[error("reason belongs to a deny")]
    ReasonNotDue,
    /// Beyond the numbered steps: faster than a person reads, where the policy refuses that.
    #[error("approved faster than a person reads")]
    ApprovedTooFast,
}

/// Steps 4, 6, 7, 9 and 10: all that follows from facts which never change.
///
/// `facts` are those of the challenge that the path names; `is_right_number` compares in constant time.
///
/// # Errors
/// The first [`Refusal`] in the protocol's order.
pub fn judge(
    facts: &ChallengeFacts,
    signed: &ChallengeClaims,
    signer: &Signer,
    response: &ResponseClaims,
    is_right_number: impl FnOnce(&str) -> bool,
) -> Result<Verdict, Refusal> {
    // 4. sub equals the path; the challenge is in the device's tenant, of its user, addressed to it.
    let device_id = signer.device_id.to_string();
    let is_addressed = signed.aud.contains(&device_id)
        && facts.tenant_id == signer.tenant_id
        && facts.user.id == signer.user_id
        && signed.tenant.id == signer.tenant_id.to_string()
        && signed.sub == signer.user_id.to_string();
    if response.sub != facts.id.to_string() || signed.jti != response.sub || !is_addressed {
        return Err(Refusal::NotFound);
    }
    // 6. What was signed is what was shown.
    if response.challenge_sha256 != Digest::of(&facts.jws).to_b64u() {
        return Err(Refusal::ChallengeMismatch);
    }
    if response.decision == Decision::Deny {
        // 9. A number has no place in a deny.
        return if response.number.is_some() { Err(Refusal::NumberNotDue) } else { Ok(Verdict::Deny(response.reason)) };
    }
    if response.reason.is_some() {
        return Err(Refusal::ReasonNotDue);
    }
    // 7. PIN or biometric, in a way that counts, where the challenge requires it. What was signed counts, not the row.
    if signed.user_verification == UserVerification::Required && !is_user_verified(signed, signer.role, response.uv) {
        return Err(Refusal::UserVerificationRequired);
    }
    judge_number(signed, response.number.as_deref(), is_right_number)
}

/// Whether a response was signed while the challenge lived, give or take the permitted skew: who verifies the
/// evidence later asks the same.
pub fn is_within_lifetime(signed: &ChallengeClaims, iat: i64) -> bool {
    let from = signed.iat.saturating_sub(SKEW_SECONDS);
    (from..=signed.exp.saturating_add(SKEW_SECONDS)).contains(&iat)
}

/// Whether the key was bound before the challenge's end: who verifies the evidence later asks the same. Only where a
/// clock was set back after the binding is there a challenge that ends before it.
pub fn is_bound_in_time(signed: &ChallengeClaims, bound_at: i64) -> bool {
    bound_at <= signed.exp
}

/// Steps 9 and 10.
fn judge_number(
    signed: &ChallengeClaims,
    number: Option<&str>,
    is_right_number: impl FnOnce(&str) -> bool,
) -> Result<Verdict, Refusal> {
    let mode = signed.verification.mode;
    let is_due = matches!(mode, VerificationMode::Enter | VerificationMode::Choose);
    match (is_due, number) {
        (false, None) if mode == VerificationMode::Display => Ok(Verdict::ShowCode),
        (false, None) => Ok(Verdict::Approve { with_number: false }),
        (false, Some(_)) => Err(Refusal::NumberNotDue),
        (true, None) => Err(Refusal::NumberMissing),
        (true, Some(number)) => {
            let length = signed.verification.digits.map(usize::from);
            if length != Some(number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Refusal::NumberMalformed);
            }
            // 10.
            let with_number = signed.verification.mode == VerificationMode::Enter;
            Ok(if is_right_number(number) { Verdict::Approve { with_number } } else { Verdict::WrongNumber })
        }
    }
}

/// The state that changes, as read for a response that was refused or whose write lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionState {
    /// The device now.
    pub device_status: DeviceStatus,
    /// Whether the signing key is still the device's current one, under the binding that was verified.
    pub key_is_current: bool,
    /// The challenge as stored.
    pub challenge_status: ChallengeStatus,
    /// The challenge's end.
    pub expires_at: Timestamp,
    /// The user's lock.
    pub locked_until: Option<Timestamp>,
}

/// What stands in a response's way, in the protocol's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Step 3.
    DeviceNotActive(DeviceStatus),
    /// Step 3: the key was replaced, or its binding is not the one that was verified.
    StaleKey,
    /// Step 5: the true and final state.
    Closed(ChallengeStatus),
    /// Steps 4 (second part), 6, 7, 9.
    Refused(Refusal),
    /// Step 8.
    Locked(Timestamp),
}

/// The first thing, in the protocol's order, that stands in the way of a response; `None` if nothing does.
///
/// `judged` is what [`judge`] said. A challenge that is not the device's own (step 4) hides everything after it.
pub fn first_obstacle(
    judged: Result<Verdict, Refusal>,
    says_approve: bool,
    state: &DecisionState,
    now: Timestamp,
) -> Option<Obstacle> {
    // 3.
    if state.device_status != DeviceStatus::Active {
        return Some(Obstacle::DeviceNotActive(state.device_status));
    }
    if !state.key_is_current {
        return Some(Obstacle::StaleKey);
    }
    // 4.
    if judged == Err(Refusal::NotFound) {
        return Some(Obstacle::Refused(Refusal::NotFound));
    }
    // 5.
    match status_at(state.challenge_status, state.expires_at, now) {
        ChallengeStatus::Pending => {}
        closed => return Some(Obstacle::Closed(closed)),
    }
    // 6 and 7 come before the lock (8), the number's form (9) after it.
    if let Err(refusal @ (Refusal::ChallengeMismatch | Refusal::UserVerificationRequired)) = judged {
        return Some(Obstacle::Refused(refusal));
    }
    // 8. Deny always works.
    match state.locked_until {
        Some(until) if says_approve && until > now => return Some(Obstacle::Locked(until)),
        _ => {}
    }
    judged.err().map(Obstacle::Refused)
}

/// Whether an approve at `now` came faster than a person reads: `since` is when the device was first handed the
/// challenge, or, where nobody saw that, when the challenge was made.
pub fn is_too_fast(since: Timestamp, now: Timestamp) -> bool {
    now < since.plus_millis(FAST_APPROVAL_MILLIS)
}

/// Whether the platform checked the person, in a way that the challenge accepts: only the uv key shows that, and a
/// response that does not say how means `other`.
pub fn is_user_verified(signed: &ChallengeClaims, role: KeyRole, uv: Option<UvMethod>) -> bool {
    role == KeyRole::UserVerification && signed.accepts_user_verification(uv)
}

/// The authentication methods of an approval (RFC 8176; protocol 6.4). Without `mfa` it shows possession only.
pub fn amr(signed: &ChallengeClaims, role: KeyRole, uv: Option<UvMethod>) -> Vec<String> {
    // `pop`: possession of a key that nobody attested to be in hardware; `mca`: another channel; `user`: presence.
    let mut methods = vec!["pop", "mca", "user"];
    if is_user_verified(signed, role, uv) {
        methods.push("mfa");
        match uv {
            Some(UvMethod::Pin) => methods.push("pin"),
            Some(UvMethod::Fpt) => methods.push("fpt"),
            Some(UvMethod::Face) => methods.push("face"),
            Some(UvMethod::Other) | None => {}
        }
    }
    methods.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
