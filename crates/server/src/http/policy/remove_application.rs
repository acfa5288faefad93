//! `DELETE /v1/policy/applications/{name}` (protocol 9).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};

use super::{current, put_in_force, require_match};
use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

/// Lets an application ask for no more than the tenant's policy, for the challenges that are made from now on. Repeated,
/// or where there is nothing: the same answer.
#[utoipa::path(delete, path = "/v1/policy/applications/{name}", tag = "policy",
    params(("name" = String, Path, description = "As in a challenge's `application`, percent-encoded"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the policy that was read")),
    responses((status = 204, description = "The application has no overrides")))]
#[tracing::instrument(name = "http.policy.remove_application", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult<StatusCode> {
    let before = current(&app, &caller).await?;
    require_match(&headers, before.version)?;
    let mut policy = before.clone();
    if policy.applications.remove(&name).is_some() {
        put_in_force(&app, &caller, &before, policy).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
