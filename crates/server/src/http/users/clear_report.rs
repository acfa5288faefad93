//! `DELETE /v1/users/{id}/report` (protocol 9): an administrator has looked into it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::users::ClearReportOutcome;
use countersign_proto::api::users::User;

use super::{parse, show_user};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Clears a report of fraud, with the stop of pushes and the lock that came with it. Repeated, the same answer.
#[utoipa::path(delete, path = "/v1/users/{id}/report", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "The user, not reported", body = User)))]
#[tracing::instrument(name = "http.users.clear_report", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<Json<User>> {
    let now = app.now();
    match app.store.clear_report(caller.stamp(&app, now), parse(&id)?).await? {
        ClearReportOutcome::Cleared(record) | ClearReportOutcome::NotReported(record) => {
            Ok(Json(show_user(record, now)))
        }
        ClearReportOutcome::NotFound => Err(ApiError::not_found()),
    }
}
