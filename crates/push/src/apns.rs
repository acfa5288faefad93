//! Apple Push Notification service (protocol 8.2).
//!
//! HTTP/2 only, one connection per key, provider tokens instead of certificates. A challenge, a notice or a test is an
//! alert; a withdrawal is a background push, which shows nothing. The request's id is the notification's and its
//! collapse id the challenge's, in repeats too: what arrives twice is shown once.
//!
//! Never sends more than `payload` allows. To understand one more of Apple's answers: its line in `verdict`.

mod token;
pub(crate) mod verdict;

use std::sync::Arc;

use countersign_core::{
    clock::Clock,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{ids::TenantId, vocabulary::ApnsEnvironment};
use reqwest::{
    Client, Method, Request, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

use self::{
    token::{ProviderToken, Token},
    verdict::Answered,
};
use crate::{
    circuit::Health,
    destinations::Gate,
    es256::Key,
    payload::{self, Ids},
    report::{Destination, Outcome},
    settings::{self, ApnsSettings, SettingsError},
    transport::{self, Answer, Fault},
};

/// As many as a request has, with those that the client adds: its map need not grow.
const HEADERS: usize = 12;

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// The sender of one key.
pub(crate) struct Apns {
    pub(crate) gate: Gate,
    pub(crate) key_id: String,
    pub(crate) team_id: String,
    tenants: Option<Vec<TenantId>>,
    topic: String,
    topic_header: HeaderValue,
    environment: ApnsEnvironment,
    base_url: Url,
    client: Client,
    token: ProviderToken,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Message {
    aps: Aps,
    #[serde(flatten)]
    ids: Ids,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps {
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Texts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interruption_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutable_content: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_available: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'static str>,
}

/// With a key Apple looks the text up in the app; without an entry there it shows the plain one.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Texts {
    title_loc_key: &'static str,
    title: &'static str,
    loc_key: &'static str,
    body: &'static str,
}

impl Apns {
    pub(crate) fn new(settings: &ApnsSettings, client: Client, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let refuse = |what| SettingsError::apns(&settings.name, what);
        let key = Key::from_pem(&settings.key_pem).ok_or_else(|| refuse("key_file is not a PKCS#8 PEM P-256 key"))?;
        let topic_header = HeaderValue::from_str(&settings.topic).map_err(|_| refuse("topic is not a bundle id"))?;
        let base_url = settings::base_url(&settings.base_url).filter(|url| url.scheme() == "https");
        let base_url = base_url.ok_or_else(|| refuse("base_url must be https, without a path"))?;
        Ok(Self {
            gate: Gate::of_provider(Destination::Apns(settings.name.as_str().into()), Arc::clone(&clock)),
            token: ProviderToken::new(key, &settings.key_id, &settings.team_id),
            key_id: settings.key_id.clone(),
            team_id: settings.team_id.clone(),
            tenants: settings.tenants.clone(),
            topic: settings.topic.clone(),
            topic_header,
            environment: settings.environment,
            base_url,
            client,
            clock,
        })
    }

    /// Whether it is for this topic and environment.
    pub(crate) fn fits(&self, topic: &str, environment: ApnsEnvironment) -> bool {
        self.topic == topic && self.environment == environment
    }

    pub(crate) fn tenants(&self) -> Option<&[TenantId]> {
        self.tenants.as_deref()
    }

    /// Sends; the caller bounds it.
    pub(crate) async fn send(
        &self,
        notification: &LeasedNotification,
        device_token: &str,
    ) -> Result<(Outcome, Health), Fault> {
        let token = self.token.current(self.clock.now());
        let Some(request) = self.request(notification, device_token, &token) else { return Ok(verdict::unsendable()) };
        // The same notification makes the same request, byte for byte.
        let again =
            |token: &Token| self.gate.may_repeat().then(|| self.request(notification, device_token, token)).flatten();
        let answer = transport::exchange_or(&self.client, request, || again(&token)).await?;
        // Another token and one repeat: if that is refused too, the trouble is not the token's age. A probe leaves the
        // other token to the next one.
        let other = match verdict::read(&answer) {
            Answered::TokenExpired => self.token.newer(&token, self.clock.now()),
            Answered::TokenTooSoon => self.token.older(&token, self.clock.now()),
            Answered::Other => None,
        };
        let answer = match other.and_then(|other| Some((again(&other)?, other))) {
            Some((request, other)) => transport::exchange_or(&self.client, request, || again(&other)).await?,
            None => answer,
        };
        Ok(verdict::verdict(&answer, notification, self.clock.now()))
    }

    fn request(&self, notification: &LeasedNotification, device_token: &str, token: &Token) -> Option<Request> {
        let is_background = notification.kind == NotificationKind::Withdrawn;
        let mut request = Request::new(Method::POST, self.device_url(device_token)?);
        let headers = request.headers_mut();
        headers.reserve(HEADERS);
        let id = unrepeated(HeaderValue::from_str(&notification.id.to_string()).ok()?);
        let collapse_id = unrepeated(HeaderValue::from_str(&payload::collapse_id(notification)).ok()?);
        let expiration = unrepeated(HeaderValue::from(notification.expires_at.as_seconds().max(0)));
        headers.insert(AUTHORIZATION, token.header.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(APNS_ID, id);
        headers.insert(APNS_COLLAPSE_ID, collapse_id);
        headers.insert(APNS_TOPIC, self.topic_header.clone());
        headers.insert(APNS_EXPIRATION, expiration);
        let (push_type, priority) = if is_background { ("background", "5") } else { ("alert", "10") };
        headers.insert(APNS_PUSH_TYPE, HeaderValue::from_static(push_type));
        headers.insert(APNS_PRIORITY, HeaderValue::from_static(priority));
        *request.body_mut() = Some(body(notification).into());
        Some(request)
    }

    /// Hex only: a token from a device must not choose another path.
    fn device_url(&self, device_token: &str) -> Option<Url> {
        let is_hex = !device_token.is_empty() && device_token.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut url = self.base_url.clone();
        url.set_path(&format!("/3/device/{device_token}"));
        is_hex.then_some(url)
    }

    /// Rings a device that cannot exist, to learn what Apple says of the key (the doctor's).
    pub(crate) async fn probe(&self) -> Result<Answer, Fault> {
        let now = self.clock.now();
        let Some(url) = self.device_url(&"0".repeat(64)) else { return Err(Fault::TIMEOUT) };
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.token.current(now).header.clone());
        headers.insert(APNS_TOPIC, self.topic_header.clone());
        headers.insert(APNS_PUSH_TYPE, HeaderValue::from_static("background"));
        headers.insert(APNS_PRIORITY, HeaderValue::from_static("5"));
        *request.body_mut() = Some(r#"{"aps":{"content-available":1}}"#.into());
        transport::exchange(&self.client, request, || true).await
    }

    /// What Apple said to [`Self::probe`], in our words.
    pub(crate) fn read_probe(answer: &Answer) -> Result<String, String> {
        verdict::probe(answer)
    }
}

/// A value that no later request repeats stays out of the table of header compression, as Apple asks: there it would
/// only drive out those that all requests share.
fn unrepeated(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn body(notification: &LeasedNotification) -> Vec<u8> {
    let aps = match payload::alert(notification.kind) {
        Some(alert) => Aps {
            alert: Some(Texts {
                title_loc_key: alert.title_key,
                title: alert.title,
                loc_key: alert.body_key,
                body: alert.body,
            }),
            category: Some(alert.category),
            interruption_level: Some("time-sensitive"),
            mutable_content: Some(1),
            content_available: None,
            sound: Some("default"),
        },
        None => Aps {
            alert: None,
            category: None,
            interruption_level: None,
            mutable_content: None,
            content_available: Some(1),
            sound: None,
        },
    };
    // A struct of strings, numbers and ids always serialises.
    serde_json::to_vec(&Message { aps, ids: Ids::of(notification) }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
