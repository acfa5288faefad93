//! Whether a decision's event says what its evidence proves.

use serde_json::Value;

use crate::{
    api::events::Event,
    evidence::{Evidence, VerifiedEvidence},
    jose,
    vocabulary::{ChallengeReason, Decision, DenyReason, VerificationMode, Word as _},
};

/// How far clocks may be off, in seconds.
const SKEW_SECONDS: i64 = 60;

/// What an event and its evidence disagree about: a word.
pub type Disagreement = &'static str;

/// The kinds of events that end a challenge.
pub(super) const ENDS: [&str; 4] =
    ["challenge.approved", "challenge.denied", "challenge.expired", "challenge.cancelled"];

/// Whether a device decided.
pub(super) fn is_decision(event: &Event) -> bool {
    matches!(event.kind.as_str(), "challenge.approved" | "challenge.denied")
}

/// Compares an event with evidence that holds by itself. The issuer is not compared: it may have moved, and whose keys
/// signed is what counts.
///
/// # Errors
/// What they disagree about.
pub fn compare(
    event: &Event,
    evidence: &Evidence,
    proven: &VerifiedEvidence,
    tenant: &str,
) -> Result<(), Disagreement> {
    let VerifiedEvidence { challenge, response, binding, .. } = proven;
    let require = |holds: bool, otherwise: Disagreement| if holds { Ok(()) } else { Err(otherwise) };
    let is = |id: Option<String>, claim: &str| id.as_deref() == Some(claim);
    require(challenge.tenant.id == tenant, "tenant")?;
    require(is(event.challenge_id.map(|id| id.to_string()), &challenge.jti), "challenge")?;
    require(is(event.user_id.map(|id| id.to_string()), &challenge.sub), "user")?;
    require(is(event.device_id.map(|id| id.to_string()), &binding.aud), "device")?;
    require(word(event, "response_sha256") == Some(&jose::sha256(&evidence.response)), "response")?;
    // In mode `display` the code is typed after the response, while the challenge lives.
    let at = event.created_at.as_seconds();
    let until = match challenge.verification.mode {
        VerificationMode::Display => challenge.exp,
        _ => response.iat,
    };
    let is_its_time = (response.iat.saturating_sub(SKEW_SECONDS)..=until.saturating_add(SKEW_SECONDS)).contains(&at);
    require(is_its_time, "time")?;
    require(says_what_was_decided(event, proven), "decision")
}

fn says_what_was_decided(event: &Event, proven: &VerifiedEvidence) -> bool {
    let VerifiedEvidence { challenge, response, .. } = proven;
    let mode = challenge.verification.mode;
    let reason = word(event, "reason");
    let approves = response.decision == Decision::Approve;
    let takes_number = matches!(mode, VerificationMode::Enter | VerificationMode::Choose);
    if event.kind == "challenge.approved" {
        // The server alone can tell that the number was right; the event says that it did.
        let says_right = word(event, "number") == Some("right");
        let number = match mode {
            VerificationMode::Enter => says_right && response.number.is_some(),
            VerificationMode::Choose => response.number.is_some(),
            _ => response.number.is_none(),
        };
        let code = mode != VerificationMode::Display || word(event, "code") == Some("right");
        return approves && number && code && reason.is_none();
    }
    let is_reason = |wanted: ChallengeReason| reason == Some(wanted.as_str());
    if is_reason(ChallengeReason::WrongNumber) {
        return approves && takes_number && word(event, "number") == Some("wrong");
    }
    if is_reason(ChallengeReason::WrongCode) {
        return approves && mode == VerificationMode::Display;
    }
    !approves && reason == response.reason.map(DenyReason::as_str)
}

/// A word of the event's data.
pub(super) fn word<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    event.data.get(name).and_then(Value::as_str)
}
