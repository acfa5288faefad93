//! `POST /v1/webhooks/{id}/deliveries/{delivery_id}/replay` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use countersign_proto::api::webhooks::WebhookDelivery;

use super::{find_delivery, parse, parse_delivery};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Sends a message again, under its id, whatever became of it. One that is on its way stays on it.
#[utoipa::path(post, path = "/v1/webhooks/{id}/deliveries/{delivery_id}/replay", tag = "webhooks",
    params(("id" = String, Path), ("delivery_id" = String, Path)),
    responses((status = 202, description = "Queued", body = WebhookDelivery)))]
#[tracing::instrument(name = "http.webhooks.replay_delivery", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path((id, delivery_id)): Path<(String, String)>,
) -> ApiResult<(StatusCode, Json<WebhookDelivery>)> {
    let (id, delivery_id) = (parse(&id)?, parse_delivery(&delivery_id)?);
    super::find(&app, &caller, id).await?;
    if !app.store.replay_webhook_delivery(caller.stamp(&app, app.now()), id, delivery_id).await? {
        return Err(ApiError::not_found());
    }
    Ok((StatusCode::ACCEPTED, Json(find_delivery(&app, &caller, id, delivery_id).await?)))
}
