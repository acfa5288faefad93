//! `PUT /v1/device/push` (protocol 8.7).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    actor::Actor,
    ports::devices::{UpdatePush, UpdatePushOutcome},
    push,
    text::Checker,
};
use countersign_proto::{api::devices::PushUpdated, jose::claims::PushUpdateClaims};

use super::{artefact, require_configured, show_own_push};
use crate::http::{
    access::RequestId,
    body::Artefact,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Replaces the device's push channel, and takes the versions by now if they are told. Unlike a read it changes something, so each `jti` counts once.
#[utoipa::path(put, path = "/v1/device/push", tag = "device",
    request_body(content = String, content_type = "application/jwt", description = "`countersign-push-update+jwt`"),
    responses((status = 200, description = "Stored", body = PushUpdated)))]
#[tracing::instrument(name = "http.device_api.update_push", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    Artefact(body): Artefact,
) -> ApiResult<Json<PushUpdated>> {
    let now = app.now();
    let opened = artefact::open::<PushUpdateClaims>(&app, &body, now).await?;
    artefact::check_time(&opened.claims, now)?;
    let mut checker = Checker::default();
    push::check(&mut checker, "/push", &opened.claims.push);
    let app_version = checker.optional_text("/app_version", opened.claims.app_version.as_deref(), 1, 128);
    let os_version = checker.optional_text("/os_version", opened.claims.os_version.as_deref(), 1, 128);
    checker.finish().map_err(ApiError::invalid_members)?;
    let signer = opened.key.signer;
    require_configured(&app, signer.tenant_id, &opened.claims.push)?;
    let command = UpdatePush {
        stamp: app.stamp(Actor::Device(signer.device_id), signer.tenant_id, &request_id.0, now),
        device_id: signer.device_id,
        key: opened.thumbprint,
        jti: opened.claims.jti,
        push: opened.claims.push,
        app_version,
        os_version,
    };
    match app.store.update_push(command).await? {
        UpdatePushOutcome::Updated => {}
        UpdatePushOutcome::Replayed => return Err(ApiError::invalid_signature("replayed")),
        UpdatePushOutcome::NotActive(status) => return Err(ApiError::device_not_active(status)),
        UpdatePushOutcome::StaleKey => return Err(ApiError::invalid_signature("stale_key")),
    }
    let record = app.store.device(signer.tenant_id, signer.device_id).await?;
    let record = record.ok_or_else(|| ApiError::invalid_signature("unknown_key"))?;
    Ok(Json(PushUpdated { device_id: record.id, push: show_own_push(&record, now) }))
}
