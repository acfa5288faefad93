//! `POST /v1/device/deregistration` (protocol 10.2).

use std::sync::Arc;

use axum::{extract::State, response::Response};
use countersign_core::{
    actor::Actor,
    device::StatusChange,
    digest::Digest,
    limits,
    ports::{
        Reply,
        devices::{ChangeDeviceStatus, ChangeDeviceStatusOutcome},
    },
};
use countersign_proto::{
    api::devices::Deregistered,
    ids::DeviceId,
    jose::claims::DeregistrationClaims,
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, RevokeReason},
};

use super::{answer, artefact};
use crate::http::{
    access::RequestId,
    body::Artefact,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Ends the device's registration, for ever; by a revoked device too.
#[utoipa::path(post, path = "/v1/device/deregistration", tag = "device",
    request_body(content = String, content_type = "application/jwt", description = "`countersign-deregistration+jwt`"),
    responses((status = 200, description = "Deregistered", body = Deregistered)))]
#[tracing::instrument(name = "http.device_api.deregister", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    Artefact(body): Artefact,
) -> ApiResult<Response> {
    let now = app.now();
    // First the kind: the reply to another endpoint's artefact is nobody's business here.
    artefact::parse::<DeregistrationClaims>(&body)?;
    let artefact = Digest::of(&body);
    if let Some(reply) = app.store.reply(artefact, now).await? {
        return Ok(answer(reply));
    }
    let opened = artefact::open::<DeregistrationClaims>(&app, &body, now).await?;
    artefact::check_time(&opened.claims, now)?;
    let signer = opened.key.signer;
    let reply = |revoked_at: Timestamp| -> ApiResult<Reply> {
        let body = reply_body(signer.device_id, revoked_at)?;
        Ok(Reply { artefact, body, expires_at: now.plus_seconds(limits::REPLAY_SECONDS) })
    };
    let first = reply(now)?;
    let command = ChangeDeviceStatus {
        stamp: app.stamp(Actor::Device(signer.device_id), signer.tenant_id, &request_id.0, now),
        device_id: signer.device_id,
        change: StatusChange::Revoke(opened.claims.reason.unwrap_or(RevokeReason::Other)),
        key: Some(opened.thumbprint),
        reply: Some(first.clone()),
    };
    match app.store.change_device_status(command).await? {
        ChangeDeviceStatusOutcome::Changed { .. } => Ok(answer(first.body)),
        ChangeDeviceStatusOutcome::Already(device) => {
            let reply = reply(device.revoked_at.unwrap_or(now))?;
            app.store.remember_reply(signer.tenant_id, signer.user_id, reply.clone()).await?;
            Ok(answer(reply.body))
        }
        ChangeDeviceStatusOutcome::Impossible(status) => Err(ApiError::device_not_active(status)),
        ChangeDeviceStatusOutcome::StaleKey => Err(ApiError::invalid_signature("stale_key")),
        ChangeDeviceStatusOutcome::NotFound => Err(ApiError::invalid_signature("unknown_key")),
    }
}

fn reply_body(device_id: DeviceId, revoked_at: Timestamp) -> ApiResult<String> {
    let reply = Deregistered { device_id, status: DeviceStatus::Revoked, revoked_at };
    serde_json::to_string(&reply).map_err(|error| ApiError::internal(error.to_string()))
}
