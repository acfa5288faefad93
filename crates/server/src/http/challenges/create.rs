//! `POST /v1/challenges` (protocol 6.1–6.3).
//!
//! Reads who may answer, signs one challenge for all of them, and writes it on condition that they are still the
//! same: a device that was revoked in between makes the write lose, and the loop begins again.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use countersign_core::{
    challenge::{self, ChallengeFacts, ChallengeRequest, NOT_A_DEVICE, client_reference_digest, draw_number},
    device::is_dormant,
    digest::Digest,
    entropy::secret_bytes,
    limits,
    policy::{EffectivePolicy, effective},
    ports::challenges::{
        Addressee, Addressees, CreateChallenge, CreateOutcome, Created, Idempotency, NewDelivery, StoredCreation,
    },
    push::{self, budget::Suppression},
};
use countersign_proto::{
    api::challenges::{Challenge, ChallengeCreated, CreateChallenge as Request},
    jose::{
        base64url,
        claims::{ChallengeClaims, ChallengeTenant, ChallengeUser, ChallengeVerification},
    },
    problem::{FieldError, ProblemType},
    timestamp::Timestamp,
    vocabulary::{Profile, UserVerification, Word as _},
};

use super::rate_limit;
use crate::{
    decisions::{Believed, describe},
    http::{
        access::ApiCaller,
        body::StrictJson,
        client_proof,
        problem::{ApiError, ApiResult},
        state::App,
    },
    signing::Sealed,
};

/// How often a change of the user's devices may come between reading and writing.
const ATTEMPTS: usize = 4;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// Creates a challenge.
#[utoipa::path(post, path = "/v1/challenges", tag = "challenges", request_body = Request,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; the same request within 24 hours gets the same reply")),
    responses((status = 201, description = "The challenge, with the number to show", body = ChallengeCreated,
        headers(("RateLimit-Policy" = String, description = "The quotas `pushes-10m` and `pending`, as draft-ietf-httpapi-ratelimit-headers-10 spells them; also with 429, not with a replay"),
            ("RateLimit" = String, description = "What is left of them")))))]
#[tracing::instrument(name = "http.challenges.create", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    headers: HeaderMap,
    StrictJson { value, digest }: StrictJson<Request>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    if let Some(key) = &key
        && let Some(stored) = app.store.stored_creation(caller.caller.client_id, key, app.now()).await?
    {
        return replay(&caller, stored, digest);
    }
    let request = challenge::check(value).map_err(ApiError::invalid_members)?;
    let idempotency = key.map(|key| (key, digest));
    for _ in 0..ATTEMPTS {
        if let Some(reply) = attempt(&app, &caller, &request, idempotency.as_ref()).await? {
            return Ok(reply);
        }
    }
    Err(ApiError::new(ProblemType::Unavailable).retry_after(1).because("the user's devices keep changing"))
}

/// One round of read, sign, write. `None`: the user's devices changed in between.
async fn attempt(
    app: &App,
    caller: &ApiCaller,
    request: &ChallengeRequest,
    idempotency: Option<&(String, Digest)>,
) -> ApiResult<Option<Response>> {
    let tenant_id = caller.caller.tenant_id;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    caller.require_application(&tenant.policy, request.text.application.as_deref())?;
    let policy = effective(&tenant.policy, &request.policy)?;
    let addressees = app.store.addressees(tenant_id, &request.external_id).await?;
    let addressees = addressees.ok_or_else(no_eligible_device)?;
    let now = app.now();
    let is_awake = |device: &&Addressee| !is_dormant(device.last_used_at, tenant.policy.dormant_after_days, now);
    let devices = eligible(&addressees, request, &policy, is_awake)?;
    let rings = request.push && policy.rings;

    let stamp = caller.stamp(app, now);
    let draft = Draft { caller, request, policy, addressees: &addressees, devices: &devices };
    let (made, number) = draft.sign(app, now)?;
    let facts = &made.facts;
    let deliveries: Vec<_> = devices.iter().map(|device| push::first_delivery(device, rings, now)).collect();
    let senders = app.pushing.senders();
    let in_trouble = devices.iter().map(|device| senders.is_in_trouble(tenant_id, &device.push));
    let shown = describe(facts, push::status(deliveries.iter().map(|delivery| delivery.state).zip(in_trouble)));
    // Which of the two it is the transaction decides.
    let muted = muted(&shown, &deliveries);
    let idempotency = idempotency.map(|(key, body)| stored_form(key, *body, [&shown, &muted], now)).transpose()?;
    let command = CreateChallenge {
        stamp,
        facts: facts.clone(),
        devices_version: addressees.devices_version,
        number: number.clone(),
        deliveries,
        idempotency: idempotency.clone(),
    };
    match app.store.create_challenge(command).await? {
        CreateOutcome::Created(Created { suppressed, standing }) => {
            count(suppressed, &made.facts.policy);
            let headers: Vec<_> = rate_limit::headers(&standing, &made.facts.policy).collect();
            app.decisions.remember(made);
            let locked_until = addressees.locked_until.filter(|until| *until > now);
            let challenge = if suppressed.is_some() { muted } else { shown };
            let mut reply = created(&ChallengeCreated { challenge, number, locked_until }, false);
            reply.headers_mut().extend(headers);
            Ok(Some(reply))
        }
        CreateOutcome::Stored(stored) => {
            // An equal request was faster; with another body the key is refused.
            let body = idempotency.map(|idempotency| idempotency.body);
            body.map(|body| replay(caller, stored, body)).transpose()
        }
        CreateOutcome::DevicesChanged => Ok(None),
        CreateOutcome::TooManyPending(standing) => {
            let refused = ApiError::new(ProblemType::TooManyPending).retry_after(30);
            let headers = rate_limit::headers(&standing, &made.facts.policy);
            Err(headers.fold(refused, |refused, (name, value)| refused.header(name, value)))
        }
    }
}

/// The challenge as its caller sees it if the user's limits say that nobody is rung.
fn muted(shown: &Challenge, deliveries: &[NewDelivery]) -> Challenge {
    let push_status = push::status(deliveries.iter().map(|delivery| (push::suppressed(delivery.state), false)));
    Challenge { push_status, ..shown.clone() }
}

fn count(suppressed: Option<Suppression>, policy: &EffectivePolicy) {
    let profile = policy.profile.map_or("none", Profile::as_str);
    metrics::counter!("countersign_challenges_created_total", "mode" => policy.mode.as_str(), "profile" => profile)
        .increment(1);
    if let Some(reason) = suppressed {
        metrics::counter!("countersign_challenges_suppressed_total", "reason" => reason.as_str()).increment(1);
    }
}

struct Draft<'a> {
    caller: &'a ApiCaller,
    request: &'a ChallengeRequest,
    policy: EffectivePolicy,
    addressees: &'a Addressees,
    devices: &'a [Addressee],
}

impl Draft<'_> {
    /// 6.2: one signature for all addressed devices.
    fn sign(self, app: &App, now: Timestamp) -> ApiResult<(Believed, Option<String>)> {
        let Self { caller, request, policy, addressees, devices } = self;
        let id = app.new_id(now);
        let created_at = now.floor_to_second();
        let expires_at = created_at.plus_seconds(policy.ttl_seconds);
        let drawn = draw_number(&policy, app.entropy.as_ref());
        let text = request.text.clone();
        let claims = ChallengeClaims {
            iss: app.issuer().to_owned(),
            aud: devices.iter().map(|device| device.device_id.to_string()).collect(),
            sub: addressees.user.id.to_string(),
            jti: id.to_string(),
            iat: created_at.as_seconds(),
            exp: expires_at.as_seconds(),
            nonce: base64url::encode(secret_bytes(app.entropy.as_ref())),
            tenant: ChallengeTenant {
                id: caller.caller.tenant_id.to_string(),
                name: caller.caller.tenant_name.clone(),
            },
            user: ChallengeUser {
                external_id: addressees.user.external_id.clone(),
                display_name: addressees.user.display_name.clone(),
            },
            application: text.application.clone(),
            action: text.action.clone(),
            message: text.message.clone(),
            context: text.context.clone(),
            details: text.details.clone(),
            verification: ChallengeVerification { mode: policy.mode, digits: policy.digits, choices: drawn.choices },
            user_verification: policy.user_verification,
            user_verification_methods: Some(policy.user_verification_methods.clone())
                .filter(|methods| !methods.is_empty()),
            profile: policy.profile.map(|profile| profile.as_str().to_owned()),
            policy_version: policy.version,
            azp: caller.caller.client_id.to_string(),
            client_reference_sha256: text.client_reference.as_deref().map(client_reference_digest),
            number_mac: drawn.number.as_deref().map(|number| {
                let content = Sealed::Number { challenge_id: id, number };
                app.keys.seals().seal(&content)
            }),
        };
        // Refuses to sign more than 16 KiB: `challenge-too-large`.
        let jws = app.keys.sign(&claims)?;
        let (tenant_id, client_id) = (caller.caller.tenant_id, caller.caller.client_id);
        let user = addressees.user.clone();
        let facts = ChallengeFacts { id, tenant_id, client_id, user, text, policy, jws, created_at, expires_at };
        Ok((Believed { facts, signed: claims }, drawn.number))
    }
}

/// The devices to address. One answer for an unknown user, none active, none awake and none with the second key.
///
/// # Errors
/// 422.
pub fn eligible(
    addressees: &Addressees,
    request: &ChallengeRequest,
    policy: &EffectivePolicy,
    is_awake: impl Fn(&&Addressee) -> bool,
) -> ApiResult<Vec<Addressee>> {
    let may_answer = |device: &&Addressee| policy.user_verification != UserVerification::Required || device.has_uv_key;
    let mut devices: Vec<Addressee> = addressees.devices.iter().filter(is_awake).filter(may_answer).cloned().collect();
    if addressees.devices.is_empty() {
        // Before the named devices are looked at: a user without devices is answered like an unknown one.
        return Err(no_eligible_device());
    }
    if let Some(named) = &request.device_ids {
        let unknown =
            named.iter().enumerate().filter(|(_, id)| addressees.devices.iter().all(|device| device.device_id != **id));
        let errors: Vec<_> = unknown
            .map(|(index, _)| FieldError { pointer: format!("/device_ids/{index}"), detail: NOT_A_DEVICE.to_owned() })
            .collect();
        if !errors.is_empty() {
            return Err(ApiError::invalid_members(errors));
        }
        devices.retain(|device| named.contains(&device.device_id));
    }
    if devices.is_empty() { Err(no_eligible_device()) } else { Ok(devices) }
}

/// 422 of a user whom nobody can ask.
pub fn no_eligible_device() -> ApiError {
    ApiError::new(ProblemType::NoEligibleDevice).with("enrollment_required", true)
}

/// What the key stands for: the reply if the devices are rung, and if they are not.
fn stored_form(key: &str, body: Digest, replies: [&Challenge; 2], now: Timestamp) -> ApiResult<Idempotency> {
    let json = |reply| serde_json::to_string(reply).map_err(|error| ApiError::internal(error.to_string()));
    let [reply, suppressed_reply] = replies.map(json);
    let (key, reply, suppressed_reply) = (key.to_owned(), reply?, suppressed_reply?);
    Ok(Idempotency { key, body, reply, suppressed_reply, expires_at: now.plus_seconds(limits::REPLAY_SECONDS) })
}

fn replay(caller: &ApiCaller, stored: StoredCreation, body: Digest) -> ApiResult<Response> {
    if stored.body != body {
        return Err(ApiError::new(ProblemType::IdempotencyKeyReused));
    }
    let challenge: Challenge =
        serde_json::from_str(&stored.reply).map_err(|_| ApiError::internal("a stored reply is damaged"))?;
    if !caller.caller.has_shown_enough_for_challenge(challenge.policy.profile.is_some()) {
        return Err(client_proof::required());
    }
    Ok(created(&ChallengeCreated { challenge, number: stored.number, locked_until: None }, true))
}

fn created(reply: &ChallengeCreated, is_replay: bool) -> Response {
    let location = format!("/v1/challenges/{}", reply.challenge.id);
    let mut response = (StatusCode::CREATED, Json(reply)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if is_replay {
        response.headers_mut().insert(IDEMPOTENT_REPLAY, HeaderValue::from_static("true"));
    }
    response
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let fits = |text: &&str| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match (value.to_str().ok().filter(fits), values.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::new(ProblemType::InvalidRequest)
            .saying("Idempotency-Key must be one header of 1 to 255 visible ASCII characters.")),
    }
}
