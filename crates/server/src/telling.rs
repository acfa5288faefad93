//! What a webhook is told: from a leased message to a signed body (protocol 13).
//!
//! Made when it is sent, of what is true then: what was erased is not told, and nothing personal waits in a queue. An
//! approval is told only if it is proven like one that is shown (`decisions`), and only to an address that this server
//! has sealed: who rewrites the database can keep a message from leaving, not make one, nor send it elsewhere.
//! To tell more of a kind of event: [`shown`].

use std::{path::Path, sync::Arc};

use countersign_core::{
    event::EventKind,
    ports::webhooks::{ChallengeState, Content, EventContent, LeasedDelivery, WebhookTarget},
    webhook::{TEST_KIND, is_decision},
};
use countersign_proto::{
    api::{
        challenges::Challenge,
        events::EventActor,
        webhooks::{Message, MessageData},
    },
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

/// Why a message is not sent now, in a word for administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
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
    let content = Sealed::Webhook { webhook_id: webhook.id, tenant_id: webhook.tenant_id, target: &webhook.target };
    if !app.keys.seals().holds(&webhook.target.seal, &content) {
        alarm::raise("webhook_seal", &webhook.id.to_string());
        return Err(Hindrance::Now("seal-invalid"));
    }
    let message = match &leased.content {
        Content::Test => test(leased),
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
    Ok(WebhookMessage { url: webhook.target.url.clone(), id, timestamp, signature, body })
}

/// By the secret in use, and by the one before while that is taken, too.
fn sign(
    app: &App,
    leased: &LeasedDelivery,
    (id, timestamp, body): (&str, i64, &[u8]),
    now: Timestamp,
) -> Result<String, SignFailure> {
    let target = &leased.webhook.target;
    let by = |generation| {
        WebhookKeys::of(app.keys.seals(), leased.webhook.id, generation)
            .map(|keys| keys.signatures(id, timestamp, body))
    };
    let signature = by(target.secret_generation)?;
    match target.secret_generation.checked_sub(1).filter(|_| target.previous_until.is_some_and(|until| now < until)) {
        Some(previous) => Ok(format!("{signature} {}", by(previous)?)),
        None => Ok(signature),
    }
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
    let data = MessageData {
        id: Some(event.id),
        actor: Some(EventActor { kind: event.actor_kind.clone(), id: event.actor_id.clone() }),
        user_id: event.subjects.user_id,
        device_id: event.subjects.device_id,
        challenge_id: event.subjects.challenge_id,
        enrollment_id: event.subjects.enrollment_id,
        api_client_id: event.subjects.api_client_id,
        request_id: Some(event.request_id.clone()),
        created_at: Some(event.at),
        data: serde_json::Value::Object(event.body.clone()),
        challenge,
    };
    Message { kind: event.kind.as_str().to_owned(), timestamp: event.at, data }
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
        ChallengeState::There(id) => proven(app, tenant_id, event.kind, id, now).await,
        ChallengeState::Gone if is_approval => Err(Hindrance::Ever("challenge-gone")),
        ChallengeState::TenantDisabled if is_approval => Err(Hindrance::Now("tenant-disabled")),
        ChallengeState::Gone | ChallengeState::TenantDisabled => Ok(None),
    }
}

async fn proven(
    app: &App,
    tenant_id: TenantId,
    kind: EventKind,
    id: ChallengeId,
    now: Timestamp,
) -> Result<Option<Box<Challenge>>, Hindrance> {
    let record = app.store.challenge(id).await.map_err(|_| Hindrance::Now("unavailable"))?;
    let record = record.filter(|record| record.facts.tenant_id == tenant_id);
    // Gone since it was leased: the next attempt says so.
    let record = record.ok_or(Hindrance::Now("unavailable"))?;
    // Alarms by itself if the row does not verify.
    let shown = app.decisions.show(&record, Viewer::Creator, true, now);
    let shown = shown.map_err(|_| Hindrance::Now("challenge-invalid"))?;
    if Some(shown.status) != end(kind) {
        // An event that says another end than the challenge had: this server writes both in one transaction.
        alarm::raise("webhook_message", &id.to_string());
        return Err(Hindrance::Now("challenge-invalid"));
    }
    Ok(Some(Box::new(shown)))
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
