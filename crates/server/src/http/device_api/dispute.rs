//! `POST /v1/device/notices/{id}/dispute` (protocol 8.8).
//!
//! "That was not me": the registration that the notice is about is suspended at once, with the barrier of 10.1. An admin
//! decides what follows. Whoever sneaked a device in cannot turn the older ones off with it: a device disputes only what
//! happened after it became active itself.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use countersign_core::{
    actor::Actor,
    digest::Digest,
    limits,
    ports::{
        Reply,
        devices::{DisputeNotice, DisputeNoticeOutcome},
    },
};
use countersign_proto::{
    api::devices::Disputed, ids::EventId, jose::claims::DisputeClaims, problem::ProblemType, vocabulary::DeviceStatus,
};

use super::{answer, artefact};
use crate::http::{
    access::RequestId,
    body::Artefact,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Suspends the registration that a notice is about.
#[utoipa::path(post, path = "/v1/device/notices/{id}/dispute", tag = "device", params(("id" = String, Path)),
    request_body(content = String, content_type = "application/jwt", description = "`countersign-dispute+jwt`"),
    responses((status = 200, description = "Suspended", body = Disputed)))]
#[tracing::instrument(name = "http.device_api.dispute", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request_id: RequestId,
    Artefact(body): Artefact,
) -> ApiResult<Response> {
    let now = app.now();
    // First the kind: the reply to another endpoint's artefact is nobody's business here.
    artefact::parse::<DisputeClaims>(&body)?;
    let artefact = Digest::of(&body);
    if let Some(reply) = app.store.reply(artefact, now).await? {
        return Ok(answer(reply));
    }
    let opened = artefact::open::<DisputeClaims>(&app, &body, now).await?;
    artefact::check_time(&opened.claims, now)?;
    if opened.key.status != DeviceStatus::Active {
        return Err(ApiError::device_not_active(opened.key.status));
    }
    // What was signed is what is meant, whatever the path says.
    let notice_id: EventId = id.parse().map_err(|_| ApiError::not_found())?;
    if opened.claims.sub != id {
        return Err(ApiError::not_found());
    }
    let signer = opened.key.signer;
    let reply = serde_json::to_string(&Disputed { notice_id, suspended: true })
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let command = DisputeNotice {
        stamp: app.stamp(Actor::Device(signer.device_id), signer.tenant_id, &request_id.0, now),
        device_id: signer.device_id,
        key: opened.thumbprint,
        notice_id,
        not_before: now.plus_seconds(-limits::NOTICE_SECONDS),
        reply: Reply { artefact, body: reply.clone(), expires_at: now.plus_seconds(limits::REPLAY_SECONDS) },
    };
    match app.store.dispute_notice(command).await? {
        DisputeNoticeOutcome::Suspended(device_id) => {
            tracing::warn!(device.id = %device_id, "a user says that a registration is not theirs");
            Ok(answer(reply))
        }
        DisputeNoticeOutcome::Already(_) => Ok(answer(reply)),
        DisputeNoticeOutcome::NotActive(status) => Err(ApiError::device_not_active(status)),
        DisputeNoticeOutcome::StaleKey => Err(ApiError::invalid_signature("stale_key")),
        DisputeNoticeOutcome::NotFound => Err(ApiError::not_found()),
        DisputeNoticeOutcome::NotDisputable => Err(ApiError::new(ProblemType::NoticeNotDisputable)),
    }
}
