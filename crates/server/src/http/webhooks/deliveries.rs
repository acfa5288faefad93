//! `GET /v1/webhooks/{id}/deliveries` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::webhook::DeliveryStatus;
use countersign_proto::api::{Page, webhooks::WebhookDelivery};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{find, parse, show_delivery};
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    paging::{next_cursor, page},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `pending`, `delivered` or `failed`; all if absent.
    status: Option<String>,
    /// From the previous page.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Lists what a webhook was told, or is to be told, newest first, with the attempts.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), Query),
    responses((status = 200, description = "A page of messages, newest first", body = Page<WebhookDelivery>)))]
#[tracing::instrument(name = "http.webhooks.deliveries", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<WebhookDelivery>>> {
    let id = parse(&id)?;
    find(&app, &caller, id).await?;
    let request = page(query.cursor.as_deref(), query.limit)?;
    let status = query.status.as_deref().map(parse_status).transpose()?;
    let records = app.store.webhook_deliveries(caller.caller.tenant_id, id, status, request).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.id);
    Ok(Json(Page { items: records.into_iter().map(show_delivery).collect(), next_cursor }))
}

fn parse_status(word: &str) -> ApiResult<DeliveryStatus> {
    let status = DeliveryStatus::ALL.into_iter().find(|status| status.as_str() == word);
    status.ok_or_else(|| ApiError::invalid("/status", "must be `pending`, `delivered` or `failed`"))
}
