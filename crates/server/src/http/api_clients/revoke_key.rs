//! `DELETE /v1/api-clients/{id}/keys/{key_id}` (protocol 15).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::api_clients::RevokeApiClientOutcome;
use countersign_proto::{
    api::api_clients::ApiKey,
    ids::{ApiClientId, ApiKeyId},
};

use super::show_key;
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Revokes one key of an API client: once this has returned it is refused on every node, and nothing by it commits.
/// Repeated: the same.
#[utoipa::path(delete, path = "/v1/api-clients/{id}/keys/{key_id}", tag = "api-clients",
    params(("id" = String, Path), ("key_id" = String, Path)),
    responses((status = 200, description = "The key, revoked", body = ApiKey)))]
#[tracing::instrument(name = "http.api_clients.revoke_key", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path((id, key_id)): Path<(String, String)>,
) -> ApiResult<Json<ApiKey>> {
    let id: ApiClientId = id.parse().map_err(|_| ApiError::not_found())?;
    let key_id: ApiKeyId = key_id.parse().map_err(|_| ApiError::not_found())?;
    let now = app.now();
    match app.store.revoke_api_key(caller.stamp(&app, now), id, key_id).await? {
        RevokeApiClientOutcome::Revoked | RevokeApiClientOutcome::AlreadyRevoked => {}
        RevokeApiClientOutcome::NotFound => return Err(ApiError::not_found()),
    }
    let keys = app.store.api_keys(caller.caller.tenant_id, id).await?;
    let key = keys.iter().find(|key| key.id == key_id).ok_or_else(ApiError::not_found)?;
    Ok(Json(show_key(key, now)))
}
