//! `GET /v1/users/{id}` (protocol 10).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::users::User;

use super::{parse, show_user};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Reads a user.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "The user", body = User)))]
#[tracing::instrument(name = "http.users.show", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Json<User>> {
    let record = app.store.user(caller.caller.tenant_id, parse(&id)?).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(show_user(record, app.now())))
}
