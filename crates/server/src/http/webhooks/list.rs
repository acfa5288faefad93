//! `GET /v1/webhooks` (protocol 13).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_proto::api::{Page, webhooks::Webhook};

use super::show_webhook;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    paging::{PageQuery, next_cursor, page},
    problem::ApiResult,
    state::App,
};

/// Lists the organisation's webhooks, newest first.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery),
    responses((status = 200, description = "A page of webhooks, newest first", body = Page<Webhook>)))]
#[tracing::instrument(name = "http.webhooks.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<PageQuery>,
) -> ApiResult<Json<Page<Webhook>>> {
    let request = page(query.cursor.as_deref(), query.limit)?;
    let records = app.store.webhooks(caller.caller.tenant_id, request).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.id);
    let items = records.into_iter().map(|record| show_webhook(&app, record)).collect::<ApiResult<_>>()?;
    Ok(Json(Page { items, next_cursor }))
}
