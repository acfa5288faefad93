//! `GET /v1/device/challenges/{id}` (protocol 5.3).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::challenge::status_at;
use countersign_proto::{
    api::devices::PendingChallenge,
    problem::ProblemType,
    vocabulary::{ChallengeStatus, DeviceStatus, Word as _},
};

use super::proof::ProvenDevice;
use crate::http::{
    expiry,
    problem::{ApiError, ApiResult},
    state::App,
};

/// One challenge that waits for this device's answer.
#[utoipa::path(get, path = "/v1/device/challenges/{id}", tag = "device", params(("id" = String, Path)),
    responses((status = 200, description = "The challenge", body = PendingChallenge)))]
#[tracing::instrument(name = "http.device_api.fetch", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    device: ProvenDevice,
    Path(id): Path<String>,
) -> ApiResult<Json<PendingChallenge>> {
    if device.key.status != DeviceStatus::Active {
        // Nothing is ever addressed to a device that waits for its confirmation.
        return Err(ApiError::not_found());
    }
    let id = id.parse().map_err(|_| ApiError::not_found())?;
    let found = app.store.inbox_entry(device.key.signer.device_id, id).await?;
    let (entry, stored) = found.ok_or_else(ApiError::not_found)?;
    let now = app.now();
    match status_at(stored, entry.expires_at, now) {
        ChallengeStatus::Pending => {
            app.sightings.fetched(device.key.signer.device_id, [entry.id], now);
            Ok(Json(PendingChallenge { id: entry.id, challenge: entry.jws, expires_at: entry.expires_at }))
        }
        gone => {
            let gone = expiry::end(&app, device.key.signer.tenant_id, id, gone).await?;
            Err(ApiError::new(ProblemType::ChallengeGone).with("challenge_status", gone.as_str()))
        }
    }
}
