//! `GET /readyz`: the database takes a durable write, its migrations are ours, the signing key signs.

use std::sync::Arc;

use axum::extract::State;
use countersign_proto::problem::ProblemType;

use crate::http::{
    problem::{ApiError, ApiResult},
    state::App,
};

/// Ready for traffic. 503 while the database refuses writes and from the moment the server begins to stop.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, description = "`ready`", body = String)))]
#[tracing::instrument(name = "http.health.ready", skip_all)]
pub async fn handle(State(app): State<Arc<App>>) -> ApiResult<&'static str> {
    if app.waiters.is_stopping() {
        return Err(ApiError::new(ProblemType::Unavailable).retry_after(5).saying("The server is stopping."));
    }
    app.store.check_ready(app.now()).await?;
    app.keys.check_signing()?;
    Ok("ready\n")
}
