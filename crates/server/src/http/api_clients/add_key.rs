//! `POST /v1/api-clients/{id}/keys` (protocol 15).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use countersign_core::{
    api_client::MAX_LIVE_KEYS,
    ports::api_clients::{AddApiKey, AddApiKeyOutcome},
};
use countersign_proto::{
    api::api_clients::{AddApiKey as Request, ApiKeyCreated},
    problem::ProblemType,
};

use super::{MadeKey, key_known, parse};
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Gives an API client one more key, at most two live ones of a sort: the next one is there before the old one goes.
#[utoipa::path(post, path = "/v1/api-clients/{id}/keys", tag = "api-clients", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 201, description = "The key; the only reply that carries the secret", body = ApiKeyCreated)))]
#[tracing::instrument(name = "http.api_clients.add_key", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<(StatusCode, Json<ApiKeyCreated>)> {
    let client_id = parse(&id)?;
    let now = app.now();
    let whose = (caller.caller.tenant_id, client_id);
    let key = MadeKey::make(&app, whose, value.public_key.as_ref(), value.expires_in_days, now)?;
    let command = AddApiKey { stamp: caller.stamp(&app, now), client_id, key: key.stored.clone() };
    match app.store.add_api_key(command).await? {
        AddApiKeyOutcome::Added => {}
        AddApiKeyOutcome::NotFound => return Err(ApiError::not_found()),
        AddApiKeyOutcome::KeyKnown => return Err(key_known()),
        AddApiKeyOutcome::TooMany => {
            let problem = ApiError::new(ProblemType::QuotaExceeded);
            return Err(problem.with("quota", "live_keys_of_a_sort").with("limit", MAX_LIVE_KEYS));
        }
    }
    Ok((StatusCode::CREATED, Json(ApiKeyCreated { key: key.show(now), api_key: key.reveal() })))
}
