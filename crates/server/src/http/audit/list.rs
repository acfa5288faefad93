//! `GET /v1/audit`: the log by its particulars, oldest first.
//!
//! Goes through a bounded number of events for each request, so that a page costs the same in a log of any length. Few of
//! many may be asked for: a page may be short, or empty, and still lead on.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    event::EventKind,
    limits::MAX_PAGE,
    ports::audit::{AuditFilter, AuditPortion},
};
use countersign_proto::{
    api::{Page, events::Event},
    timestamp::Timestamp,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    audit::shown,
    http::{
        access::ApiCaller,
        body::StrictQuery,
        events::list::{parse_cursor, require_known},
        paging::page_limit,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// Events that a request goes through at most.
const LOOKED_THROUGH: i64 = 10_000;

/// Which events; all of what is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// What happened, for example `challenge.approved`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Who did it.
    actor_id: Option<String>,
    /// The user concerned.
    user_id: Option<String>,
    /// The device concerned.
    device_id: Option<String>,
    /// The challenge concerned.
    challenge_id: Option<String>,
    /// The API client concerned.
    api_client_id: Option<String>,
    /// From this time on (RFC 3339).
    from: Option<String>,
    /// Before this time (RFC 3339).
    to: Option<String>,
    /// From the previous page.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

impl Query {
    fn filter(&self) -> ApiResult<AuditFilter> {
        let kind = self.kind.as_deref().map(|word| {
            let kind = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            kind.ok_or_else(|| ApiError::invalid("/type", "is not a type of event"))
        });
        Ok(AuditFilter {
            kind: kind.transpose()?,
            actor_id: self.actor_id.clone(),
            user_id: id(self.user_id.as_deref(), "/user_id")?,
            device_id: id(self.device_id.as_deref(), "/device_id")?,
            challenge_id: id(self.challenge_id.as_deref(), "/challenge_id")?,
            api_client_id: id(self.api_client_id.as_deref(), "/api_client_id")?,
            from: time(self.from.as_deref(), "/from")?,
            to: time(self.to.as_deref(), "/to")?,
        })
    }
}

fn id<I: std::str::FromStr>(text: Option<&str>, pointer: &str) -> ApiResult<Option<I>> {
    text.map(str::parse).transpose().map_err(|_| ApiError::invalid(pointer, "is not an id"))
}

fn time(text: Option<&str>, pointer: &str) -> ApiResult<Option<Timestamp>> {
    let parse = |text: &str| serde_json::from_value(serde_json::Value::String(text.to_owned()));
    text.map(parse).transpose().map_err(|_| ApiError::invalid(pointer, "is not an RFC 3339 time"))
}

/// Reads the log, oldest first. A page may be short and still have a `next_cursor`; the last one has none.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Query),
    responses((status = 200, description = "A page of events, oldest first", body = Page<Event>)))]
#[tracing::instrument(name = "http.audit.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<Event>>> {
    let filter = query.filter()?;
    let after = query.cursor.as_deref().map_or(Some(0), parse_cursor);
    let after = after.ok_or_else(|| ApiError::invalid("/cursor", "is not a cursor of this list"))?;
    let limit = page_limit(query.limit)?;
    let tenant_id = caller.caller.tenant_id;
    // As `GET /v1/events`: a reader sees its own writes.
    while app.store.position_events(tenant_id, MAX_PAGE).await? >= u64::from(MAX_PAGE) {}
    require_known(&app, tenant_id, after, true).await?;
    let end = app.store.audit_head(tenant_id).await?.map_or(0, |head| head.positioned);
    let through = after.saturating_add(LOOKED_THROUGH);
    let records = app.store.audit_events(tenant_id, filter, AuditPortion { after, through, limit }).await?;
    let is_full = u32::try_from(records.len()).is_ok_and(|length| length >= limit);
    let looked_at = match records.last() {
        Some(last) if is_full => last.position,
        _ => through,
    };
    let next_cursor = (looked_at < end).then(|| looked_at.to_string());
    Ok(Json(Page { items: records.into_iter().map(shown).collect(), next_cursor }))
}
