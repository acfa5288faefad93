//! `GET /v1/webhooks/{id}` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::webhooks::Webhook;

use super::{find, parse, show_webhook};
use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

/// Reads a webhook.
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, description = "The webhook", body = Webhook)))]
#[tracing::instrument(name = "http.webhooks.show", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<Json<Webhook>> {
    let record = find(&app, &caller, parse(&id)?).await?;
    Ok(Json(show_webhook(&app, record)?))
}
