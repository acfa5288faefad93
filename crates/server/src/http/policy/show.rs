//! `GET /v1/policy` (protocol 9).

use std::sync::Arc;

use axum::{extract::State, response::Response};
use countersign_core::policy::Policy;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{current, reply};
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Which policy.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// One that was in force earlier; absent: the one in force.
    version: Option<u32>,
}

/// The policy in force, with all applications' overrides, or an earlier one.
#[utoipa::path(get, path = "/v1/policy", tag = "policy", params(Query),
    responses((status = 200, description = "The policy; its `ETag` is its version", body = Policy)))]
#[tracing::instrument(name = "http.policy.show", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Response> {
    let policy = match query.version {
        None => current(&app, &caller).await?,
        Some(version) => {
            let policy = app.store.policy_version(caller.caller.tenant_id, version).await?;
            policy.ok_or_else(ApiError::not_found)?
        }
    };
    reply(&policy, policy.version)
}
