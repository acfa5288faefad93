//! `GET /v1/enrollments/{id}` (protocol 4.4).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::enrollments::Enrollment;

use super::{find, parse, show_enrollment};
use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

/// Reads an enrollment.
#[utoipa::path(get, path = "/v1/enrollments/{id}", tag = "enrollments", params(("id" = String, Path)),
    responses((status = 200, description = "The enrollment", body = Enrollment)))]
#[tracing::instrument(name = "http.enrollments.show", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<Enrollment>> {
    let record = find(&app, &caller, parse(&id)?).await?;
    Ok(Json(show_enrollment(record, app.now())))
}
