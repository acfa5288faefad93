//! `DELETE /v1/devices/{id}` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::device::StatusChange;
use countersign_proto::{api::devices::Device, vocabulary::RevokeReason};
use serde::Deserialize;
use utoipa::IntoParams;

use super::change;
use crate::http::{access::ApiCaller, body::StrictQuery, problem::ApiResult, state::App};

/// Why.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `other` if absent.
    reason: Option<RevokeReason>,
}

/// Revokes a device, for ever; the record stays. Its challenges end with it. Repeated, the same answer.
#[utoipa::path(delete, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path), Query),
    responses((status = 200, description = "The revoked device", body = Device)))]
#[tracing::instrument(name = "http.devices.revoke", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Device>> {
    let reason = query.reason.unwrap_or(RevokeReason::Other);
    change(&app, &caller, &id, StatusChange::Revoke(reason)).await.map(Json)
}
