//! `PUT /v1/policy/applications/{name}` (protocol 9).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use countersign_core::policy::{Policy, PolicyOverrides, check};

use super::{current, put_in_force, reply, require_match};
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Says what an application asks for beyond the tenant's policy, for the challenges that are made from now on. None of it
/// may be weaker.
#[utoipa::path(put, path = "/v1/policy/applications/{name}", tag = "policy", request_body = PolicyOverrides,
    params(("name" = String, Path, description = "As in a challenge's `application`, percent-encoded; 1 to 64 characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the policy that was read")),
    responses((status = 200, description = "The overrides in force; their `ETag` is the policy's version", body = PolicyOverrides)))]
#[tracing::instrument(name = "http.policy.set_application", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(name): Path<String>,
    headers: HeaderMap,
    StrictJson { value: overrides, .. }: StrictJson<PolicyOverrides>,
) -> ApiResult<Response> {
    let before = current(&app, &caller).await?;
    require_match(&headers, before.version)?;
    check::overrides(&before, &name, &overrides).map_err(ApiError::invalid_members)?;
    let mut policy: Policy = before.clone();
    policy.applications.insert(name, overrides.clone());
    // Together they may be too many.
    check::policy(&policy).map_err(ApiError::invalid_members)?;
    let policy = put_in_force(&app, &caller, &before, policy).await?;
    reply(&overrides, policy.version)
}
