//! `POST /v1/devices/{id}/suspend` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::device::StatusChange;
use countersign_proto::api::devices::Device;

use super::change;
use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

/// No approve of the device commits until it is resumed. Its challenges end with it.
#[utoipa::path(post, path = "/v1/devices/{id}/suspend", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, description = "The device", body = Device)))]
#[tracing::instrument(name = "http.devices.suspend", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Json<Device>> {
    change(&app, &caller, &id, StatusChange::Suspend).await.map(Json)
}
