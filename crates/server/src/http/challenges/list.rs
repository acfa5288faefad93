//! `GET /v1/challenges` (protocol 6.7).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    api_client::Scope,
    ports::{PageRequest, challenges::ChallengeFilter},
    text::Checker,
};
use countersign_proto::{
    api::{Page, challenges::Challenge},
    ids::{ChallengeId, DeviceId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    decisions::Viewer,
    http::{
        access::ApiCaller,
        body::StrictQuery,
        expiry,
        paging::{next_cursor, page},
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// Which challenges.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Of this user.
    external_id: Option<String>,
    /// Of this user (our id).
    user_id: Option<UserId>,
    /// Decided by this device, or its code is shown there.
    device_id: Option<DeviceId>,
    /// Ended for this reason.
    reason: Option<ChallengeReason>,
    /// In this status now.
    status: Option<ChallengeStatus>,
    /// Created after this time.
    created_after: Option<Timestamp>,
    /// Created before this time.
    created_before: Option<Timestamp>,
    /// From the previous page.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Lists challenges, newest first: those that the caller created; with `audit:read` all of the tenant.
#[utoipa::path(get, path = "/v1/challenges", tag = "challenges", params(Query),
    responses((status = 200, description = "A page of challenges, newest first", body = Page<Challenge>)))]
#[tracing::instrument(name = "http.challenges.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<Challenge>>> {
    let request: PageRequest<ChallengeId> = page(query.cursor.as_deref(), query.limit)?;
    let mut checker = Checker::default();
    let external_id = query.external_id.as_deref().map(|id| checker.external_id("/external_id", id));
    checker.finish().map_err(ApiError::invalid_members)?;
    let now = app.now();
    let own = caller.caller.client_id;
    let filter = ChallengeFilter {
        client_id: (!caller.holds(Scope::AuditRead)).then_some(own),
        external_id,
        user_id: query.user_id,
        device_id: query.device_id,
        reason: query.reason,
        status: query.status,
        created_after: query.created_after,
        created_before: query.created_before,
        now: Some(now),
    };
    let records = app.store.challenges(caller.caller.tenant_id, filter, request).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.facts.id);
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        let record = expiry::settle(&app, record).await?;
        let has_shown_enough = caller.caller.has_shown_enough_for_challenge(record.facts.policy.profile.is_some());
        let viewer = if record.facts.client_id == own && caller.holds(Scope::Challenges) && has_shown_enough {
            Viewer::Creator
        } else {
            Viewer::Auditor
        };
        items.push(app.decisions.show(&record, viewer, false, now)?);
    }
    Ok(Json(Page { items, next_cursor }))
}
