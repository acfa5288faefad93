//! `DELETE /v1/users/{id}` (protocol 10.8): the person is forgotten.
//!
//! Answers when nothing is left: not in a table, not in this process's memory, and on SQLite not in a file. Whoever goes
//! away before the answer loses only the answer: the erasure is finished by a worker, and may be asked for again.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use countersign_core::ports::users::{EraseUserOutcome, Erasure};
use countersign_proto::problem::ProblemType;

use super::parse;
use crate::{
    http::{
        access::ApiCaller,
        problem::{ApiError, ApiResult},
        state::App,
    },
    worker,
};

/// Erases a user. From then on unknown: repeated, 404.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 204, description = "Erased")))]
#[tracing::instrument(name = "http.users.erase", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let user_id = parse(&id)?;
    let stamp = caller.stamp(&app, app.now());
    let tenant_id = stamp.tenant_id;
    match app.store.erase_user(stamp, user_id).await? {
        EraseUserOutcome::Begun | EraseUserOutcome::Unfinished => {}
        EraseUserOutcome::NotFound => return Err(ApiError::not_found()),
    }
    match worker::erase::complete(&app, Erasure { tenant_id, user_id }).await? {
        true => Ok(StatusCode::NO_CONTENT),
        // Begun, and soon finished; not acknowledged yet.
        false => Err(ApiError::new(ProblemType::Unavailable).retry_after(1).because("the files are being read")),
    }
}
