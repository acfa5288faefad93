//! `GET /v1/users` (protocol 10): all users, the one with an id, those whose id begins so, or those in a state.
//!
//! One of these at a time: each is one range of an index, so that a page costs the same in an organisation of any size.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    ports::users::{UserFilter, UserRecord},
    text::Checker,
};
use countersign_proto::{
    api::{Page, users::User},
    ids::TenantId,
    jose::base64url,
    vocabulary::UserState,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::show_user;
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    paging::{next_cursor, page, page_limit},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Which users: all, or one of the first three.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The one with this id of the tenant's own.
    external_id: Option<String>,
    /// Those whose `external_id` begins with these 1 to 255 characters, case-sensitive; in its order, byte by byte.
    #[param(min_length = 1, max_length = 255)]
    q: Option<String>,
    /// Those in this state now.
    #[param(inline)]
    state: Option<UserState>,
    /// From the previous page.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Lists the tenant's users, newest first; with `q` in the order of their ids.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(Query),
    responses((status = 200, description = "A page of users", body = Page<User>)))]
#[tracing::instrument(name = "http.users.list", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Page<User>>> {
    require_one(&query)?;
    let tenant_id = caller.caller.tenant_id;
    let now = app.now();
    let (records, next_cursor) = match &query.q {
        Some(prefix) => by_prefix(&app, tenant_id, prefix, &query).await?,
        None => {
            let request = page(query.cursor.as_deref(), query.limit)?;
            let mut checker = Checker::default();
            let filter = match (&query.external_id, query.state) {
                (Some(id), _) => UserFilter::ExternalId(checker.external_id("/external_id", id)),
                (None, Some(state)) => UserFilter::In(state, now),
                (None, None) => UserFilter::All,
            };
            checker.finish().map_err(ApiError::invalid_members)?;
            let records = app.store.users(tenant_id, filter, request).await?;
            let next_cursor = next_cursor(&records, request.limit, |record| record.name.id);
            (records, next_cursor)
        }
    };
    Ok(Json(Page { items: records.into_iter().map(|record| show_user(record, now)).collect(), next_cursor }))
}

/// Of two, the second would be looked for among all that the first finds.
fn require_one(query: &Query) -> ApiResult<()> {
    let given =
        [("/external_id", query.external_id.is_some()), ("/q", query.q.is_some()), ("/state", query.state.is_some())];
    match given.iter().filter(|(_, is_given)| *is_given).nth(1) {
        Some((second, _)) => Err(ApiError::invalid(second, "only one of `external_id`, `q` and `state`")),
        None => Ok(()),
    }
}

/// The cursor is the last id itself, encoded: it leads on also when that user is gone by then.
async fn by_prefix(
    app: &App,
    tenant_id: TenantId,
    prefix: &str,
    query: &Query,
) -> ApiResult<(Vec<UserRecord>, Option<String>)> {
    let limit = page_limit(query.limit)?;
    let mut checker = Checker::default();
    if prefix.starts_with(char::is_whitespace) {
        checker.refuse("/q", "must not begin with white space: no id does");
    }
    let prefix = checker.text("/q", prefix, 1, 255);
    checker.finish().map_err(ApiError::invalid_members)?;
    let after = query.cursor.as_deref().map(|cursor| after(cursor, &prefix)).transpose()?;
    let records = app.store.users_by_prefix(tenant_id, &prefix, after.as_deref(), limit).await?;
    let next_cursor = next_cursor(&records, limit, |record| base64url::encode(&record.name.external_id));
    Ok((records, next_cursor))
}

fn after(cursor: &str, prefix: &str) -> ApiResult<String> {
    let bytes = base64url::decode(cursor);
    let id = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|id| id.starts_with(prefix));
    // What no id of this list is, the database is not asked for.
    let is_id = |id: &String| {
        let mut checker = Checker::default();
        checker.external_id("/cursor", id) == *id && checker.finish().is_ok()
    };
    id.filter(is_id).ok_or_else(|| ApiError::invalid("/cursor", "is not a cursor of this list"))
}
