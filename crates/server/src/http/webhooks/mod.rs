//! `/v1/webhooks` (protocol 13): where an organisation is told of its events, what it was told, and telling it again.
//!
//! A secret is shown when it is made and never again. A URL may hold one: it goes to administrators, never to a log or an
//! event. What a row says is sealed here, with each change, by the server: see `telling`.

pub mod change;
pub mod create;
pub mod delete;
pub mod deliveries;
pub mod list;
pub mod replay;
pub mod replay_delivery;
pub mod rotate_secret;
pub mod show;
pub mod show_delivery;
pub mod test;

use countersign_core::{
    ports::webhooks::{ChangeWebhook, ChangeWebhookOutcome, DeliveryRecord, WebhookRecord},
    text::Checker,
    webhook::{EventFilter, MAX_DESCRIPTION_CHARACTERS, MAX_URL_CHARACTERS, TEST_KIND, WebhookStatus},
};
use countersign_proto::{
    api::webhooks::{Webhook, WebhookAttempt, WebhookDelivery, WebhookWithSecret},
    ids::{WebhookDeliveryId, WebhookId},
};
use countersign_push::WebhookSender;

use super::{
    access::ApiCaller,
    overtaken::unless_overtaken,
    problem::{ApiError, ApiResult},
    state::App,
};
use crate::{signing::WebhookKeys, telling};

fn parse(id: &str) -> ApiResult<WebhookId> {
    id.parse().map_err(|_| ApiError::not_found())
}

fn parse_delivery(id: &str) -> ApiResult<WebhookDeliveryId> {
    id.parse().map_err(|_| ApiError::not_found())
}

async fn find(app: &App, caller: &ApiCaller, id: WebhookId) -> ApiResult<WebhookRecord> {
    app.store.webhook(caller.caller.tenant_id, id).await?.ok_or_else(ApiError::not_found)
}

async fn find_delivery(
    app: &App,
    caller: &ApiCaller,
    webhook_id: WebhookId,
    id: WebhookDeliveryId,
) -> ApiResult<WebhookDelivery> {
    // Of a deleted webhook there is nothing any more, though its messages may not have been dropped yet.
    find(app, caller, webhook_id).await?;
    let delivery = app.store.webhook_delivery(caller.caller.tenant_id, webhook_id, id).await?;
    delivery.map(show_delivery).ok_or_else(ApiError::not_found)
}

/// The URL in the form in which it will be asked for. Why one is refused is not said further than by the rule: what is
/// inside this server's network is nobody's business.
fn check_url(webhooks: &WebhookSender, checker: &mut Checker, url: &str) -> String {
    let checked = webhooks.check(url).ok();
    let checked = checked.filter(|checked| checked.chars().count() <= MAX_URL_CHARACTERS);
    if checked.is_none() {
        checker.refuse(
            "/url",
            format!(
                "must be an https URL on an allowed port of a public address, without user or fragment, of at most \
                 {MAX_URL_CHARACTERS} characters"
            ),
        );
    }
    checked.unwrap_or_default()
}

fn check_events(checker: &mut Checker, words: &[String]) -> EventFilter {
    EventFilter::parse(words.iter().map(String::as_str)).unwrap_or_else(|error| {
        checker.refuse("/events", error.to_string());
        EventFilter::all()
    })
}

fn check_description(checker: &mut Checker, description: Option<&str>) -> Option<String> {
    checker.optional_text("/description", description, 1, MAX_DESCRIPTION_CHARACTERS)
}

/// Reads the webhook, lets `make` say what becomes of it, and writes that if nobody has changed it meanwhile; `None`:
/// nothing changes.
async fn change(
    app: &App,
    caller: &ApiCaller,
    id: WebhookId,
    make: impl Fn(&WebhookRecord) -> ApiResult<Option<ChangeWebhook>>,
) -> ApiResult<WebhookRecord> {
    unless_overtaken(|| async {
        let record = find(app, caller, id).await?;
        // What is kept of the row is sealed anew: never what somebody else wrote into it.
        if !telling::is_sealed(&app.keys, &record) {
            return Err(ApiError::internal("a webhook that this server did not seal"));
        }
        let Some(command) = make(&record)? else { return Ok(Some(record)) };
        match app.store.change_webhook(command).await? {
            ChangeWebhookOutcome::Changed(record) => Ok(Some(record)),
            ChangeWebhookOutcome::Conflict => Ok(None),
            ChangeWebhookOutcome::NotFound => Err(ApiError::not_found()),
        }
    })
    .await
}

fn keys(app: &App, record: &WebhookRecord) -> ApiResult<WebhookKeys> {
    Ok(WebhookKeys::of(app.keys.seals(), record.id, record.target.secret_id)?)
}

fn show_webhook(app: &App, record: WebhookRecord) -> ApiResult<Webhook> {
    let public_key = keys(app, &record)?.public_key();
    let now = app.now();
    Ok(Webhook {
        id: record.id,
        url: record.target.url,
        events: record.target.events.words().map(str::to_owned).collect(),
        description: record.description,
        enabled: record.status == WebhookStatus::Enabled,
        disabled_reason: match record.status {
            WebhookStatus::Enabled => None,
            WebhookStatus::Disabled(reason) => Some(reason.as_str().to_owned()),
        },
        public_key,
        previous_secret_until: record.target.previous_secrets.iter().map(|it| it.until).filter(|it| *it > now).max(),
        failing_since: record.failing_since,
        created_at: record.created_at,
    })
}

fn show_with_secret(app: &App, record: WebhookRecord) -> ApiResult<WebhookWithSecret> {
    let secret = keys(app, &record)?.secret();
    Ok(WebhookWithSecret { webhook: show_webhook(app, record)?, secret })
}

fn show_delivery(record: DeliveryRecord) -> WebhookDelivery {
    WebhookDelivery {
        id: record.id,
        kind: record.kind.map_or(TEST_KIND, |kind| kind.as_str()).to_owned(),
        status: record.status.as_str().to_owned(),
        next_attempt_at: record.due_at,
        queued_at: record.queued_at,
        attempts: record
            .attempts
            .into_iter()
            .map(|attempt| WebhookAttempt {
                number: attempt.number,
                at: attempt.at,
                duration_ms: attempt.duration_millis,
                status_code: attempt.status_code,
                error: attempt.error,
            })
            .collect(),
    }
}
