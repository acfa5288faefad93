//! `GET /v1/audit/checkpoint`: the signed head of the log, C2SP tlog-checkpoint.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};

use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// The signed checkpoint over all that has happened until now.
#[utoipa::path(get, path = "/v1/audit/checkpoint", tag = "audit",
    responses((status = 200, description = "The checkpoint", content_type = "text/plain", body = String)))]
#[tracing::instrument(name = "http.audit.checkpoint", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller) -> ApiResult<Response> {
    let head = app.audit.newest(caller.caller.tenant_id, app.now()).await?;
    // Its own API client is an event, so that there is one.
    let head = head.ok_or_else(|| ApiError::internal("a log without events"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], head.note).into_response())
}
