//! `GET /v1/users/{id}/devices` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::devices::DeviceFilter;
use countersign_proto::api::{Page, devices::Device};

use super::parse;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    devices::show_device,
    paging::{PageQuery, next_cursor, page},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Lists a user's devices, newest first, revoked ones included.
#[utoipa::path(get, path = "/v1/users/{id}/devices", tag = "users", params(("id" = String, Path), PageQuery),
    responses((status = 200, description = "A page of devices, newest first", body = Page<Device>)))]
#[tracing::instrument(name = "http.users.devices", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictQuery(query): StrictQuery<PageQuery>,
) -> ApiResult<Json<Page<Device>>> {
    let tenant_id = caller.caller.tenant_id;
    let request = page(query.cursor.as_deref(), query.limit)?;
    let user = app.store.user(tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    let filter = DeviceFilter { user_id: Some(user.name.id), ..DeviceFilter::default() };
    let records = app.store.devices(tenant_id, filter, request).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.id);
    Ok(Json(Page { items: records.into_iter().map(|record| show_device(record, app.now())).collect(), next_cursor }))
}
