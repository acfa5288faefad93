//! `GET /v1/tenant` (protocol 15).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_proto::api::tenants::Tenant;

use super::show_tenant;
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Reads the caller's own organisation: what it has set, and how much it has of what is limited.
#[utoipa::path(get, path = "/v1/tenant", tag = "tenant",
    responses((status = 200, description = "The caller's organisation", body = Tenant)))]
#[tracing::instrument(name = "http.tenant.show", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller) -> ApiResult<Json<Tenant>> {
    let details = app.store.tenant_details(caller.caller.tenant_id).await?;
    let details = details.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    Ok(Json(show_tenant(details)))
}
