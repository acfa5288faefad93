//! `POST /v1/challenges/{id}/cancel` (protocol 6.6).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::challenges::{Close, CloseChallenge, CloseOutcome};
use countersign_proto::{api::challenges::Challenge, vocabulary::ChallengeStatus};

use super::find;
use crate::{
    decisions::Viewer,
    http::{
        access::ApiCaller,
        expiry,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// Cancels a pending challenge; repeated, the same answer.
#[utoipa::path(post, path = "/v1/challenges/{id}/cancel", tag = "challenges", params(("id" = String, Path)),
    responses((status = 200, description = "The cancelled challenge", body = Challenge)))]
#[tracing::instrument(name = "http.challenges.cancel", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<Challenge>> {
    let id = id.parse().map_err(|_| ApiError::not_found())?;
    let (record, viewer) = find(&app, &caller, id).await?;
    if viewer != Viewer::Creator {
        return Err(ApiError::not_found());
    }
    let now = app.now();
    let command = CloseChallenge {
        stamp: caller.stamp(&app, now),
        challenge_id: record.facts.id,
        user_id: record.facts.user.id,
        how: Close::CancelByClient,
    };
    match app.store.close_challenge(command).await? {
        CloseOutcome::Closed | CloseOutcome::AlreadyClosed(ChallengeStatus::Cancelled) => {
            let (record, viewer) = find(&app, &caller, id).await?;
            Ok(Json(app.decisions.show(&record, viewer, false, app.now())?))
        }
        CloseOutcome::AlreadyClosed(status) => {
            let end = expiry::end(&app, caller.caller.tenant_id, id, status).await?;
            Err(ApiError::challenge_closed(end))
        }
        CloseOutcome::NotFound => Err(ApiError::not_found()),
        CloseOutcome::NotDue => Err(ApiError::internal("a cancellation cannot be early")),
    }
}
