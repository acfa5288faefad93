//! `POST /v1/webhooks/{id}/replay` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use countersign_core::{ports::webhooks::ReplayDeliveries, text::Checker, webhook::DeliveryStatus};
use countersign_proto::{
    api::webhooks::{ReplayWebhook as Request, Replayed},
    timestamp::Timestamp,
};

use super::parse;
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Messages that one call sends again.
const PORTION: u32 = 1_000;

/// Sends up to 1,000 messages again, the oldest first. What is queued again is no longer failed or delivered: ask until
/// `has_more` is false.
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", tag = "webhooks", request_body = Request,
    params(("id" = String, Path)), responses((status = 202, description = "Queued", body = Replayed)))]
#[tracing::instrument(name = "http.webhooks.replay", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value: request, .. }: StrictJson<Request>,
) -> ApiResult<(StatusCode, Json<Replayed>)> {
    let webhook_id = parse(&id)?;
    super::find(&app, &caller, webhook_id).await?;
    let status = check(&request)?;
    let now = app.now();
    let command = ReplayDeliveries {
        stamp: caller.stamp(&app, now),
        webhook_id,
        from: request.from.unwrap_or(Timestamp::from_millis(0)),
        // What has just happened is among what happened until now.
        to: request.to.unwrap_or(now.plus_millis(1)),
        status,
        limit: PORTION,
    };
    let queued = app.store.replay_webhook_deliveries(command).await?;
    Ok((StatusCode::ACCEPTED, Json(Replayed { queued, has_more: queued >= u64::from(PORTION) })))
}

/// Which messages.
pub(crate) fn check(request: &Request) -> ApiResult<DeliveryStatus> {
    let mut checker = Checker::default();
    let status = match request.status.as_deref() {
        None | Some("failed") => DeliveryStatus::Failed,
        Some("delivered") => DeliveryStatus::Delivered,
        Some(_) => {
            checker.refuse("/status", "must be `failed` or `delivered`");
            DeliveryStatus::Failed
        }
    };
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok(status)
}
