//! What a webhook is told: from a leased message to a signed body (protocol 13).
//!
//! Made when it is sent, of what is true then: what was erased is not told, and nothing personal waits in a queue. An
//! approval is told only if it is proven like one that is shown (`decisions`), of the person and device that its evidence
//! names, and only to an address that this server has sealed for it: who rewrites the database keeps one from leaving,
//! or has a true one told again; makes none, and sends none elsewhere. Of other kinds is said what the log says.
//! To tell more of a kind of event: `shown`.

use std::{path::Path, sync::Arc};

use countersign_core::{
    challenge::ChallengeRecord,
    event::EventKind,
    ports::webhooks::{ChallengeState, Content, EventContent, LeasedDelivery, WebhookRecord, WebhookTarget},
    webhook::{TEST_KIND, is_decision},
};
use countersign_proto::{
    api::{
        challenges::Challenge,
        events::{Event, EventActor},
        webhooks::{Message, MessageData},
    },
    audit::compare_decision,
    ids::{ChallengeId, TenantId, WebhookId},
    timestamp::Timestamp,
    vocabulary::ChallengeStatus,
};
use countersign_push::{SettingsError, WebhookMessage, WebhookSender, WebhookSettings};
use serde_json::json;

use crate::{
    alarm,
    clock::Clock,
    config::Webhooks,
    decisions::Viewer,
    http::state::App,
    signing::{Sealed, ServerKeys, SignFailure, WebhookKeys},
};

/// Why webhooks cannot be set up. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum TellingError {
    /// The file of authorities cannot be read.
    #[error("webhooks.extra_ca_file: cannot read {path}: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A network is none.
    #[error("webhooks: {0} is not a network like 10.1.0.0/16")]
    Network(String),
    /// The authorities are none.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// The sender, as it is configured.
///
/// # Errors
/// [`TellingError`].
pub async fn open(settings: &Webhooks, clock: Arc<dyn Clock>) -> Result<WebhookSender, TellingError> {
    let network = |text: &String| text.parse().map_err(|_| TellingError::Network(text.clone()));
    let settings = WebhookSettings {
        additional_ports: settings.additional_ports.clone(),
        additional_networks: settings.additional_networks.iter().map(network).collect::<Result<_, _>>()?,
        refused_networks: settings.refused_networks.iter().map(network).collect::<Result<_, _>>()?,
        extra_ca_pem: authorities(&settings.extra_ca_file).await?,
    };
    Ok(WebhookSender::new(settings, clock)?)
}

async fn authorities(path: &Path) -> Result<Option<Vec<u8>>, TellingError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let unreadable = |cause| TellingError::Unreadable { path: path.display().to_string(), cause };
    tokio::fs::read(path).await.map(Some).map_err(unreadable)
}

/// The target with this server's seal.
pub fn seal(keys: &ServerKeys, tenant_id: TenantId, id: WebhookId, target: WebhookTarget) -> WebhookTarget {
    let seal = keys.seals().seal(&Sealed::Webhook { webhook_id: id, tenant_id, target: &target });
    WebhookTarget { seal, ..target }
}

/// Whether the row says where and what as this server wrote it; if not, an alarm.
pub fn is_sealed(keys: &ServerKeys, webhook: &WebhookRecord) -> bool {
    let content = Sealed::Webhook { webhook_id: webhook.id, tenant_id: webhook.tenant_id, target: &webhook.target };
    let is_sealed = keys.seals().holds(&webhook.target.seal, &content);
    if !is_sealed {
        alarm::raise("webhook_seal", &webhook.id.to_string());
    }
    is_sealed
}

/// Why a message is not sent now, in a word for administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// This server is short of something: no attempt at all.
    Passing(&'static str),
    /// It may pass.
    Now(&'static str),
    /// It does not.
    Ever(&'static str),
}

/// The message, signed at `now`.
///
/// # Errors
/// [`Hindrance`].
pub async fn prepare(app: &App, leased: &LeasedDelivery, now: Timestamp) -> Result<WebhookMessage, Hindrance> {
    let webhook = &leased.webhook;
    if !is_sealed(&app.keys, webhook) {
        return Err(Hindrance::Now("seal-invalid"));
    }
    let message = match &leased.content {
        Content::Test => test(leased),
        // What it wants now, whatever it wanted when this was queued, or whoever queued it.
        Content::Event { event, .. } if !webhook.target.events.wants(event.kind) => {
            return Err(Hindrance::Ever("not-wanted"));
        }
        Content::Event { event, challenge } => {
            let challenge = shown(app, leased.webhook.tenant_id, event, *challenge, now).await?;
            tell(event, challenge)
        }
        Content::Missing => {
            alarm::raise("webhook_message", &leased.id.to_string());
            return Err(Hindrance::Ever("event-invalid"));
        }
    };
    let body = serde_json::to_vec(&message).map_err(|_| Hindrance::Now("internal"))?;
    let (id, timestamp) = (leased.id.to_string(), now.as_seconds());
    let signature = sign(app, leased, (&id, timestamp, &body), now).map_err(|_| Hindrance::Now("internal"))?;
    let tenant_id = webhook.tenant_id;
    Ok(WebhookMessage { tenant_id, url: webhook.target.url.clone(), id, timestamp, signature, body })
}

/// By the secret in use, and by those before it that sign still.
fn sign(
    app: &App,
    leased: &LeasedDelivery,
    (id, timestamp, body): (&str, i64, &[u8]),
    now: Timestamp,
) -> Result<String, SignFailure> {
    let target = &leased.webhook.target;
    let previous = target.previous_secrets.iter().filter(|secret| now < secret.until).map(|secret| secret.id);
    let by = |secret| {
        let keys = WebhookKeys::of(app.keys.seals(), leased.webhook.id, secret);
        keys.map(|keys| keys.signatures(id, timestamp, body))
    };
    let signatures: Result<Vec<_>, _> = [target.secret_id].into_iter().chain(previous).map(by).collect();
    Ok(signatures?.join(" "))
}

fn test(leased: &LeasedDelivery) -> Message {
    let data = json!({"webhook_id": leased.webhook.id.to_string()});
    Message { kind: TEST_KIND.to_owned(), timestamp: leased.id.made_at(), data: MessageData { data, ..empty() } }
}

const fn empty() -> MessageData {
    MessageData {
        id: None,
        actor: None,
        user_id: None,
        device_id: None,
        challenge_id: None,
        enrollment_id: None,
        api_client_id: None,
        request_id: None,
        created_at: None,
        data: serde_json::Value::Null,
        challenge: None,
    }
}

fn tell(event: &EventContent, challenge: Option<Box<Challenge>>) -> Message {
    let Event { id, kind, actor, user_id, device_id, challenge_id, enrollment_id, api_client_id, data, .. } =
        logged(event);
    let data = MessageData {
        id: Some(id),
        actor: Some(actor),
        user_id,
        device_id,
        challenge_id,
        enrollment_id,
        api_client_id,
        request_id: Some(event.request_id.clone()),
        created_at: Some(event.at),
        data,
        challenge,
    };
    Message { kind, timestamp: event.at, data }
}

/// The challenge that has ended, if that is what happened.
///
/// Without one nothing is lost but the texts: the event says what happened. Not so an approval: said without its proof
/// it would be no more than what the database says, and so it is not said.
async fn shown(
    app: &App,
    tenant_id: TenantId,
    event: &EventContent,
    state: ChallengeState,
    now: Timestamp,
) -> Result<Option<Box<Challenge>>, Hindrance> {
    if !is_decision(event.kind) {
        return Ok(None);
    }
    let is_approval = event.kind == EventKind::ChallengeApproved;
    match state {
        ChallengeState::There(id) => proven(app, tenant_id, event, id, now).await,
        ChallengeState::Gone => gone(event.kind),
        ChallengeState::TenantDisabled if is_approval => Err(Hindrance::Now("tenant-disabled")),
        ChallengeState::TenantDisabled => Ok(None),
    }
}

fn gone(kind: EventKind) -> Result<Option<Box<Challenge>>, Hindrance> {
    if kind == EventKind::ChallengeApproved { Err(Hindrance::Ever("challenge-gone")) } else { Ok(None) }
}

async fn proven(
    app: &App,
    tenant_id: TenantId,
    event: &EventContent,
    id: ChallengeId,
    now: Timestamp,
) -> Result<Option<Box<Challenge>>, Hindrance> {
    let record = app.store.challenge(tenant_id, id).await.map_err(|_| Hindrance::Passing("unavailable"))?;
    // Erased or deleted since it was leased.
    let record = record.filter(|record| record.erased_at.is_none());
    let Some(record) = record else { return gone(event.kind) };
    // Alarms by itself if the row does not verify.
    let shown = app.decisions.show(&record, Viewer::Creator, true, now);
    let shown = shown.map_err(|_| Hindrance::Now("challenge-invalid"))?;
    if Some(shown.status) != end(event.kind) || !tells_what_is_proven(app, &record, event) {
        // An event that says something else than the challenge: this server writes both in one transaction.
        alarm::raise("webhook_message", &id.to_string());
        return Err(Hindrance::Now("challenge-invalid"));
    }
    Ok(Some(Box::new(shown)))
}

/// Whether the event names whom the challenge asked and, where a device decided, says what that device signed: as the
/// audit compares them. Of what no device decided the database alone says that it happened.
fn tells_what_is_proven(app: &App, record: &ChallengeRecord, event: &EventContent) -> bool {
    let is_own = event.subjects.user_id == Some(record.facts.user.id);
    if !matches!(event.kind, EventKind::ChallengeApproved | EventKind::ChallengeDenied) {
        return is_own;
    }
    let Some((evidence, verified)) = app.decisions.proof(record) else { return false };
    let event = logged(event);
    let is_actor = event.actor.kind != "device" || event.actor.id.as_deref() == Some(verified.binding.aud.as_str());
    is_own && is_actor && compare_decision(&event, evidence, &verified, &verified.challenge.tenant.id).is_ok()
}

/// The event in the form that is compared; its position says nothing there.
fn logged(event: &EventContent) -> Event {
    Event {
        id: event.id,
        position: 0,
        kind: event.kind.as_str().to_owned(),
        actor: EventActor { kind: event.actor_kind.clone(), id: event.actor_id.clone() },
        user_id: event.subjects.user_id,
        device_id: event.subjects.device_id,
        challenge_id: event.subjects.challenge_id,
        enrollment_id: event.subjects.enrollment_id,
        api_client_id: event.subjects.api_client_id,
        request_id: event.request_id.clone(),
        created_at: event.at,
        data: serde_json::Value::Object(event.body.clone()),
    }
}

const fn end(kind: EventKind) -> Option<ChallengeStatus> {
    match kind {
        EventKind::ChallengeApproved => Some(ChallengeStatus::Approved),
        EventKind::ChallengeDenied => Some(ChallengeStatus::Denied),
        EventKind::ChallengeExpired => Some(ChallengeStatus::Expired),
        EventKind::ChallengeCancelled => Some(ChallengeStatus::Cancelled),
        _ => None,
    }
}
