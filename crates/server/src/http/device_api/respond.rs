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
    actor::Actor,
    challenge::ChallengeFacts,
    limits,
    ports::challenges::{DecideChallenge, DecideOutcome, RecordedResponse},
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
    vocabulary::{ChallengeReason, ChallengeStatus, Decision, DeviceStatus},
};

use super::artefact;
use crate::{
    alarm,
    decisions::Believed,
    http::{
        access::RequestId,
        body::Artefact,
        problem::{self, ApiError, ApiResult},
        state::App,
    },
    keyring::BoundKey,
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
        Err(error) if error.kind() == ProblemType::DeviceNotActive => Err(tell(&app, &thumbprint, now, error).await?),
        outcome => outcome,
    }
}

/// A device that was revoked long ago is no longer told so: its key is an unknown one.
async fn tell(app: &App, thumbprint: &Thumbprint, now: Timestamp, told: ApiError) -> ApiResult<ApiError> {
    let key = app.keyring.fresh(thumbprint).await?;
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
    Ok(recorded.map(|recorded| reply(id, &recorded)))
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
        if !verify::is_within_lifetime(signed, self.claims.iat) {
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
        let verdict = match judged {
            Ok(verdict) => verdict,
            Err(refusal) => return self.refuse(facts, &bound, refusal).await,
        };
        // 11. At most twice: the key in memory may have a newer binding by now.
        let mut outcome = self.write(facts, &bound, verdict).await?;
        if outcome == DecideOutcome::StaleKey {
            self.app.keyring.forget(&self.thumbprint);
            let fresh = self.app.keyring.bound(&self.thumbprint).await?;
            bound = fresh.ok_or_else(|| ApiError::invalid_signature("stale_key"))?;
            outcome = self.write(facts, &bound, verdict).await?;
        }
        self.answer(facts, verdict, outcome).await
    }

    /// The challenge, if it is of the device's tenant and user: mostly from memory, for nothing of it ever changes.
    async fn challenge(&self, bound: &BoundKey) -> ApiResult<Option<Arc<Believed>>> {
        let Some(id) = self.id else { return Ok(None) };
        let is_own =
            |facts: &ChallengeFacts| facts.tenant_id == bound.signer.tenant_id && facts.user.id == bound.signer.user_id;
        if let Some(known) = self.app.decisions.known(id) {
            return Ok(Some(known).filter(|known| is_own(&known.facts)));
        }
        match self.app.store.challenge(id).await?.filter(|record| is_own(&record.facts)) {
            Some(record) => Ok(Some(self.app.decisions.signed_text(&record.facts)?)),
            None => Ok(None),
        }
    }

    async fn write(&self, facts: &ChallengeFacts, bound: &BoundKey, verdict: Verdict) -> ApiResult<DecideOutcome> {
        let policy = &facts.policy;
        let device_id = bound.signer.device_id;
        let command = DecideChallenge {
            stamp: self.app.stamp(Actor::Device(device_id), bound.signer.tenant_id, &self.request_id.0, self.now),
            challenge_id: facts.id,
            user_id: bound.signer.user_id,
            device_id,
            key: self.thumbprint.clone(),
            binding: bound.binding.clone(),
            response: self.text.clone(),
            verdict,
            wrong_numbers_before_lock: policy.wrong_numbers_before_lock,
            lock_seconds: policy.lock_seconds,
        };
        Ok(self.app.store.decide_challenge(command).await?)
    }

    async fn answer(
        &self,
        facts: &ChallengeFacts,
        verdict: Verdict,
        outcome: DecideOutcome,
    ) -> ApiResult<Json<ResponseRecorded>> {
        if let Some(error) = problem::lost(&outcome, self.now) {
            // 2. The response that decided it is never told that it came too late.
            return match self.first_reply().await? {
                Some(reply) => reply,
                None => Err(error),
            };
        }
        if let DecideOutcome::Repeat(recorded) = outcome {
            return reply(facts.id, &recorded);
        }
        metrics::counter!("countersign_responses_total", "verdict" => word(verdict)).increment(1);
        metrics::histogram!("countersign_challenge_step_seconds", "step" => "answered")
            .record(self.now.seconds_since(facts.id.made_at()));
        let status = match verdict {
            Verdict::Approve { .. } => ChallengeStatus::Approved,
            Verdict::Deny(_) => ChallengeStatus::Denied,
            // 10.
            Verdict::WrongNumber => return Err(ApiError::new(ProblemType::NumberMismatch)),
        };
        Ok(Json(ResponseRecorded { challenge_id: facts.id, status, decided_at: self.now.floor_to_second() }))
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
        Err(obstacle.map_or_else(|| ApiError::clock_skew(self.now), |obstacle| problem::obstacle(obstacle, self.now)))
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
        Err(problem::obstacle(obstacle.unwrap_or(Obstacle::Refused(refusal)), self.now))
    }
}

/// The first reply to a recorded response: a 200, or the 403 of a wrong number.
fn reply(id: ChallengeId, recorded: &RecordedResponse) -> ApiResult<Json<ResponseRecorded>> {
    if recorded.reason == Some(ChallengeReason::WrongNumber) {
        return Err(ApiError::new(ProblemType::NumberMismatch));
    }
    Ok(Json(ResponseRecorded { challenge_id: id, status: recorded.status, decided_at: recorded.decided_at }))
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve { .. } => "approve",
        Verdict::Deny(_) => "deny",
        Verdict::WrongNumber => "wrong_number",
    }
}
