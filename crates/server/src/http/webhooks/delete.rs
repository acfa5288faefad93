//! `DELETE /v1/webhooks/{id}` (protocol 13).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};

use super::parse;
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Deletes a webhook, with all that it has not been told yet.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone")))]
#[tracing::instrument(name = "http.webhooks.delete", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller, Path(id): Path<String>) -> ApiResult<StatusCode> {
    match app.store.delete_webhook(caller.stamp(&app, app.now()), parse(&id)?).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found()),
    }
}
