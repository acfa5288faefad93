//! `GET /v1/users/{id}/methods` (protocol 10.8): in which ways a user may approve, and whether each would work now.
//!
//! Says what the next challenge would find; decides nothing. To add a sort of method: its kind in proto's `MethodKind`,
//! its entries here.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    device::{DeviceRecord, DeviceVersions, is_dormant},
    policy::{
        Policy,
        devices::{self, DeviceStanding},
        stricter,
    },
    ports::{PageRequest, devices::DeviceFilter, users::UserRecord},
};
use countersign_proto::{
    api::users::{Method, MethodKind, MethodState, Methods},
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, EnrollmentPurpose, PushChannel},
};

use super::parse;
use crate::http::{
    access::ApiCaller,
    devices::{show_device, show_push_health},
    problem::{ApiError, ApiResult},
    state::App,
};

/// More than a user may have: the policy allows at most 100, and revoked ones are not asked for.
const AT_MOST: u32 = 200;

/// Lists the ways in which a user may approve.
#[utoipa::path(get, path = "/v1/users/{id}/methods", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "The user's methods, newest first", body = Methods)))]
#[tracing::instrument(name = "http.users.methods", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<Methods>> {
    let tenant_id = caller.caller.tenant_id;
    let user = app.store.user(tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    let policy = stricter::bound(&tenant.policy);
    let now = app.now();
    let mut methods = Vec::new();
    // By status: revoked registrations may be any number.
    for status in [DeviceStatus::Active, DeviceStatus::PendingConfirmation, DeviceStatus::Suspended] {
        let filter = DeviceFilter { user_id: Some(user.name.id), status: Some(status), ..DeviceFilter::default() };
        let records = app.store.devices(tenant_id, filter, PageRequest { before: None, limit: AT_MOST }).await?;
        let answers = records.into_iter().filter(|record| record.purpose == EnrollmentPurpose::Approval);
        methods.extend(answers.map(|record| (record.id, method(record, &user, &policy, now))));
    }
    methods.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    Ok(Json(Methods { methods: methods.into_iter().map(|(_, method)| method).collect() }))
}

fn method(record: DeviceRecord, user: &UserRecord, policy: &Policy, now: Timestamp) -> Method {
    let versions = DeviceVersions {
        platform: record.description.platform,
        app_version: record.description.app_version.clone(),
        os_version: record.description.os_version.clone(),
    };
    let update = devices::update_state(&policy.device_requirements, &versions);
    let is_dormant = is_dormant(record.last_used_at(), policy.dormant_after_days, now);
    let rings = record.push_channel != PushChannel::None
        && !record.push_token_gone
        && record.push_undeliverable.is_none()
        && policy.allow_push;
    let state = match record.status {
        DeviceStatus::PendingConfirmation => MethodState::PendingConfirmation,
        DeviceStatus::Suspended | DeviceStatus::Revoked => MethodState::Suspended,
        DeviceStatus::Active if is_dormant => MethodState::Dormant,
        DeviceStatus::Active if rings => MethodState::Usable,
        DeviceStatus::Active => MethodState::PullOnly,
    };
    let standing = DeviceStanding {
        id: record.id,
        user: record.user.clone(),
        name: String::new(),
        versions,
        has_uv_key: record.has_uv_key,
        push_token_gone: record.push_token_gone,
        is_push_undeliverable: record.push_undeliverable.is_some(),
        activated_at: record.activated_at,
        last_decision_at: record.push_health.answered_at,
        last_pull_at: record.push_health.pulled_at,
        reported_at: user.reported.map(|report| report.at),
        locked_until: user.locked_until,
    };
    let push_health = Some(show_push_health(&record, now));
    let age_seconds = record.activated_at.map(|at| now.as_seconds() - at.as_seconds());
    let mut device = show_device(record, now);
    device.push_health = push_health;
    device.dormant = is_dormant.then_some(true);
    Method {
        kind: MethodKind::Push,
        state,
        device: Some(device),
        age_seconds,
        update: Some(update),
        risks: devices::risks(policy, &standing, now),
    }
}
