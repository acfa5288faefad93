//! `POST /v1/devices/{id}/resume` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::device::StatusChange;
use countersign_proto::api::devices::Device;

use super::change;
use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

/// Makes a suspended device active again. Challenges that ended stay ended.
#[utoipa::path(post, path = "/v1/devices/{id}/resume", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, description = "The device", body = Device)))]
#[tracing::instrument(name = "http.devices.resume", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Json<Device>> {
    change(&app, &caller, &id, StatusChange::Resume).await.map(Json)
}
