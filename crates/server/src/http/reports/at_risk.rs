//! `GET /v1/reports/at-risk` (protocol 9): devices that the organisation should look after.
//!
//! Goes through all active devices by key, a bounded number for each request, so that a page costs the same in an
//! organisation of a million. Few of many may be at risk: a page may be short, or empty, and still lead on.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    api_client::Scope,
    policy::{devices, devices::DeviceStanding, stricter},
    ports::PageRequest,
};
use countersign_proto::{
    api::{Page, reports::DeviceAtRisk},
    ids::DeviceId,
    vocabulary::RiskReason,
};

use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    device_api::show_user,
    paging::{PageQuery, page},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Devices that a request goes through at most.
const LOOKED_THROUGH: u32 = 1_000;

/// Lists active devices that are too old, dormant, cannot be rung, lack what the policy asks, or whose user was reported
/// or is locked (those two to callers with `users:read`); newest first. A page may be short and still have a `next_cursor`.
#[utoipa::path(get, path = "/v1/reports/at-risk", tag = "reports", params(PageQuery),
    responses((status = 200, description = "A page of devices, each with its reasons", body = Page<DeviceAtRisk>)))]
#[tracing::instrument(name = "http.reports.at_risk", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<PageQuery>,
) -> ApiResult<Json<Page<DeviceAtRisk>>> {
    let request = page::<DeviceId>(query.cursor.as_deref(), query.limit)?;
    let tenant_id = caller.caller.tenant_id;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    let policy = stricter::bound(&tenant.policy);
    let now = app.now();
    let look_through = PageRequest { limit: LOOKED_THROUGH, ..request };
    let devices = app.store.device_standings(tenant_id, look_through).await?;
    let mut items = Vec::new();
    // Where the next page goes on: behind the last device that was looked at, if there may be more.
    let mut next = devices.last().map(|last| last.id).filter(|_| devices.len() >= LOOKED_THROUGH as usize);
    for device in devices {
        if items.len() >= request.limit as usize {
            next = items.last().map(|last: &DeviceAtRisk| last.id);
            break;
        }
        let mut reasons = devices::risks(&policy, &device, now);
        if !caller.holds(Scope::UsersRead) {
            reasons.retain(|reason| !matches!(reason, RiskReason::UserReported | RiskReason::UserLocked));
        }
        if !reasons.is_empty() {
            items.push(show(device, reasons));
        }
    }
    Ok(Json(Page { items, next_cursor: next.map(|id| id.to_string()) }))
}

fn show(device: DeviceStanding, reasons: Vec<RiskReason>) -> DeviceAtRisk {
    DeviceAtRisk {
        id: device.id,
        user: show_user(device.user),
        name: device.name,
        platform: device.versions.platform,
        app_version: device.versions.app_version,
        os_version: device.versions.os_version,
        last_decision_at: device.last_decision_at,
        last_pull_at: device.last_pull_at,
        reasons,
    }
}
