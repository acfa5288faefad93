//! Firebase Cloud Messaging, HTTP v1 (protocol 8.3).
//!
//! Data messages only: the app shows what it shows from `kind`, so no text of ours passes through Google. An access
//! token comes from `oauth`; if FCM refuses it, it is fetched anew once and the push repeated once.
//!
//! Never sends more than `payload` allows. To understand one more of Google's answers: its line in `verdict`.

mod oauth;
pub(crate) mod verdict;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use countersign_core::{
    clock::Clock,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, NotificationId, TenantId},
    timestamp::Timestamp,
};
use reqwest::{
    Client, Method, Request, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

pub(crate) use self::oauth::{Access, Refusal};
use self::oauth::{Account, OAuth};
use crate::{
    circuit::Health,
    destinations::Gate,
    payload,
    report::{Destination, Outcome},
    settings::{self, FcmSettings, SettingsError},
    transport::{self, Answer, Fault},
};

/// How many may begin before one has shown that the connection works. Which protocol Google (or a proxy in between)
/// speaks is known only then: a thousand that begin at once would open a thousand connections.
const COLD_STARTS: usize = 8;

/// The doctor's question: a token that no device has, and nothing to be sent even if one had it.
const PROBE: &str = r#"{"validate_only":true,"message":{"token":"countersign-doctor","data":{"v":"1","kind":"test"}}}"#;

/// The sender of one project.
pub(crate) struct Fcm {
    pub(crate) gate: Gate,
    pub(crate) project_id: String,
    tenants: Option<Vec<TenantId>>,
    oauth: OAuth,
    client: Client,
    url: Url,
    is_warm: AtomicBool,
    cold_starts: Semaphore,
    clock: Arc<dyn Clock>,
}

/// The members of a service account's file that we use.
#[derive(Deserialize)]
struct ServiceAccount {
    project_id: String,
    client_email: String,
    private_key: Zeroizing<String>,
    private_key_id: String,
    token_uri: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    data: Data,
    android: Android,
}

/// Every value a string, as FCM demands.
#[derive(Serialize)]
struct Data {
    v: &'static str,
    kind: &'static str,
    notification_id: NotificationId,
    device_id: DeviceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge_id: Option<ChallengeId>,
}

#[derive(Serialize)]
struct Android {
    priority: &'static str,
    ttl: String,
    collapse_key: String,
}

impl Fcm {
    pub(crate) fn new(settings: &FcmSettings, client: Client, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let refuse = |what| SettingsError::fcm(&settings.name, what);
        let account: ServiceAccount = serde_json::from_str(&settings.service_account_json)
            .map_err(|_| refuse("service_account_file is not a service account's JSON"))?;
        if !is_project_id(&account.project_id) {
            return Err(refuse("project_id in service_account_file is not a project id"));
        }
        let url = settings::base_url(&settings.base_url);
        let mut url = url.ok_or_else(|| refuse("base_url must be https, without a path"))?;
        let token_uri = settings::service_url(&account.token_uri)
            .ok_or_else(|| refuse("token_uri in service_account_file must be https"))?;
        // A real project is never told to get its token without TLS.
        if token_uri.scheme() != url.scheme() && token_uri.scheme() == "http" {
            return Err(refuse("token_uri in service_account_file must be https"));
        }
        url.set_path(&format!("/v1/projects/{}/messages:send", account.project_id));
        let oauth = OAuth::new(
            Account {
                email: account.client_email,
                private_key_pem: account.private_key,
                key_id: account.private_key_id,
                token_uri,
            },
            client.clone(),
            Arc::clone(&clock),
        )
        .ok_or_else(|| refuse("private_key in service_account_file is not an RSA key"))?;
        Ok(Self {
            gate: Gate::of_provider(Destination::Fcm(settings.name.as_str().into()), Arc::clone(&clock)),
            project_id: account.project_id,
            tenants: settings.tenants.clone(),
            oauth,
            client,
            url,
            is_warm: AtomicBool::new(false),
            cold_starts: Semaphore::new(COLD_STARTS),
            clock,
        })
    }

    /// Whether it is the project that a device names; one that names none takes any.
    pub(crate) fn fits(&self, project: Option<&str>) -> bool {
        project.is_none_or(|project| project == self.project_id)
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
        let may_repeat = || self.gate.may_repeat();
        let access = match self.oauth.access(may_repeat).await {
            Ok(access) => access,
            Err(refusal) => return Ok(refusal.verdict()),
        };
        let mut answer = self.exchange(self.request(notification, device_token, &access), may_repeat).await?;
        if verdict::is_unauthenticated(&answer) {
            self.oauth.forget(&access);
            // A probe leaves the new token to the next one.
            if may_repeat() {
                let access = match self.oauth.access(may_repeat).await {
                    Ok(access) => access,
                    Err(refusal) => return Ok(refusal.verdict()),
                };
                // Made anew: by now it is worth less time.
                answer = self.exchange(self.request(notification, device_token, &access), may_repeat).await?;
            }
        }
        Ok(verdict::verdict(&answer, self.clock.now()))
    }

    /// An access token, to see whether Google gives us one (the doctor's); and the time that its answer bears.
    pub(crate) async fn try_credentials(&self) -> Result<(Access, Option<Timestamp>), Refusal> {
        self.oauth.fetch(|| true).await
    }

    /// Asks whether a push to a device that cannot exist would be taken, to learn what Google says of the account (the
    /// doctor's). Nothing is sent to anybody.
    pub(crate) async fn probe(&self, access: &Access) -> Result<Answer, Fault> {
        let request = self.post(access, PROBE.to_owned().into_bytes());
        transport::exchange(&self.client, request, || true).await
    }

    /// What Google said to [`Self::probe`], in our words.
    pub(crate) fn read_probe(answer: &Answer) -> Result<String, String> {
        verdict::probe(answer)
    }

    async fn exchange(&self, request: Request, may_repeat: impl Fn() -> bool) -> Result<Answer, Fault> {
        let _start = self.start().await;
        let result = transport::exchange(&self.client, request, may_repeat).await;
        // A guess, both ways: being wrong costs a connection too many or a moment of waiting.
        match &result {
            Ok(_) => self.is_warm.store(true, Ordering::Relaxed),
            Err(fault) if fault.is_of_connection => self.is_warm.store(false, Ordering::Relaxed),
            Err(_) => {}
        }
        result
    }

    /// Waits while the connection is cold and enough others are warming it.
    async fn start(&self) -> Option<SemaphorePermit<'_>> {
        if self.is_warm.load(Ordering::Relaxed) {
            return None;
        }
        let permit = self.cold_starts.acquire().await.ok()?;
        // Warm meanwhile: the place goes on to the next who waits.
        (!self.is_warm.load(Ordering::Relaxed)).then_some(permit)
    }

    fn request(&self, notification: &LeasedNotification, device_token: &str, access: &Access) -> Request {
        self.post(access, body(notification, device_token, self.clock.now()))
    }

    fn post(&self, access: &Access, body: Vec<u8>) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, access.header.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        request
    }
}

/// Also older ids, with a domain in front; never what would change a path.
pub(crate) fn is_project_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b':');
    (4..=64).contains(&text.len()) && text.bytes().all(allowed) && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn body(notification: &LeasedNotification, device_token: &str, now: Timestamp) -> Vec<u8> {
    let is_withdrawn = notification.kind == NotificationKind::Withdrawn;
    let message = Message {
        token: device_token,
        data: Data {
            v: "1",
            kind: notification.kind.as_str(),
            notification_id: notification.id,
            device_id: notification.device_id,
            challenge_id: notification.challenge_id,
        },
        android: Android {
            priority: if is_withdrawn { "NORMAL" } else { "HIGH" },
            // "0s" would be another thing: now or never.
            ttl: format!("{}s", payload::seconds_left(notification, now).max(1)),
            collapse_key: payload::collapse_id(notification),
        },
    };
    // A struct of strings and ids always serialises.
    serde_json::to_vec(&Envelope { message }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
