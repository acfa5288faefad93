//! `GET /v1/devices/{id}` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::devices::Device;

use super::{parse, show_device, show_push_health};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Reads a device, with how pushes to it fare.
#[utoipa::path(get, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, description = "The device", body = Device)))]
#[tracing::instrument(name = "http.devices.show", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Json<Device>> {
    let record = app.store.device(caller.caller.tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    let now = app.now();
    let push_health = Some(show_push_health(&record, now));
    Ok(Json(Device { push_health, ..show_device(record, now) }))
}
