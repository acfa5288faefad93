//! `GET /v1/api-clients/{id}` (protocol 15).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::api_clients::ApiClient;

use super::{parse, with_keys};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Reads an API client with its keys: what sort, how old, when last used. Never a secret.
#[utoipa::path(get, path = "/v1/api-clients/{id}", tag = "api-clients", params(("id" = String, Path)),
    responses((status = 200, description = "The client", body = ApiClient)))]
#[tracing::instrument(name = "http.api_clients.show", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<ApiClient>> {
    let client = app.store.api_client(caller.caller.tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(with_keys(&app, client).await?))
}
