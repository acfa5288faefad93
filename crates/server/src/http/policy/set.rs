//! `PUT /v1/policy` (protocol 9).

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use countersign_core::policy::{Policy, check};

use super::{conflict, current, put_in_force, reply, require_match};
use crate::http::{
    access::ApiCaller,
    body::StrictJsonWithMembers,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Puts a policy in force as a whole, for the challenges that are made from now on: absent members get their defaults.
/// A `version`, or an `If-Match`, must be that of the policy in force. Without `applications` the overrides stay.
#[utoipa::path(put, path = "/v1/policy", tag = "policy", request_body = Policy,
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of the policy that this one was made from")),
    responses((status = 200, description = "The policy in force, with its new version", body = Policy)))]
#[tracing::instrument(name = "http.policy.set", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    headers: HeaderMap,
    StrictJsonWithMembers { value: mut policy, members }: StrictJsonWithMembers<Policy>,
) -> ApiResult<Response> {
    let before = current(&app, &caller).await?;
    require_match(&headers, before.version)?;
    if members.contains("version") && policy.version != before.version {
        return Err(conflict(before.version));
    }
    if !members.contains("applications") {
        policy.applications.clone_from(&before.applications);
    }
    check::policy(&policy).map_err(ApiError::invalid_members)?;
    let policy = put_in_force(&app, &caller, &before, policy).await?;
    reply(&policy, policy.version)
}
