//! `GET /v1/users/{id}/timeline` (protocol 10.8): what happened to a user, newest first.
//!
//! Ids, digests and fixed words, as in the log: two lists that are sorted alike, merged a page at a time.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::users::{Happened, TimelineEntry as Record};
use countersign_proto::{
    api::{Page, events::EventActor, users::TimelineEntry},
    ids::{ChallengeId, EventId, TenantId},
    vocabulary::{ChallengeStatus, Word as _},
};

use super::parse;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    expiry,
    paging::{PageQuery, next_cursor, page},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Lists what happened to a user, newest first: events, and challenges as they are by now.
#[utoipa::path(get, path = "/v1/users/{id}/timeline", tag = "users", params(("id" = String, Path), PageQuery),
    responses((status = 200, description = "A page of entries, newest first", body = Page<TimelineEntry>)))]
#[tracing::instrument(name = "http.users.timeline", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictQuery(query): StrictQuery<PageQuery>,
) -> ApiResult<Json<Page<TimelineEntry>>> {
    let tenant_id = caller.caller.tenant_id;
    let request = page::<EventId>(query.cursor.as_deref(), query.limit)?;
    let user = app.store.user(tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    let before = request.before.map(|id| id.as_uuid());
    let records = app.store.timeline(tenant_id, user.name.id, before, request.limit).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.id);
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        items.push(show(settle(&app, tenant_id, record).await?));
    }
    Ok(Json(Page { items, next_cursor }))
}

/// A challenge whose time is up has ended by the time anybody reads so.
async fn settle(app: &App, tenant_id: TenantId, mut record: Record) -> ApiResult<Record> {
    let id = ChallengeId::from_uuid(record.id);
    if let Happened::Challenge { status, reason, expires_at, decided_at, device_id, .. } = &mut record.what
        && *status == ChallengeStatus::Pending
        && app.now() >= *expires_at
    {
        let settled = expiry::settled(app, tenant_id, id).await?;
        (*status, *reason, *decided_at) = (settled.status, settled.reason, settled.decided_at);
        *device_id = settled.device.map(|device| device.id);
    }
    Ok(record)
}

/// The entry as callers see it.
fn show(record: Record) -> TimelineEntry {
    let mut entry = TimelineEntry {
        id: record.id.to_string(),
        kind: String::new(),
        created_at: record.at,
        ended_at: None,
        reason: None,
        challenge_id: None,
        api_client_id: None,
        device_id: None,
        enrollment_id: None,
        actor: None,
        data: None,
    };
    match record.what {
        Happened::Event { kind, actor_kind, actor_id, device_id, enrollment_id, body } => {
            kind.as_str().clone_into(&mut entry.kind);
            entry.device_id = device_id;
            entry.enrollment_id = enrollment_id;
            entry.actor = Some(EventActor { kind: actor_kind, id: actor_id });
            entry.data = Some(body);
        }
        Happened::Challenge { status, reason, expires_at, decided_at, client_id, device_id } => {
            entry.kind = match status {
                ChallengeStatus::Pending => "challenge.created".to_owned(),
                ended => format!("challenge.{}", ended.as_str()),
            };
            entry.ended_at = match status {
                ChallengeStatus::Pending => None,
                ChallengeStatus::Expired => Some(expires_at),
                _ => decided_at,
            };
            entry.reason = reason;
            entry.challenge_id = Some(ChallengeId::from_uuid(record.id));
            entry.api_client_id = Some(client_id);
            entry.device_id = device_id;
        }
    }
    entry
}
