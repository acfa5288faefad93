//! `POST /v1/device/challenges/{id}/response` (protocol 7.2). The comments' numbers are the protocol's.
//!
//! The happy path reads only what never changes (the key with its binding, the challenge's signed text); the one
//! conditional write decides the rest. Whoever is refused is told the first obstacle in the protocol's order.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    actor::{Actor, Stamp},
    challenge::ChallengeFacts,
    digest::Digest,
    entropy, limits,
    ports::challenges::{Asker, DecideChallenge, DecideOutcome, DisplayedCode, RecordedResponse},
    verify::{self, Obstacle, Refusal, Verdict},
};
use countersign_proto::{
    api::devices::ResponseRecorded,
    ids::ChallengeId,
    jose::{
        Thumbprint,
        claims::{ChallengeClaims, ResponseClaims},
    },
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::{ChallengeFlag, ChallengeReason, ChallengeStatus, Decision, DeviceStatus, FastApproval},
};

use super::artefact;
use crate::{
    alarm,
    decisions::Believed,
    http::{
        access::RequestId,
        body::Artefact,
        expiry,
        problem::{self, ApiError, ApiResult},
        state::App,
    },
    keyring::BoundKey,
    signing::Sealed,
};

/// Records a device's signed approve or deny.
#[utoipa::path(post, path = "/v1/device/challenges/{id}/response", tag = "device", params(("id" = String, Path)),
    request_body(content = String, content_type = "application/jwt", description = "`countersign-response+jwt`"),
    responses((status = 200, description = "Recorded", body = ResponseRecorded)))]
#[tracing::instrument(name = "http.device_api.respond", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    Path(id): Path<String>,
    Artefact(body): Artefact,
) -> ApiResult<Json<ResponseRecorded>> {
    let now = app.now();
    // 1.
    let (unverified, thumbprint) = artefact::parse::<ResponseClaims>(&body)?;
    let text = unverified.text().to_owned();
    let id = id.parse().ok();
    let Some(bound) = app.keyring.bound(&thumbprint).await? else {
        return match first_reply(&app, id, &text, now).await? {
            Some(reply) => reply,
            None => refuse_unbound(&app, &body, now).await,
        };
    };
    let claims: ResponseClaims = artefact::read(unverified, &bound.public_key, bound.signer.device_id, &app.keys)?;
    let attempt = Attempt { app: &app, now, id, text, claims, thumbprint: thumbprint.clone(), request_id };
    match attempt.decide(bound).await {
        Err(error) if error.kind().spec().status < 500 => Err(tell(&app, &thumbprint, now, error).await?),
        outcome => outcome,
    }
}

/// A device that was revoked long ago is no longer told so: its key is an unknown one. And one whose organisation is
/// disabled is told that, and nothing else.
async fn tell(app: &App, thumbprint: &Thumbprint, now: Timestamp, told: ApiError) -> ApiResult<ApiError> {
    let key = app.keyring.fresh(thumbprint).await?;
    if key.as_ref().is_some_and(|key| key.is_tenant_disabled) {
        return Ok(ApiError::new(ProblemType::TenantDisabled));
    }
    if told.kind() != ProblemType::DeviceNotActive {
        return Ok(told);
    }
    let is_told = key.is_some_and(|key| artefact::is_told(&key, now));
    Ok(if is_told { told } else { ApiError::invalid_signature("unknown_key") })
}

/// A key that no binding vouches for: of a device that was never active, replaced, or unknown.
async fn refuse_unbound(app: &App, body: &[u8], now: Timestamp) -> ApiResult<Json<ResponseRecorded>> {
    let opened = artefact::open::<ResponseClaims>(app, body, now).await?;
    artefact::check_time(&opened.claims, now)?;
    Err(ApiError::device_not_active(opened.key.status))
}

/// 2. The reply that this very response got when it decided the challenge, less than 24 hours ago.
///
/// Needs no key: the very same bytes were verified when they were accepted.
async fn first_reply(
    app: &App,
    id: Option<ChallengeId>,
    text: &str,
    now: Timestamp,
) -> ApiResult<Option<ApiResult<Json<ResponseRecorded>>>> {
    let Some(id) = id else { return Ok(None) };
    let recorded = app.store.recorded_response(id).await?;
    let recorded = recorded
        .filter(|recorded| recorded.response == text && now < recorded.decided_at.plus_seconds(limits::REPLAY_SECONDS));
    Ok(match recorded {
        Some(recorded) => Some(reply(app, id, recorded, now).await),
        None => None,
    })
}

struct Attempt<'a> {
    app: &'a App,
    now: Timestamp,
    /// `None`: malformed, answered like an unknown one.
    id: Option<ChallengeId>,
    text: String,
    claims: ResponseClaims,
    thumbprint: Thumbprint,
    request_id: RequestId,
}

impl Attempt<'_> {
    async fn decide(self, mut bound: Arc<BoundKey>) -> ApiResult<Json<ResponseRecorded>> {
        // 2. Before the iat check: phones lose replies.
        if artefact::check_time(&self.claims, self.now).is_err() {
            return match self.first_reply().await? {
                Some(reply) => reply,
                None => Err(ApiError::clock_skew(self.now)),
            };
        }
        // 4. What is not of the device's tenant and user is answered like what does not exist.
        let Some(challenge) = self.challenge(&bound).await? else { return self.refuse_unknown().await };
        let Believed { facts, signed } = challenge.as_ref();
        // What is decided must verify ever after, also by who does not know that a clock was set back.
        let is_timely = |bound: &BoundKey| {
            verify::is_within_lifetime(signed, self.claims.iat) && verify::is_bound_in_time(signed, bound.bound_at)
        };
        if !is_timely(&bound) {
            return self.refuse_untimely(facts, signed, &bound).await;
        }
        if signed.sub == bound.signer.user_id.to_string() && signed.user.external_id != bound.external_id {
            // We signed both: somebody has renamed users in the database.
            alarm::raise("user_renamed", &bound.signer.user_id.to_string());
            return Err(ApiError::internal("user_renamed"));
        }
        let judged = verify::judge(facts, signed, &bound.signer, &self.claims, |number| {
            self.app.keys.is_right_number(signed.number_mac.as_deref(), facts.id, number)
        });
        let flags = self.flags(facts, &bound);
        let verdict = match judged {
            Ok(Verdict::Approve { .. } | Verdict::ShowCode)
                if !flags.is_empty() && facts.policy.fast_approval == FastApproval::Refuse =>
            {
                return self.refuse(facts, &bound, Refusal::ApprovedTooFast).await;
            }
            Ok(verdict) => verdict,
            Err(refusal) => return self.refuse(facts, &bound, refusal).await,
        };
        let mut command = self.command(facts, &bound, verdict, flags);
        // 11. At most twice: the key in memory may have a newer binding by now.
        let mut outcome = self.app.store.decide_challenge(command.clone()).await?;
        if outcome == DecideOutcome::StaleKey {
            self.app.keyring.forget(&self.thumbprint);
            let fresh = self.app.keyring.bound(&self.thumbprint).await?;
            bound = fresh.ok_or_else(|| ApiError::invalid_signature("stale_key"))?;
            if !is_timely(&bound) {
                return self.refuse_untimely(facts, signed, &bound).await;
            }
            command.binding = bound.binding.clone();
            command.stamp = self.stamp(&bound);
            outcome = self.app.store.decide_challenge(command.clone()).await?;
        }
        if matches!(outcome, DecideOutcome::Won { .. }) {
            self.app.sightings.answered(bound.signer.tenant_id, bound.signer.device_id, self.now);
        }
        self.answer(facts, command, outcome).await
    }

    /// The challenge, if it is of the device's tenant and user: mostly from memory, for nothing of it ever changes.
    async fn challenge(&self, bound: &BoundKey) -> ApiResult<Option<Arc<Believed>>> {
        let Some(id) = self.id else { return Ok(None) };
        // Whatever the device's row says: we signed that a broker answers nothing.
        if !bound.answers {
            return Ok(None);
        }
        let is_own =
            |facts: &ChallengeFacts| facts.tenant_id == bound.signer.tenant_id && facts.user.id == bound.signer.user_id;
        // Somebody else's is looked for like one that there is not, however well it is remembered: how long it takes would
        // tell the two apart.
        if let Some(known) = self.app.decisions.known(id).filter(|known| is_own(&known.facts)) {
            return Ok(Some(known));
        }
        let asker = Asker::User(bound.signer.user_id);
        let record = self.app.store.challenge_for(asker, bound.signer.tenant_id, id).await?;
        match record.filter(|record| record.erased_at.is_none() && is_own(&record.facts)) {
            Some(record) => Ok(Some(self.app.decisions.signed_text(&record.facts)?)),
            None => Ok(None),
        }
    }

    fn stamp(&self, bound: &BoundKey) -> Stamp {
        self.app.stamp(Actor::Device(bound.signer.device_id), bound.signer.tenant_id, &self.request_id.0, self.now)
    }

    /// What is remarkable about an approve: that it came faster than a person reads. Another node may have handed the
    /// challenge out; what is known for certain is that this was not before it was made.
    fn flags(&self, facts: &ChallengeFacts, bound: &BoundKey) -> Vec<ChallengeFlag> {
        if self.claims.decision != Decision::Approve || facts.policy.fast_approval == FastApproval::Allow {
            return Vec::new();
        }
        let fetched_at = self.app.sightings.first_fetch(facts.id, bound.signer.device_id);
        let is_too_fast = verify::is_too_fast(fetched_at.unwrap_or_else(|| facts.id.made_at()), self.now);
        is_too_fast.then_some(ChallengeFlag::FastApproval).into_iter().collect()
    }

    fn command(
        &self,
        facts: &ChallengeFacts,
        bound: &BoundKey,
        verdict: Verdict,
        flags: Vec<ChallengeFlag>,
    ) -> DecideChallenge {
        let policy = &facts.policy;
        DecideChallenge {
            stamp: self.stamp(bound),
            challenge_id: facts.id,
            user_id: bound.signer.user_id,
            device_id: bound.signer.device_id,
            key: self.thumbprint.clone(),
            binding: bound.binding.clone(),
            response: self.text.clone(),
            verdict,
            wrong_numbers_before_lock: policy.wrong_numbers_before_lock,
            lock_seconds: policy.lock_seconds,
            quiet_seconds_after_report: policy.quiet_seconds_after_report,
            on_report: policy.on_report,
            // A denial is one however fast it comes; a wrong number speaks for itself.
            flags: if matches!(verdict, Verdict::Approve { .. } | Verdict::ShowCode) { flags } else { Vec::new() },
            code: (verdict == Verdict::ShowCode).then(|| self.draw_code(facts)),
        }
    }

    /// Draws a code and seals it: whoever rewrites the database does not choose it. Should the write lose, nobody has
    /// seen it.
    fn draw_code(&self, facts: &ChallengeFacts) -> DisplayedCode {
        let digits = facts.policy.digits.unwrap_or_default();
        let code = entropy::digits(digits, self.app.entropy.as_ref());
        let content = Sealed::Code { challenge_id: facts.id, response: Digest::of(&self.text), code: &code };
        let seal = self.app.keys.seals().seal(&content);
        DisplayedCode { code, seal }
    }

    async fn answer(
        &self,
        facts: &ChallengeFacts,
        command: DecideChallenge,
        outcome: DecideOutcome,
    ) -> ApiResult<Json<ResponseRecorded>> {
        let outcome = match outcome {
            DecideOutcome::Closed(status) => DecideOutcome::Closed(self.end(facts, status).await?),
            outcome => outcome,
        };
        if let Some(error) = problem::lost(&outcome, self.now) {
            // 2. The response that decided it is never told that it came too late.
            return match self.first_reply().await? {
                Some(reply) => reply,
                None => Err(error),
            };
        }
        if let DecideOutcome::Repeat(recorded) = outcome {
            return reply(self.app, facts.id, recorded, self.now).await;
        }
        let verdict = command.verdict;
        metrics::counter!("countersign_responses_total", "verdict" => word(verdict)).increment(1);
        metrics::histogram!("countersign_challenge_step_seconds", "step" => "answered")
            .record(self.now.seconds_since(facts.id.made_at()));
        let (status, _) = command.end();
        let decided_at = (status != ChallengeStatus::Pending).then(|| self.now.floor_to_second());
        match verdict {
            Verdict::Approve { .. } | Verdict::ShowCode | Verdict::Deny(_) => {
                let display_code = command.code.map(|displayed| displayed.code);
                Ok(Json(ResponseRecorded { challenge_id: facts.id, status, decided_at, display_code }))
            }
            // 10.
            Verdict::WrongNumber => Err(ApiError::new(ProblemType::NumberMismatch)),
        }
    }

    async fn first_reply(&self) -> ApiResult<Option<ApiResult<Json<ResponseRecorded>>>> {
        first_reply(self.app, self.id, &self.text, self.now).await
    }

    /// 3, then 4: no such challenge.
    async fn refuse_unknown(&self) -> ApiResult<Json<ResponseRecorded>> {
        let key = self.app.keyring.fresh(&self.thumbprint).await?;
        let key = key.ok_or_else(|| ApiError::invalid_signature("stale_key"))?;
        match key.status {
            DeviceStatus::Active => Err(ApiError::not_found()),
            status => Err(ApiError::device_not_active(status)),
        }
    }

    /// Signed before the challenge began or after it ended, by honest clocks within their window: the evidence would
    /// not verify. Mostly the challenge is over: 3, 4 and 5 are told first.
    async fn refuse_untimely(
        &self,
        facts: &ChallengeFacts,
        signed: &ChallengeClaims,
        bound: &BoundKey,
    ) -> ApiResult<Json<ResponseRecorded>> {
        let device_id = bound.signer.device_id;
        let is_addressed = signed.aud.contains(&device_id.to_string());
        let judged = if is_addressed { Ok(Verdict::Deny(None)) } else { Err(Refusal::NotFound) };
        let state = self.app.store.decision_state(facts.id, device_id, &self.thumbprint, &bound.binding).await?;
        let obstacle = state.and_then(|state| verify::first_obstacle(judged, false, &state, self.now));
        match obstacle {
            Some(obstacle) => self.tell(facts, obstacle).await,
            None => Err(ApiError::clock_skew(self.now)),
        }
    }

    /// Refused by what never changes: tell the first obstacle in the protocol's order.
    async fn refuse(
        &self,
        facts: &ChallengeFacts,
        bound: &BoundKey,
        refusal: Refusal,
    ) -> ApiResult<Json<ResponseRecorded>> {
        let device_id = bound.signer.device_id;
        let state = self.app.store.decision_state(facts.id, device_id, &self.thumbprint, &bound.binding).await?;
        let obstacle = state.and_then(|state| {
            let says_approve = self.claims.decision == Decision::Approve;
            verify::first_obstacle(Err(refusal), says_approve, &state, self.now)
        });
        self.tell(facts, obstacle.unwrap_or(Obstacle::Refused(refusal))).await
    }

    async fn tell(&self, facts: &ChallengeFacts, obstacle: Obstacle) -> ApiResult<Json<ResponseRecorded>> {
        let obstacle = match obstacle {
            Obstacle::Closed(status) => Obstacle::Closed(self.end(facts, status).await?),
            obstacle => obstacle,
        };
        Err(problem::obstacle(obstacle, self.now))
    }

    async fn end(&self, facts: &ChallengeFacts, said: ChallengeStatus) -> ApiResult<ChallengeStatus> {
        expiry::end(self.app, facts.tenant_id, facts.id, said).await
    }
}

/// The first reply to a recorded response: a 200, or the 403 of a wrong number. Of an approve that was shown the code the
/// same code while that is awaited; then what became of the challenge.
async fn reply(
    app: &App,
    id: ChallengeId,
    mut recorded: RecordedResponse,
    now: Timestamp,
) -> ApiResult<Json<ResponseRecorded>> {
    if recorded.status == ChallengeStatus::Pending && now >= recorded.decided_at {
        let end = expiry::settled(app, recorded.tenant_id, id).await?;
        (recorded.status, recorded.reason) = (end.status, end.reason);
        recorded.decided_at = end.decided_at.unwrap_or(recorded.decided_at);
    }
    if recorded.reason == Some(ChallengeReason::WrongNumber) {
        return Err(ApiError::new(ProblemType::NumberMismatch));
    }
    let status = recorded.status;
    let is_beaten = recorded.reason == Some(ChallengeReason::WrongCode);
    match (status, &recorded.code) {
        (ChallengeStatus::Approved | ChallengeStatus::Denied, _) if !is_beaten => {
            let decided_at = Some(recorded.decided_at);
            Ok(Json(ResponseRecorded { challenge_id: id, status, decided_at, display_code: None }))
        }
        (ChallengeStatus::Pending, Some(DisplayedCode { code, seal })) => {
            let content = Sealed::Code { challenge_id: id, response: Digest::of(&recorded.response), code };
            if !app.keys.seals().holds(seal, &content) {
                alarm::raise("code_seal", &id.to_string());
                return Err(ApiError::internal("code_seal"));
            }
            let display_code = Some(code.clone());
            Ok(Json(ResponseRecorded { challenge_id: id, status, decided_at: None, display_code }))
        }
        _ => Err(ApiError::challenge_closed(status)),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve { .. } => "approve",
        Verdict::ShowCode => "show_code",
        Verdict::Deny(_) => "deny",
        Verdict::WrongNumber => "wrong_number",
    }
}
