//! `POST /v1/webhooks/{id}/test` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use countersign_proto::api::webhooks::WebhookDelivery;

use super::{find_delivery, parse};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Sends a message of the type `webhook.test`. Ask the returned id what came of it.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 202, description = "Queued", body = WebhookDelivery)))]
#[tracing::instrument(name = "http.webhooks.test", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<(StatusCode, Json<WebhookDelivery>)> {
    let id = parse(&id)?;
    let now = app.now();
    let test = app.new_id(now);
    if !app.store.test_webhook(caller.stamp(&app, now), id, test).await? {
        return Err(ApiError::not_found());
    }
    Ok((StatusCode::ACCEPTED, Json(find_delivery(&app, &caller, id, test).await?)))
}
