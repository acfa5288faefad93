//! `DELETE /v1/installations/{installation_id}` (protocol 10.7).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{limits::BULK_LOOKED_AT, ports::devices::DeviceFilter, text::Checker};
use countersign_proto::{
    api::revocations::RevokedPortion,
    problem::ProblemType,
    vocabulary::{DeviceStatus, RevokeReason},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    devices::portion::{each_device, revoke_portion},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Why.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `other` if absent.
    reason: Option<RevokeReason>,
}

/// Revokes all of the tenant's registrations of one installed app, unconfirmed ones too. Repeated, there is nothing left.
#[utoipa::path(delete, path = "/v1/installations/{installation_id}", tag = "devices",
    params(("installation_id" = String, Path), Query),
    responses((status = 200, description = "What this call revoked, and what is left", body = RevokedPortion)))]
#[tracing::instrument(name = "http.installations.revoke", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(installation_id): Path<String>,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<RevokedPortion>> {
    // What no app may call itself is an installation like any other that is not there.
    let installation_id = Checker::default().text("", &installation_id, 1, 128);
    let filter = DeviceFilter { installation_id: Some(installation_id), ..DeviceFilter::default() };
    let mut live = Vec::new();
    let look = |device: &countersign_core::device::DeviceRecord| {
        if device.status != DeviceStatus::Revoked {
            live.push(device.id);
        }
    };
    if !each_device(&app, caller.caller.tenant_id, filter, look).await? {
        let detail = format!("This installation has more than {BULK_LOOKED_AT} registrations: revoke by filter.");
        return Err(ApiError::new(ProblemType::InvalidRequest).saying(detail));
    }
    live.sort_unstable();
    let reason = query.reason.unwrap_or(RevokeReason::Other);
    Ok(Json(revoke_portion(&app, &caller, &live, reason).await?))
}
