//! `/v1/policy`: what an organisation asks of approvals (protocol 9).
//!
//! A change that names the version it was made from is in force only if that version still is: two administrators who
//! do so never overwrite each other unseen. It holds for the challenges that are made from then on.
//! To add a member: see `countersign_core::policy`; nothing here knows them.

pub mod dry_run;
pub mod remove_application;
pub mod set;
pub mod set_application;
pub mod show;
pub mod show_application;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use countersign_core::{
    policy::Policy,
    ports::tenants::{SetPolicy, SetPolicyOutcome},
};
use countersign_proto::problem::ProblemType;
use serde::Serialize;

use super::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// The policy in force.
async fn current(app: &App, caller: &ApiCaller) -> ApiResult<Policy> {
    let tenant = app.store.tenant(caller.caller.tenant_id).await?;
    tenant.map(|tenant| tenant.policy).ok_or_else(|| ApiError::internal("the caller's tenant is gone"))
}

/// Puts `policy` in the place of `before`; returns it as it is in force.
async fn put_in_force(app: &App, caller: &ApiCaller, before: &Policy, policy: Policy) -> ApiResult<Policy> {
    let command = SetPolicy::new(caller.stamp(app, app.now()), before, policy);
    let policy = command.policy.clone();
    match app.store.set_policy(command).await? {
        SetPolicyOutcome::Set => Ok(policy),
        SetPolicyOutcome::Conflict { version } => Err(conflict(version)),
        SetPolicyOutcome::NotFound => Err(ApiError::internal("the caller's tenant is gone")),
    }
}

/// 412, with the version that is in force.
fn conflict(version: u32) -> ApiError {
    ApiError::new(ProblemType::PolicyVersionConflict).with("policy_version", version)
}

/// Requires that `If-Match`, if it is there, names the version in force (RFC 9110 §13.1.1: strongly compared).
fn require_match(headers: &HeaderMap, version: u32) -> ApiResult<()> {
    let tag = etag(version);
    let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let tags = given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    let mut matching = tags.filter(|given| *given == "*" || *given == tag);
    if matching.next().is_some() { Ok(()) } else { Err(conflict(version)) }
}

fn etag(version: u32) -> String {
    format!("\"{version}\"")
}

/// A reply that belongs to a version.
fn reply(body: &impl Serialize, version: u32) -> ApiResult<Response> {
    let tag = HeaderValue::from_str(&etag(version)).map_err(|_| ApiError::internal("an ETag is no header"))?;
    Ok(([(header::ETAG, tag)], Json(body)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::IF_MATCH, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_condition_holds_if_it_names_the_version_in_force() {
        for holds in [&[][..], &["\"3\""], &["*"], &["\"2\", \"3\""], &["\"2\"", "\"3\""]] {
            assert!(require_match(&given(holds), 3).is_ok(), "{holds:?}");
        }
        for fails in [&["\"2\""][..], &["3"], &["W/\"3\""], &[""], &["\"33\""]] {
            assert!(require_match(&given(fails), 3).is_err(), "{fails:?}");
        }
    }
}
