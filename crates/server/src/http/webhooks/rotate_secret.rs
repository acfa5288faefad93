//! `POST /v1/webhooks/{id}/rotate-secret` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    event::EventKind,
    ports::webhooks::{ChangeWebhook, WebhookTarget},
    text::Checker,
    webhook::{MAX_OVERLAP_SECONDS, USUAL_OVERLAP_SECONDS, previous_secrets},
};
use countersign_proto::api::webhooks::{RotateWebhookSecret as Request, WebhookWithSecret};

use super::{change, parse, show_with_secret};
use crate::{
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult},
        state::App,
    },
    telling::seal,
};

/// Gives a webhook another secret and key. The ones before go on signing beside them for a while, and the oldest that
/// sign still, so that a call may be repeated whose reply was lost.
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate-secret", tag = "webhooks", request_body = Request,
    params(("id" = String, Path)),
    responses((status = 200, description = "The webhook, with its new secret", body = WebhookWithSecret)))]
#[tracing::instrument(name = "http.webhooks.rotate_secret", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value: request, .. }: StrictJson<Request>,
) -> ApiResult<Json<WebhookWithSecret>> {
    let id = parse(&id)?;
    super::find(&app, &caller, id).await?;
    let overlap = check(&request)?;
    let now = app.now();
    let record = change(&app, &caller, id, |record| {
        let until = (overlap > 0).then(|| now.plus_seconds(overlap));
        let WebhookTarget { secret_id, previous_secrets: before, .. } = &record.target;
        let target = WebhookTarget {
            secret_id: app.new_id(now),
            previous_secrets: previous_secrets(before, *secret_id, until, now),
            ..record.target.clone()
        };
        Ok(Some(ChangeWebhook {
            stamp: caller.stamp(&app, now),
            id,
            expected_version: record.version,
            target: seal(&app.keys, record.tenant_id, id, target),
            description: record.description.clone(),
            status: record.status,
            kind: EventKind::WebhookSecretRotated,
            changed: Vec::new(),
        }))
    });
    Ok(Json(show_with_secret(&app, record.await?)?))
}

/// For how many seconds the old secret signs, too.
pub(crate) fn check(request: &Request) -> ApiResult<i64> {
    let mut checker = Checker::default();
    let overlap = request.overlap_seconds.unwrap_or(USUAL_OVERLAP_SECONDS);
    let overlap = checker.range("/overlap_seconds", overlap, 0, MAX_OVERLAP_SECONDS);
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok(overlap)
}
