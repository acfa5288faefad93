//! `POST /v1/webhooks` (protocol 13).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use countersign_core::{
    ports::webhooks::{CreateWebhook, CreateWebhookOutcome, WebhookTarget},
    text::Checker,
    webhook::{EventFilter, MAX_WEBHOOKS},
};
use countersign_proto::{
    api::webhooks::{CreateWebhook as Request, WebhookWithSecret},
    problem::ProblemType,
};
use countersign_push::WebhookSender;

use super::{check_description, check_events, check_url, show_with_secret};
use crate::{
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult},
        state::App,
    },
    telling::seal,
};

/// Makes a webhook: from now on it is told of the events that it names. Its secret is in this reply and in no other.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = Request,
    responses((status = 201, description = "The webhook, with its secret", body = WebhookWithSecret)))]
#[tracing::instrument(name = "http.webhooks.create", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictJson { value: request, .. }: StrictJson<Request>,
) -> ApiResult<(StatusCode, Json<WebhookWithSecret>)> {
    let (url, events, description) = check(&app.webhooks, request)?;
    let now = app.now();
    let (id, tenant_id) = (app.new_id(now), caller.caller.tenant_id);
    let (secret_id, previous_secrets) = (app.new_id(now), Vec::new());
    let target = WebhookTarget { url, events, secret_id, previous_secrets, seal: String::new() };
    let command = CreateWebhook {
        stamp: caller.stamp(&app, now),
        id,
        target: seal(&app.keys, tenant_id, id, target),
        description,
        usual_limit: MAX_WEBHOOKS,
    };
    match app.store.create_webhook(command).await? {
        CreateWebhookOutcome::Created(record) => Ok((StatusCode::CREATED, Json(show_with_secret(&app, record)?))),
        CreateWebhookOutcome::QuotaExceeded { limit } => {
            Err(ApiError::new(ProblemType::QuotaExceeded).with("quota", "webhooks").with("limit", limit))
        }
    }
}

/// Where, of what, and what it is for.
pub(crate) fn check(webhooks: &WebhookSender, request: Request) -> ApiResult<(String, EventFilter, Option<String>)> {
    let mut checker = Checker::default();
    let url = check_url(webhooks, &mut checker, &request.url);
    let events = request.events.map_or_else(EventFilter::all, |words| check_events(&mut checker, &words));
    let description = check_description(&mut checker, request.description.as_deref());
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok((url, events, description))
}
