//! `GET /v1/events`: oldest first, so that a reader can follow the log.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::limits::MAX_PAGE;
use countersign_proto::{
    api::{Page, events::Event},
    ids::TenantId,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    audit::shown,
    http::{
        access::ApiCaller,
        body::StrictQuery,
        paging::page_limit,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// From where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// From the previous page; absent: from the beginning.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Reads the tenant's log, oldest first. `next_cursor` is always there: ask again with it for what comes next.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Query),
    responses((status = 200, description = "A page of events, oldest first", body = Page<Event>)))]
#[tracing::instrument(name = "http.events.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<Event>>> {
    let after = match query.cursor.as_deref() {
        None => 0,
        Some(cursor) => {
            parse_cursor(cursor).ok_or_else(|| ApiError::invalid("/cursor", "is not a cursor of this list"))?
        }
    };
    let limit = page_limit(query.limit)?;
    let tenant_id = caller.caller.tenant_id;
    // Whatever is committed by now gets its position now, so that a reader sees its own writes.
    while app.store.position_events(tenant_id, MAX_PAGE).await? >= u64::from(MAX_PAGE) {}
    let records = app.store.events(tenant_id, after, limit).await?;
    require_known(&app, tenant_id, after, records.is_empty()).await?;
    let last = records.last().map_or(after, |record| record.position);
    let items = records.into_iter().map(shown).collect();
    Ok(Json(Page { items, next_cursor: Some(last.to_string()) }))
}

/// Refuses a cursor beyond the end: an older database was put back, and whoever went on from there would miss, without a
/// sign, what has got the lost positions since.
///
/// # Errors
/// 422.
pub async fn require_known(app: &App, tenant_id: TenantId, cursor: i64, is_at_end: bool) -> ApiResult<()> {
    if !is_at_end || cursor == 0 {
        return Ok(());
    }
    let end = app.store.audit_head(tenant_id).await?.map_or(0, |head| head.positioned);
    if cursor > end {
        return Err(ApiError::invalid(
            "/cursor",
            "is beyond the end: the log was put back, find `database.restored` in it",
        ));
    }
    Ok(())
}

/// One spelling per cursor: digits without a sign or leading zeros.
pub fn parse_cursor(cursor: &str) -> Option<i64> {
    let position: i64 = cursor.parse().ok()?;
    (position >= 0 && position.to_string() == cursor).then_some(position)
}
