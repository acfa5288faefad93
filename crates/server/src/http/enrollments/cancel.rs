//! `POST /v1/enrollments/{id}/cancel` (protocol 4.4).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::enrollments::CancelEnrollmentOutcome;
use countersign_proto::api::enrollments::Enrollment;

use super::{find, parse, show_enrollment};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Cancels an enrollment that is not completed; a device that claimed it is deleted. Repeated, the same answer.
#[utoipa::path(post, path = "/v1/enrollments/{id}/cancel", tag = "enrollments", params(("id" = String, Path)),
    responses((status = 200, description = "The cancelled enrollment", body = Enrollment)))]
#[tracing::instrument(name = "http.enrollments.cancel", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<Enrollment>> {
    let id = parse(&id)?;
    let now = app.now();
    match app.store.cancel_enrollment(caller.stamp(&app, now), id).await? {
        CancelEnrollmentOutcome::Cancelled | CancelEnrollmentOutcome::AlreadyCancelled => {
            Ok(Json(show_enrollment(find(&app, &caller, id).await?, now)))
        }
        CancelEnrollmentOutcome::Closed(status) => Err(ApiError::enrollment_closed(status)),
        CancelEnrollmentOutcome::NotFound => Err(ApiError::not_found()),
    }
}
