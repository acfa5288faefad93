//! `PATCH /v1/webhooks/{id}` (protocol 13).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    event::EventKind,
    ports::webhooks::{ChangeWebhook, WebhookRecord, WebhookTarget},
    text::Checker,
    webhook::{DisabledReason, EventFilter, WebhookStatus},
};
use countersign_proto::api::webhooks::{ChangeWebhook as Request, Webhook};
use countersign_push::WebhookSender;

use super::{change, check_description, check_events, check_url, parse, show_webhook};
use crate::{
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult},
        state::App,
    },
    telling::seal,
};

/// What the members say, checked.
pub(crate) struct Wanted {
    url: Option<String>,
    events: Option<EventFilter>,
    description: Option<String>,
    status: Option<WebhookStatus>,
}

/// Changes a webhook. What is absent stays; what changes nothing is no change. A message that is on its way already may
/// still go where it was going, for some seconds.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "webhooks", request_body = Request,
    params(("id" = String, Path)), responses((status = 200, description = "The webhook", body = Webhook)))]
#[tracing::instrument(name = "http.webhooks.change", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value: request, .. }: StrictJson<Request>,
) -> ApiResult<Json<Webhook>> {
    let id = parse(&id)?;
    // Whose it is comes before what is wrong with it.
    super::find(&app, &caller, id).await?;
    let wanted = check(&app.webhooks, &request)?;
    let record = change(&app, &caller, id, |record| Ok(command(&app, &caller, record, &wanted))).await?;
    Ok(Json(show_webhook(&app, record)?))
}

pub(crate) fn check(webhooks: &WebhookSender, request: &Request) -> ApiResult<Wanted> {
    let mut checker = Checker::default();
    let wanted = Wanted {
        url: request.url.as_deref().map(|url| check_url(webhooks, &mut checker, url)),
        events: request.events.as_deref().map(|words| check_events(&mut checker, words)),
        description: check_description(&mut checker, request.description.as_deref()),
        status: request.enabled.map(|enabled| match enabled {
            true => WebhookStatus::Enabled,
            false => WebhookStatus::Disabled(DisabledReason::Client),
        }),
    };
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok(wanted)
}

fn command(app: &App, caller: &ApiCaller, record: &WebhookRecord, wanted: &Wanted) -> Option<ChangeWebhook> {
    let target = WebhookTarget {
        url: wanted.url.clone().unwrap_or_else(|| record.target.url.clone()),
        events: wanted.events.clone().unwrap_or_else(|| record.target.events.clone()),
        ..record.target.clone()
    };
    let description = wanted.description.clone().or_else(|| record.description.clone());
    // One that the server has disabled stays so, for its own reason.
    let is_disabled = |status| matches!(status, WebhookStatus::Disabled(_));
    let keeps = |status: &WebhookStatus| is_disabled(*status) && is_disabled(record.status);
    let status = wanted.status.filter(|status| !keeps(status)).unwrap_or(record.status);
    let members = [
        ("url", target.url != record.target.url),
        ("events", target.events != record.target.events),
        ("description", description != record.description),
        ("enabled", status != record.status),
    ];
    let changed: Vec<_> = members.into_iter().filter(|(_, differs)| *differs).map(|(member, _)| member).collect();
    if changed.is_empty() {
        return None;
    }
    let has_been_disabled = status != record.status && is_disabled(status);
    Some(ChangeWebhook {
        stamp: caller.stamp(app, app.now()),
        id: record.id,
        expected_version: record.version,
        target: seal(&app.keys, record.tenant_id, record.id, target),
        description,
        status,
        kind: if has_been_disabled { EventKind::WebhookDisabled } else { EventKind::WebhookChanged },
        changed,
    })
}
