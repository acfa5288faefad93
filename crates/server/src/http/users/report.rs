//! `POST /v1/users/{id}/report` (protocol 9): somebody else tries to sign in as this user.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    policy::stricter::applicable,
    ports::users::{ReportUser, ReportUserOutcome},
};
use countersign_proto::{
    api::users::{ReportUser as Request, User},
    vocabulary::ReportReason,
};

use super::{parse, show_user};
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Ends the user's pending challenges and stops pushes for a while, as the organisation's policy says.
#[utoipa::path(post, path = "/v1/users/{id}/report", tag = "users", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 200, description = "The user, reported", body = User)))]
#[tracing::instrument(name = "http.users.report", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<User>> {
    let now = app.now();
    let id = parse(&id)?;
    let tenant = app.store.tenant(caller.caller.tenant_id).await?;
    let tenant = tenant.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    let (policy, _) = applicable(&tenant.policy, None);
    let command = ReportUser {
        stamp: caller.stamp(&app, now),
        id,
        reason: value.reason.unwrap_or(ReportReason::Other),
        quiet_seconds: policy.quiet_seconds_after_report,
        action: policy.on_report,
    };
    match app.store.report_user(command).await? {
        ReportUserOutcome::Reported { user, .. } => Ok(Json(show_user(*user, now))),
        ReportUserOutcome::NotFound => Err(ApiError::not_found()),
    }
}
