//! `GET /v1/devices` (protocol 10).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{ports::devices::DeviceFilter, text::Checker};
use countersign_proto::{
    api::{Page, devices::Device},
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
    /// In this status.
    status: Option<DeviceStatus>,
    /// On this platform.
    platform: Option<Platform>,
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
    checker.finish().map_err(ApiError::invalid_members)?;
    let filter = DeviceFilter { user_id: None, external_id, status: query.status, platform: query.platform };
    let records = app.store.devices(caller.caller.tenant_id, filter, request).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.id);
    Ok(Json(Page { items: records.into_iter().map(|record| show_device(record, app.now())).collect(), next_cursor }))
}
