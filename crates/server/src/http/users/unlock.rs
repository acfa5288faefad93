//! `POST /v1/users/{id}/unlock` (protocol 9).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::users::UnlockOutcome;
use countersign_proto::api::users::User;

use super::{parse, show_user};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Ends a lock and sets the count of wrong numbers to 0. Repeated, the same answer.
#[utoipa::path(post, path = "/v1/users/{id}/unlock", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "The user, not locked", body = User)))]
#[tracing::instrument(name = "http.users.unlock", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Json<User>> {
    let now = app.now();
    match app.store.unlock_user(caller.stamp(&app, now), parse(&id)?).await? {
        UnlockOutcome::Unlocked(record) | UnlockOutcome::NotLocked(record) => Ok(Json(show_user(record, now))),
        UnlockOutcome::NotFound => Err(ApiError::not_found()),
    }
}
