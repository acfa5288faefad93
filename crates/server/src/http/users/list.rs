//! `GET /v1/users` (protocol 10).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::text::Checker;
use countersign_proto::api::{Page, users::User};
use serde::Deserialize;
use utoipa::IntoParams;

use super::show_user;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    paging::{next_cursor, page},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The one with this id of the tenant's own.
    external_id: Option<String>,
    /// From the previous page.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Lists the tenant's users, newest first.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(Query),
    responses((status = 200, description = "A page of users, newest first", body = Page<User>)))]
#[tracing::instrument(name = "http.users.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<User>>> {
    let request = page(query.cursor.as_deref(), query.limit)?;
    let mut checker = Checker::default();
    let external_id = query.external_id.as_deref().map(|id| checker.external_id("/external_id", id));
    checker.finish().map_err(ApiError::invalid_members)?;
    let records = app.store.users(caller.caller.tenant_id, external_id.as_deref(), request).await?;
    let next_cursor = next_cursor(&records, request.limit, |record| record.name.id);
    let now = app.now();
    Ok(Json(Page { items: records.into_iter().map(|record| show_user(record, now)).collect(), next_cursor }))
}
