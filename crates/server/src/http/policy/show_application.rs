//! `GET /v1/policy/applications/{name}` (protocol 9).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use countersign_core::policy::PolicyOverrides;

use super::{current, reply};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// What an application asks for beyond the tenant's policy.
#[utoipa::path(get, path = "/v1/policy/applications/{name}", tag = "policy",
    params(("name" = String, Path, description = "As in a challenge's `application`, percent-encoded")),
    responses((status = 200, description = "The overrides; their `ETag` is the policy's version", body = PolicyOverrides)))]
#[tracing::instrument(name = "http.policy.show_application", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(name): Path<String>) -> ApiResult<Response> {
    let policy = current(&app, &caller).await?;
    let overrides = policy.applications.get(&name).ok_or_else(ApiError::not_found)?;
    reply(overrides, policy.version)
}
