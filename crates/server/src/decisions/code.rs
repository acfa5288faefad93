//! Mode `display` (protocol 6.8): what a typed code is worth, and what proves that one was typed.
//!
//! The database holds the code for as long as a phone may have to ask for it again, but decides nothing: a code is
//! right if our seal says so, and an approval is one if our seal says that the code was typed, then. Whoever rewrites
//! a row brings about an alarm.

use countersign_core::{challenge::ChallengeRecord, digest::Digest, limits, ports::challenges::TypedCode};
use countersign_proto::{
    ids::DeviceId,
    jose::claims::{ChallengeClaims, ResponseClaims},
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, Decision, VerificationMode},
};

use super::{Decisions, Disbelief, disbelieve};
use crate::{http::problem::ApiError, signing::Sealed};

/// The code that a device shows, and what somebody typed.
pub struct AwaitedCode {
    /// The device.
    pub device_id: DeviceId,
    /// The response that asked for the code, verbatim.
    pub response: String,
    /// The code's seal.
    pub seal: String,
    /// What was typed.
    pub typed: TypedCode,
}

impl Decisions {
    /// What a code that was typed at `now` is worth, where a device shows one: all that makes the approval is verified
    /// before it is judged. `None`: no device shows a code.
    ///
    /// # Errors
    /// 500 and an alarm if the row does not verify.
    pub fn judge_code(
        &self,
        record: &ChallengeRecord,
        typed: &str,
        now: Timestamp,
    ) -> Result<Option<AwaitedCode>, ApiError> {
        if !record.is_awaiting_code() {
            return Ok(None);
        }
        let believed = self.signed_text(&record.facts)?;
        self.judge_awaited(record, &believed.signed, typed, now).map(Some).map_err(|why| disbelieve(&record.facts, why))
    }

    fn judge_awaited(
        &self,
        record: &ChallengeRecord,
        signed: &ChallengeClaims,
        typed: &str,
        now: Timestamp,
    ) -> Result<AwaitedCode, Disbelief> {
        let (evidence, verified) = self.verify_evidence(record)?;
        let (Some(code), Some(device)) = (&record.code, &record.device) else { return Err("code_missing") };
        let asks_for_code = signed.verification.mode == VerificationMode::Display
            && verified.response.decision == Decision::Approve
            && verified.response.number.is_none();
        if !asks_for_code {
            return Err("evidence_decision");
        }
        let (challenge_id, response) = (record.facts.id, Digest::of(&evidence.response));
        let seals = self.keys.seals();
        let is_sealed = |code: &str, seal: &str| seals.holds(seal, &Sealed::Code { challenge_id, response, code });
        if !code.code.as_deref().is_some_and(|shown| is_sealed(shown, &code.seal)) {
            return Err("code_seal");
        }
        let typed = if is_sealed(typed, &code.seal) {
            let decided_at = now.floor_to_second();
            let entered_seal = seals.seal(&Sealed::CodeEntered { challenge_id, response, decided_at });
            TypedCode::Right { entered_seal }
        } else {
            TypedCode::Wrong
        };
        let (response, seal) = (evidence.response.clone(), code.seal.clone());
        Ok(AwaitedCode { device_id: device.id, response, seal, typed })
    }

    /// Whether `typed` is the code with which this challenge was approved: its caller may not have heard the reply.
    pub fn was_approved_with(&self, record: &ChallengeRecord, typed: &str) -> bool {
        let (Some(evidence), Some(code)) = (&record.evidence, &record.code) else { return false };
        let (challenge_id, response) = (record.facts.id, Digest::of(&evidence.response));
        record.status == ChallengeStatus::Approved
            && self.keys.seals().holds(&code.seal, &Sealed::Code { challenge_id, response, code: typed })
    }

    /// Mode `display`: whether we have sealed that the code was typed, at the time of the decision.
    pub(super) fn was_code_entered(&self, record: &ChallengeRecord, response: &str) -> bool {
        let seal = record.code.as_ref().and_then(|code| code.entered_seal.as_deref());
        let (Some(seal), Some(decided_at)) = (seal, record.decided_at) else { return false };
        let (challenge_id, response) = (record.facts.id, Digest::of(response));
        self.keys.seals().holds(seal, &Sealed::CodeEntered { challenge_id, response, decided_at })
    }
}

/// Whether the row's time fits the response: a later one would make a spent decision look like a new one.
pub(super) fn is_its_time(record: &ChallengeRecord, signed: &ChallengeClaims, response: &ResponseClaims) -> bool {
    let Some(decided_at) = record.decided_at.map(Timestamp::as_seconds) else { return false };
    // In mode `display` an approve only asks for the code; that is typed later, while the challenge lives.
    if signed.verification.mode == VerificationMode::Display && response.decision == Decision::Approve {
        let from = response.iat.saturating_sub(limits::SKEW_SECONDS);
        return (from..=signed.exp).contains(&decided_at);
    }
    decided_at.abs_diff(response.iat) <= limits::SKEW_SECONDS.unsigned_abs()
}
