//! `GET /v1/devices` (protocol 10).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    device::{DeviceRecord, is_dormant},
    ports::devices::DeviceFilter,
    text::Checker,
};
use countersign_proto::{
    api::{Page, devices::Device},
    ids::UserId,
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, Platform},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::show_device;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    paging::{next_cursor, page},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Of this user (the tenant's own id).
    external_id: Option<String>,
    /// Of this user (our id).
    user_id: Option<UserId>,
    /// In this status.
    status: Option<DeviceStatus>,
    /// On this platform.
    platform: Option<Platform>,
    /// Of this installed app.
    installation_id: Option<String>,
    /// Of this app.
    app_id: Option<String>,
    /// Registered after this time.
    created_after: Option<Timestamp>,
    /// Registered before this time.
    created_before: Option<Timestamp>,
    /// From the previous page.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Lists the tenant's devices, newest first.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(Query),
    responses((status = 200, description = "A page of devices, newest first", body = Page<Device>)))]
#[tracing::instrument(name = "http.devices.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<Device>>> {
    let request = page(query.cursor.as_deref(), query.limit)?;
    let mut checker = Checker::default();
    let external_id = query.external_id.as_deref().map(|id| checker.external_id("/external_id", id));
    let installation_id = checker.optional_text("/installation_id", query.installation_id.as_deref(), 1, 128);
    let app_id = checker.optional_text("/app_id", query.app_id.as_deref(), 1, 128);
    checker.finish().map_err(ApiError::invalid_members)?;
    let filter = DeviceFilter {
        user_id: query.user_id,
        external_id,
        status: query.status,
        platform: query.platform,
        installation_id,
        app_id,
        created_after: query.created_after,
        created_before: query.created_before,
    };
    let tenant_id = caller.caller.tenant_id;
    let records = app.store.devices(tenant_id, filter, request).await?;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(ApiError::not_found)?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.id);
    let now = app.now();
    let show = |record: DeviceRecord| {
        let dormant = is_dormant(record.last_used_at(), tenant.policy.dormant_after_days, now).then_some(true);
        Device { dormant, ..show_device(record, now) }
    };
    Ok(Json(Page { items: records.into_iter().map(show).collect(), next_cursor }))
}
