//! `GET /v1/devices/{id}` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::device::is_dormant;
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
    let tenant_id = caller.caller.tenant_id;
    let record = app.store.device(tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(ApiError::not_found)?;
    let now = app.now();
    let push_health = Some(show_push_health(&record, now));
    let dormant = is_dormant(record.last_used_at(), tenant.policy.dormant_after_days, now).then_some(true);
    Ok(Json(Device { push_health, dormant, ..show_device(record, now) }))
}
