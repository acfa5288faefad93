//! Challenges: checking a request, drawing the number, and what is true of a challenge at a time (protocol 6).
//!
//! A challenge has one terminal state, for ever. Its signed text never changes, so it may be cached; whether it
//! still waits for an answer is decided by the store's conditional write alone.

use countersign_proto::{
    api::challenges::{ChallengeContext, CreateChallenge, Detail, Risk},
    evidence::Evidence,
    ids::{ApiClientId, ChallengeId, DeviceId, TenantId},
    problem::FieldError,
    timestamp::Timestamp,
    vocabulary::{ChallengeFlag, ChallengeReason, ChallengeStatus, DeliveryState, PushChannel, VerificationMode},
};
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    entropy::{self, Entropy},
    policy::{EffectivePolicy, PolicyRequest},
    ports::{devices::DeviceName, users::UserName},
    text::Checker,
};

/// What is shown and what is echoed: a checked request. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeText {
    /// What the person signs in to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// What is approved.
    pub action: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where the request comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ChallengeContext>,
    /// Labelled values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Detail>>,
    /// The caller's own reference; never shown to a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_reference: Option<String>,
    /// What the caller thinks of it; never shown to a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
}

impl ChallengeText {
    /// Only what is approved: everything that a caller may leave out is left out.
    pub fn of_action(action: &str) -> Self {
        Self {
            application: None,
            action: action.to_owned(),
            message: None,
            context: None,
            details: None,
            client_reference: None,
            risk: None,
        }
    }
}

/// A checked request for a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeRequest {
    /// NFC.
    pub external_id: String,
    /// What is shown and echoed.
    pub text: ChallengeText,
    /// What is asked of the policy.
    pub policy: PolicyRequest,
    /// Only these devices; malformed ids are already refused.
    pub device_ids: Option<Vec<DeviceId>>,
    /// Whether to ring.
    pub push: bool,
}

/// Checks a request for a challenge (protocol 6.1).
///
/// # Errors
/// The members at fault.
pub fn check(request: CreateChallenge) -> Result<ChallengeRequest, Vec<FieldError>> {
    let mut checker = Checker::default();
    let external_id = checker.external_id("/user/external_id", &request.user.external_id);
    let action = request.action.unwrap_or_else(|| "sign_in".to_owned());
    let is_action = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte);
    if !(1..=64).contains(&action.len()) || !action.bytes().all(is_action) {
        checker.refuse("/action", "must be 1 to 64 of a-z, 0-9, `_`, `.`, `:` and `-`");
    }
    let text = ChallengeText {
        application: checker.optional_text("/application", request.application.as_deref(), 1, 64),
        action,
        message: checker.optional_text("/message", request.message.as_deref(), 1, 256),
        context: request.context.map(|context| check_context(&mut checker, &context)),
        details: request.details.map(|details| check_details(&mut checker, &details)),
        client_reference: checker.optional_text("/client_reference", request.client_reference.as_deref(), 1, 255),
        risk: request.risk.map(|risk| check_risk(&mut checker, &risk)),
    };
    let device_ids = request.device_ids.map(|ids| check_device_ids(&mut checker, &ids));
    checker.finish()?;
    let policy = PolicyRequest {
        application: text.application.clone(),
        risk: text.risk.clone(),
        verification: request.verification,
        user_verification: request.user_verification,
        ttl_seconds: request.ttl_seconds,
    };
    Ok(ChallengeRequest { external_id, text, policy, device_ids, push: request.push.unwrap_or(true) })
}

fn check_context(checker: &mut Checker, context: &ChallengeContext) -> ChallengeContext {
    let mut member = |name: &str, value: &Option<String>| {
        checker.optional_text(&format!("/context/{name}"), value.as_deref(), 1, 256)
    };
    ChallengeContext {
        ip: member("ip", &context.ip),
        user_agent: member("user_agent", &context.user_agent),
        location: member("location", &context.location),
        device: member("device", &context.device),
    }
}

fn check_details(checker: &mut Checker, details: &[Detail]) -> Vec<Detail> {
    if details.len() > 20 {
        checker.refuse("/details", "must have at most 20 entries");
    }
    let checked = details.iter().take(20).enumerate().map(|(index, detail)| Detail {
        label: checker.text(&format!("/details/{index}/label"), &detail.label, 1, 64),
        value: checker.text(&format!("/details/{index}/value"), &detail.value, 1, 256),
    });
    checked.collect()
}

fn check_risk(checker: &mut Checker, risk: &Risk) -> Risk {
    if risk.reasons.len() > 10 {
        checker.refuse("/risk/reasons", "must have at most 10 entries");
    }
    let reasons = risk.reasons.iter().take(10).enumerate();
    let reasons = reasons.map(|(index, reason)| checker.text(&format!("/risk/reasons/{index}"), reason, 1, 64));
    Risk { level: risk.level, reasons: reasons.collect() }
}

fn check_device_ids(checker: &mut Checker, ids: &[String]) -> Vec<DeviceId> {
    if ids.is_empty() || ids.len() > 100 {
        checker.refuse("/device_ids", "must name 1 to 100 devices");
    }
    let mut known = Vec::new();
    for (index, id) in ids.iter().take(100).enumerate() {
        match id.parse() {
            Ok(id) if known.contains(&id) => checker.refuse(format!("/device_ids/{index}"), "is named twice"),
            Ok(id) => known.push(id),
            // The same words as for an unknown id: nobody learns which ids are well-formed.
            Err(_) => checker.refuse(format!("/device_ids/{index}"), NOT_A_DEVICE),
        }
    }
    known
}

/// What is said of a device id that names no active device of the user.
pub const NOT_A_DEVICE: &str = "is not an active device of this user";

/// The number that the caller shows, and what the devices may choose from.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DrawnNumber {
    /// For `enter` and `choose`.
    pub number: Option<String>,
    /// For `choose`: three distinct strings in random order.
    pub choices: Option<Vec<String>>,
}

/// Draws the number of a challenge (protocol 6.1): uniform, leading zeros kept.
pub fn draw_number(policy: &EffectivePolicy, entropy: &dyn Entropy) -> DrawnNumber {
    let Some(count) = policy.digits else { return DrawnNumber::default() };
    let number = entropy::digits(count, entropy);
    match policy.mode {
        VerificationMode::Choose => {}
        // The code is drawn when a device is shown it.
        VerificationMode::Display | VerificationMode::None => return DrawnNumber::default(),
        VerificationMode::Enter => return DrawnNumber { number: Some(number), choices: None },
    }
    let mut choices = vec![number.clone()];
    while choices.len() < 3 {
        let other = entropy::digits(count, entropy);
        if !choices.contains(&other) {
            choices.push(other);
        }
    }
    entropy::shuffle(&mut choices, entropy);
    DrawnNumber { number: Some(number), choices: Some(choices) }
}

/// What never changes about a challenge: may be cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeFacts {
    /// Our id.
    pub id: ChallengeId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// The client that created it.
    pub client_id: ApiClientId,
    /// Who is asked.
    pub user: UserName,
    /// What is shown and echoed.
    pub text: ChallengeText,
    /// The policy that holds.
    pub policy: EffectivePolicy,
    /// `countersign-challenge+jwt`.
    pub jws: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A challenge, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeRecord {
    /// What never changes.
    pub facts: ChallengeFacts,
    /// As stored. Use [`Self::status_at`] for what is true at a time.
    pub status: ChallengeStatus,
    /// Why it was denied or cancelled.
    pub reason: Option<ChallengeReason>,
    /// When it ended.
    pub decided_at: Option<Timestamp>,
    /// The device that decided.
    pub device: Option<DeviceName>,
    /// What proves the decision; to be verified before it is believed. Of one that awaits its code: what will.
    pub evidence: Option<Evidence>,
    /// What is remarkable about the decision.
    pub flags: Vec<ChallengeFlag>,
    /// Mode `display`: the code, once a device was shown it.
    pub code: Option<CodeRecord>,
    /// How the pushes fare, in no order: one per addressed device.
    pub delivery_states: Vec<DeliveryState>,
    /// Since when it is blank, because its user was erased: nothing of it is to be shown.
    pub erased_at: Option<Timestamp>,
}

/// The code of a challenge in mode `display` (protocol 6.8), as the database has it.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeRecord {
    /// The code; gone when the challenge ends.
    pub code: Option<String>,
    /// The server's MAC over it and the response that it was shown for.
    pub seal: String,
    /// The server's MAC that it was typed in; only of an approval.
    pub entered_seal: Option<String>,
}

/// Leaves out the code.
impl std::fmt::Debug for CodeRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeRecord").field("is_entered", &self.entered_seal.is_some()).finish_non_exhaustive()
    }
}

impl ChallengeRecord {
    /// Whether a device was shown the code, which nobody has typed yet.
    pub fn is_awaiting_code(&self) -> bool {
        self.status == ChallengeStatus::Pending && self.code.is_some()
    }

    /// The status at `now`: from `expires_at` on it is `expired`, swept or not.
    pub fn status_at(&self, now: Timestamp) -> ChallengeStatus {
        status_at(self.status, self.facts.expires_at, now)
    }
}

/// The status at `now` of a challenge that is stored as `status`.
pub fn status_at(status: ChallengeStatus, expires_at: Timestamp, now: Timestamp) -> ChallengeStatus {
    match status {
        ChallengeStatus::Pending if now >= expires_at => ChallengeStatus::Expired,
        status => status,
    }
}

/// One addressed device of a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The device.
    pub device_id: DeviceId,
    /// Its channel when the challenge was made.
    pub channel: PushChannel,
    /// How the push fares.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Our code and the provider's status.
    pub last_error: Option<String>,
    /// When the state last changed.
    pub updated_at: Timestamp,
    /// When the provider took the push.
    pub accepted_at: Option<Timestamp>,
    /// When the device was first handed the challenge.
    pub fetched_at: Option<Timestamp>,
}

/// `client_reference_sha256` of a challenge: ties the signed text to the caller's own session without showing it.
pub fn client_reference_digest(reference: &str) -> String {
    Digest::of(reference).to_b64u()
}

#[cfg(test)]
mod tests;
