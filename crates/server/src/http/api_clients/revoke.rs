//! `DELETE /v1/api-clients/{id}` (protocol 15).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::api_clients::RevokeApiClientOutcome;
use countersign_proto::api::api_clients::ApiClient;

use super::{parse, show_client};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Revokes an API client with all its keys: once this has returned they are refused on every node, and nothing of the
/// client's commits. Repeated: the same.
#[utoipa::path(delete, path = "/v1/api-clients/{id}", tag = "api-clients", params(("id" = String, Path)),
    responses((status = 200, description = "The client, revoked", body = ApiClient)))]
#[tracing::instrument(name = "http.api_clients.revoke", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<ApiClient>> {
    let id = parse(&id)?;
    match app.store.revoke_api_client(caller.stamp(&app, app.now()), id).await? {
        RevokeApiClientOutcome::Revoked | RevokeApiClientOutcome::AlreadyRevoked => {}
        RevokeApiClientOutcome::NotFound => return Err(ApiError::not_found()),
    }
    let client = app.store.api_client(caller.caller.tenant_id, id).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(show_client(client, None)))
}
