//! `GET /v1/webhooks/{id}/deliveries/{delivery_id}` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::webhooks::WebhookDelivery;

use super::{find_delivery, parse, parse_delivery};
use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

/// Reads what has become of one message.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries/{delivery_id}", tag = "webhooks",
    params(("id" = String, Path), ("delivery_id" = String, Path)),
    responses((status = 200, description = "The message", body = WebhookDelivery)))]
#[tracing::instrument(name = "http.webhooks.show_delivery", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path((id, delivery_id)): Path<(String, String)>,
) -> ApiResult<Json<WebhookDelivery>> {
    Ok(Json(find_delivery(&app, &caller, parse(&id)?, parse_delivery(&delivery_id)?).await?))
}
