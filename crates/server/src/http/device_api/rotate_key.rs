//! `POST /v1/device/key` (protocol 10.6).
//!
//! The keys that stay are taken from what we signed, never from their rows: a rewritten database brings no key in with
//! somebody else's rotation.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use countersign_core::{
    actor::Actor,
    device::{NewKey, StoredBinding},
    digest::Digest,
    limits,
    ports::{
        Reply,
        devices::{RotateKeys, RotateKeysOutcome},
    },
    rotation::{Rotation, check_rotation},
};
use countersign_proto::{
    api::devices::KeysRotated,
    jose::{PublicKey, claims::KeyRotationClaims},
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, EnrollmentPurpose},
};

use super::{answer, artefact};
use crate::{
    http::{
        access::RequestId,
        body::Artefact,
        problem::{ApiError, ApiResult},
        state::App,
    },
    keyring::BoundKey,
    signing::BindingSubject,
};

/// Replaces keys of the device. The old ones stop when this is answered.
#[utoipa::path(post, path = "/v1/device/key", tag = "device",
    request_body(content = String, content_type = "application/jwt", description = "`countersign-key-rotation+jwt`"),
    responses((status = 200, description = "The new keys are the device's", body = KeysRotated)))]
#[tracing::instrument(name = "http.device_api.rotate_key", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    Artefact(body): Artefact,
) -> ApiResult<Response> {
    let now = app.now();
    // First the kind: the reply to another endpoint's artefact is nobody's business here.
    artefact::parse::<KeyRotationClaims>(&body)?;
    let artefact = Digest::of(&body);
    // The key that signed may be dead by its own rotation: the very same bytes were verified when they were accepted.
    if let Some(reply) = app.store.reply(artefact, now).await? {
        return Ok(answer(reply));
    }
    let opened = match artefact::open::<KeyRotationClaims>(&app, &body, now).await {
        Ok(opened) => opened,
        Err(refusal) => return first_reply(&app, artefact, now, refusal).await,
    };
    artefact::check_time(&opened.claims, now)?;
    if opened.key.status != DeviceStatus::Active {
        return Err(ApiError::device_not_active(opened.key.status));
    }
    let signer = opened.key.signer;
    let bound = opened.key.bound.ok_or_else(|| ApiError::internal("an active device without a binding"))?;
    let rotation = check_rotation(&opened.claims, signer.role, signer.device_id, app.issuer(), now)
        .map_err(ApiError::invalid_members)?;
    let binding = bind(&app, &bound, &rotation, now)?;
    let reply = KeysRotated { device_id: signer.device_id, binding: binding.jws.clone() };
    let reply = serde_json::to_string(&reply).map_err(|error| ApiError::internal(error.to_string()))?;
    let command = RotateKeys {
        stamp: app.stamp(Actor::Device(signer.device_id), signer.tenant_id, &request_id.0, now),
        device_id: signer.device_id,
        user_id: signer.user_id,
        key: opened.thumbprint,
        binding_id: bound.binding.id,
        device_key: rotation.device_key.as_ref().map(NewKey::from),
        uv_key: rotation.uv_key.as_ref().map(NewKey::from),
        binding,
        reply: Reply { artefact, body: reply.clone(), expires_at: now.plus_seconds(limits::REPLAY_SECONDS) },
    };
    match app.store.rotate_keys(command).await? {
        RotateKeysOutcome::Rotated => Ok(answer(reply)),
        RotateKeysOutcome::NotActive(status) => Err(ApiError::device_not_active(status)),
        RotateKeysOutcome::KeyAlreadyRegistered => Err(ApiError::new(ProblemType::KeyAlreadyRegistered)),
        RotateKeysOutcome::TooSoon(until) => {
            let millis = until.as_millis().saturating_sub(now.as_millis()).max(1).unsigned_abs();
            Err(ApiError::new(ProblemType::TooManyRequests).retry_after(millis.div_ceil(1_000)))
        }
        RotateKeysOutcome::StaleKey => first_reply(&app, artefact, now, ApiError::invalid_signature("stale_key")).await,
    }
}

/// The key that signed is not known, any more: the same bytes may have been faster on another connection, by which it died.
async fn first_reply(app: &App, artefact: Digest, now: Timestamp, refusal: ApiError) -> ApiResult<Response> {
    if refusal.kind() != ProblemType::InvalidDeviceSignature {
        return Err(refusal);
    }
    app.store.reply(artefact, now).await?.map(answer).ok_or(refusal)
}

/// Signs the statement of the keys that the device will have: the new ones, and those of the former statement that stay.
fn bind(app: &App, bound: &BoundKey, rotation: &Rotation, now: Timestamp) -> ApiResult<StoredBinding> {
    let former = app.keys.binds(&bound.binding, &bound.signer, &bound.public_key);
    let former = former.ok_or_else(|| ApiError::internal("a binding that was believed binds nothing"))?;
    let key = |jwk| PublicKey::from_jwk(jwk).map_err(|_| ApiError::internal("a key that we signed is no key"));
    let device_key = rotation.device_key.map_or_else(|| key(&former.cnf.jwk), Ok)?;
    let uv_key = match rotation.uv_key {
        Some(uv_key) => Some(uv_key),
        None => former.uv_jwk.as_ref().map(key).transpose()?,
    };
    let subject = BindingSubject {
        device_id: bound.signer.device_id,
        user_id: bound.signer.user_id,
        tenant_id: bound.signer.tenant_id,
        external_id: &former.external_id,
        purpose: former.purpose.unwrap_or(EnrollmentPurpose::Approval),
        device_key: &device_key,
        uv_key: uv_key.as_ref(),
    };
    Ok(app.keys.sign_binding(&subject, now, app.entropy.as_ref())?)
}
