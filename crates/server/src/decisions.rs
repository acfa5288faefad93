//! From a row to what a caller sees: nothing is believed that a signature does not carry.
//!
//! An `approved` is only ever shown or signed from a response that this process has verified against challenge
//! and binding (protocol 6.4). A row that does not verify is a 500 and an alarm, never an approval: who rewrites
//! the database can make us fail, not lie.

mod code;

use std::{sync::Arc, time::Duration};

use countersign_core::{
    challenge::{ChallengeFacts, ChallengeRecord, client_reference_digest},
    device::KeyRole,
    limits, push,
    verify::amr,
};
use countersign_proto::{
    api::{
        challenges::{AppliedPolicy, Challenge, Verification},
        devices::DeviceSummary,
        users::UserSummary,
    },
    evidence::{self, Evidence, SignedBy, VerifiedEvidence},
    ids::{ChallengeId, UserId},
    jose::claims::{ChallengeClaims, ResultClaims, ResultVerification},
    timestamp::Timestamp,
    vocabulary::{
        ChallengeReason, ChallengeStatus, Decision, DenyReason, Profile, PushStatus, VerificationMode, Word as _,
    },
};

use moka::{policy::EvictionPolicy, sync::Cache};

pub use self::code::AwaitedCode;
use self::code::is_its_time;
use crate::{alarm, http::problem::ApiError, signing::ServerKeys};

/// Bytes of challenges remembered at most, some thousands of the usual size: for the seconds until they are answered.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// Longer than a challenge lives and its result is told.
const REMEMBERED: Duration = Duration::from_secs(1_200);

/// Turns records into what callers see.
pub struct Decisions {
    keys: Arc<ServerKeys>,
    believed: Cache<ChallengeId, Arc<Believed>>,
}

/// A challenge whose text this process has signed or verified, and found to be what the row says. Neither ever
/// changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Believed {
    /// The row.
    pub facts: ChallengeFacts,
    /// The text.
    pub signed: ChallengeClaims,
}

/// Why a row is not believed: a word for the alarm.
type Disbelief = &'static str;

/// A decision that is proven.
struct Proven {
    device_id: String,
    amr: Option<Vec<String>>,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// The client that created it: gets the result token.
    Creator,
    /// An auditor.
    Auditor,
}

impl Decisions {
    /// Over our own keys.
    pub fn new(keys: Arc<ServerKeys>) -> Self {
        // The text thrice: as signed, as claims, and as the row says. The newest stay, not the most wanted.
        let weigh = |_: &ChallengeId, believed: &Arc<Believed>| {
            u32::try_from(believed.facts.jws.len()).unwrap_or(u32::MAX).saturating_mul(3)
        };
        let believed = Cache::builder().weigher(weigh).max_capacity(CAPACITY_BYTES);
        let believed = believed.eviction_policy(EvictionPolicy::lru()).time_to_live(REMEMBERED).build();
        Self { keys, believed }
    }

    /// Forgets what was verified: the server's own keys have changed.
    pub fn forget_all(&self) {
        self.believed.invalidate_all();
    }

    /// Remembers a challenge that this process has just signed and written.
    pub fn remember(&self, made: Believed) {
        self.believed.insert(made.facts.id, Arc::new(made));
    }

    /// Forgets all challenges of a person who was erased.
    pub fn forget_user(&self, id: UserId) {
        let of_user = self.believed.iter().filter(|(_, believed)| believed.facts.user.id == id);
        of_user.for_each(|(challenge_id, _)| self.believed.invalidate(challenge_id.as_ref()));
    }

    /// A challenge that this process has met before. It may have ended since: whoever decides it lets the conditional
    /// write say whether it is pending.
    pub fn known(&self, id: ChallengeId) -> Option<Arc<Believed>> {
        self.believed.get(&id)
    }

    /// What we signed, if it is what the row says.
    ///
    /// # Errors
    /// 500 and an alarm.
    pub fn signed_text(&self, facts: &ChallengeFacts) -> Result<Arc<Believed>, ApiError> {
        if let Some(known) = self.known(facts.id).filter(|known| known.facts == *facts) {
            return Ok(known);
        }
        let signed = self.believe_text(facts).map_err(|why| disbelieve(facts, why))?;
        let believed = Arc::new(Believed { facts: facts.clone(), signed });
        self.believed.insert(facts.id, Arc::clone(&believed));
        Ok(believed)
    }

    /// The challenge as `viewer` sees it at `now`, without deliveries; with evidence if `with_evidence`.
    ///
    /// # Errors
    /// 500 and an alarm if the row does not verify.
    pub fn show(
        &self,
        record: &ChallengeRecord,
        viewer: Viewer,
        with_evidence: bool,
        now: Timestamp,
    ) -> Result<Challenge, ApiError> {
        let facts = &record.facts;
        let believed = self.signed_text(facts)?;
        let signed = &believed.signed;
        // As stored: whoever reads a challenge past its end has ended it before (`http::challenges`).
        let status = record.status;
        let proven = self.prove(record, status, signed).map_err(|why| disbelieve(facts, why))?;
        let reason = if status == ChallengeStatus::Expired { None } else { record.reason };
        let decided_at = ended_at(record, status);
        let push_status = push::status(record.delivery_states.iter().map(|state| (*state, false)));
        let mut shown = Challenge { status, reason, decided_at, ..describe(facts, push_status) };
        shown.awaiting_code = record.is_awaiting_code().then_some(true);
        if let Some(proven) = proven {
            shown.device =
                record.device.as_ref().filter(|device| device.id.to_string() == proven.device_id).map(|device| {
                    DeviceSummary { id: device.id, name: device.name.clone(), platform: device.platform }
                });
            shown.amr = proven.amr.clone();
            shown.flags = record.flags.clone();
            shown.evidence = if with_evidence { record.evidence.clone() } else { None };
            shown.result_token = self.result_token(signed, &shown, facts, Some(proven), viewer, now)?;
        } else if status != ChallengeStatus::Pending {
            shown.result_token = self.result_token(signed, &shown, facts, None, viewer, now)?;
        }
        Ok(shown)
    }

    /// What proves the device's decision, if it holds by itself and against the row.
    pub fn proof<'r>(&self, record: &'r ChallengeRecord) -> Option<(&'r Evidence, VerifiedEvidence)> {
        self.verify_evidence(record).ok()
    }

    fn believe_text(&self, facts: &ChallengeFacts) -> Result<ChallengeClaims, Disbelief> {
        let signed: ChallengeClaims = self.keys.verify(&facts.jws).map_err(|_| "challenge_signature")?;
        let ids = self.keys.is_issuer(&signed.iss)
            && signed.jti == facts.id.to_string()
            && signed.sub == facts.user.id.to_string()
            && signed.tenant.id == facts.tenant_id.to_string()
            && signed.azp == facts.client_id.to_string()
            && signed.user.external_id == facts.user.external_id;
        let times = signed.iat == facts.created_at.as_seconds() && signed.exp == facts.expires_at.as_seconds();
        let text = signed.application == facts.text.application
            && signed.action == facts.text.action
            && signed.message == facts.text.message
            && signed.context == facts.text.context
            && signed.details == facts.text.details
            && signed.client_reference_sha256 == facts.text.client_reference.as_deref().map(client_reference_digest);
        let policy = signed.verification.mode == facts.policy.mode
            && signed.verification.digits == facts.policy.digits
            && signed.user_verification == facts.policy.user_verification
            && signed.policy_version == facts.policy.version
            && signed.user_verification_methods.as_deref().unwrap_or_default()
                == facts.policy.user_verification_methods
            && signed.profile.as_deref() == facts.policy.profile.map(Profile::as_str);
        if ids && times && text && policy { Ok(signed) } else { Err("challenge_row") }
    }

    /// What a device decided, proven; `None` where no device decided.
    fn prove(
        &self,
        record: &ChallengeRecord,
        status: ChallengeStatus,
        signed: &ChallengeClaims,
    ) -> Result<Option<Proven>, Disbelief> {
        if !matches!(status, ChallengeStatus::Approved | ChallengeStatus::Denied) {
            return Ok(None);
        }
        let (evidence, verified) = self.verify_evidence(record)?;
        if !self.supports(&verified, signed, record, status) {
            return Err("evidence_decision");
        }
        if !is_its_time(record, signed, &verified.response) {
            return Err("evidence_time");
        }
        let is_completed = signed.verification.mode != VerificationMode::Display || status != ChallengeStatus::Approved;
        if !is_completed && !self.was_code_entered(record, &evidence.response) {
            return Err("code_not_entered");
        }
        let role = match verified.signed_by {
            SignedBy::DeviceKey => KeyRole::Device,
            SignedBy::UvKey => KeyRole::UserVerification,
        };
        let amr = (status == ChallengeStatus::Approved).then(|| amr(signed, role, verified.response.uv));
        Ok(Some(Proven { device_id: verified.binding.aud, amr }))
    }

    /// The evidence of the row, verified by itself and against the row's challenge and device.
    fn verify_evidence<'r>(&self, record: &'r ChallengeRecord) -> Result<(&'r Evidence, VerifiedEvidence), Disbelief> {
        let evidence = record.evidence.as_ref().ok_or("evidence_missing")?;
        if evidence.challenge != record.facts.jws {
            return Err("evidence_challenge");
        }
        let verified = evidence::verify_by(evidence, &|thumbprint| self.keys.find(thumbprint), self.keys.memory())
            .map_err(|_| "evidence_invalid")?;
        let stored_device = record.device.as_ref().map(|device| device.id.to_string());
        if stored_device.is_some_and(|id| id != verified.binding.aud) {
            return Err("evidence_device");
        }
        Ok((evidence, verified))
    }

    /// Whether the response says what the row says came of it.
    fn supports(
        &self,
        verified: &VerifiedEvidence,
        signed: &ChallengeClaims,
        record: &ChallengeRecord,
        status: ChallengeStatus,
    ) -> bool {
        let response = &verified.response;
        let number_is_due = matches!(signed.verification.mode, VerificationMode::Enter | VerificationMode::Choose);
        // The number is checked again against what we signed: a wrong one cannot be made right in the database.
        let number_is_right = response
            .number
            .as_deref()
            .is_some_and(|number| self.keys.is_right_number(signed.number_mac.as_deref(), record.facts.id, number));
        match status {
            ChallengeStatus::Approved => {
                response.decision == Decision::Approve
                    && (number_is_right || (!number_is_due && response.number.is_none()))
            }
            ChallengeStatus::Denied if record.reason == Some(ChallengeReason::WrongNumber) => {
                response.decision == Decision::Approve && number_is_due && !number_is_right
            }
            ChallengeStatus::Denied if record.reason == Some(ChallengeReason::WrongCode) => {
                response.decision == Decision::Approve && signed.verification.mode == VerificationMode::Display
            }
            ChallengeStatus::Denied => {
                response.decision == Decision::Deny
                    && record.reason.map(ChallengeReason::as_str) == response.reason.map(DenyReason::as_str)
            }
            ChallengeStatus::Pending | ChallengeStatus::Expired | ChallengeStatus::Cancelled => false,
        }
    }

    /// `countersign-result+jwt` for the creating client, until it expires. Made of what we signed, not of the row,
    /// but for `flags`, which no seal covers: they warn, and a missing one approves nothing.
    fn result_token(
        &self,
        signed: &ChallengeClaims,
        shown: &Challenge,
        facts: &ChallengeFacts,
        proven: Option<Proven>,
        viewer: Viewer,
        now: Timestamp,
    ) -> Result<Option<String>, ApiError> {
        let ended_at = shown.decided_at.unwrap_or(facts.expires_at);
        let exp = ended_at.plus_seconds(limits::RESULT_TOKEN_SECONDS);
        if viewer != Viewer::Creator || now >= exp {
            return Ok(None);
        }
        let (device_id, amr) = proven.map_or((None, None), |proven| (Some(proven.device_id), proven.amr));
        let claims = ResultClaims {
            iss: signed.iss.clone(),
            aud: signed.azp.clone(),
            sub: signed.sub.clone(),
            external_id: signed.user.external_id.clone(),
            jti: signed.jti.clone(),
            iat: ended_at.as_seconds(),
            exp: exp.as_seconds(),
            client_reference: facts.text.client_reference.clone(),
            application: signed.application.clone(),
            action: signed.action.clone(),
            status: shown.status,
            reason: shown.reason,
            verification: ResultVerification { mode: signed.verification.mode, digits: signed.verification.digits },
            policy_version: signed.policy_version,
            profile: signed.profile.clone(),
            amr,
            flags: Some(shown.flags.clone()).filter(|flags| !flags.is_empty()),
            device_id,
        };
        Ok(Some(self.keys.sign(&claims)?))
    }
}

/// When it ended: an expired challenge at its end, however late the sweeper came.
fn ended_at(record: &ChallengeRecord, status: ChallengeStatus) -> Option<Timestamp> {
    match status {
        ChallengeStatus::Pending => None,
        ChallengeStatus::Expired => Some(record.facts.expires_at),
        _ => record.decided_at,
    }
}

/// A pending challenge as its creator sees it.
pub fn describe(facts: &ChallengeFacts, push_status: PushStatus) -> Challenge {
    let ChallengeFacts { user, text, policy, .. } = facts;
    Challenge {
        id: facts.id,
        status: ChallengeStatus::Pending,
        reason: None,
        user: UserSummary {
            id: user.id,
            external_id: user.external_id.clone(),
            display_name: user.display_name.clone(),
        },
        application: text.application.clone(),
        action: text.action.clone(),
        message: text.message.clone(),
        context: text.context.clone(),
        details: text.details.clone(),
        client_reference: text.client_reference.clone(),
        verification: Verification { mode: policy.mode, digits: policy.digits },
        user_verification: policy.user_verification,
        policy: AppliedPolicy {
            version: policy.version,
            profile: policy.profile.map(|profile| profile.as_str().to_owned()),
        },
        risk: text.risk.clone(),
        awaiting_code: None,
        flags: Vec::new(),
        push_status,
        created_at: facts.created_at,
        expires_at: facts.expires_at,
        decided_at: None,
        device: None,
        amr: None,
        result_token: None,
        deliveries: None,
        evidence: None,
    }
}

fn disbelieve(facts: &ChallengeFacts, why: Disbelief) -> ApiError {
    alarm::raise(why, &facts.id.to_string());
    ApiError::internal(why)
}
