//! `GET /v1/api-clients` (protocol 15).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_proto::api::{Page, api_clients::ApiClient};

use super::show_client;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    paging::{PageQuery, next_cursor, page},
    problem::ApiResult,
    state::App,
};

/// Lists the organisation's API clients, newest first, revoked ones included, without their keys.
#[utoipa::path(get, path = "/v1/api-clients", tag = "api-clients", params(PageQuery),
    responses((status = 200, description = "A page of API clients, newest first", body = Page<ApiClient>)))]
#[tracing::instrument(name = "http.api_clients.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<PageQuery>,
) -> ApiResult<Json<Page<ApiClient>>> {
    let request = page(query.cursor.as_deref(), query.limit)?;
    let clients = app.store.api_clients(caller.caller.tenant_id, request).await?;
    let next_cursor = next_cursor(&clients, request.limit, |client| client.id);
    Ok(Json(Page { items: clients.into_iter().map(|client| show_client(client, None)).collect(), next_cursor }))
}
