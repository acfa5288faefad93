//! Web Push (protocol 8.4; RFC 8030, 8188, 8291, 8292), also to UnifiedPush endpoints, which are the same thing at any
//! host and path.
//!
//! The endpoint comes from a device: every connect is under the address rule, redirects are not followed, and each
//! origin has its own circuit and few requests in flight until it has shown that it works. What is sent is encrypted for the browser; the push
//! service sees an origin, a size that is the same for every kind, and how urgent it is.
//!
//! Browsers demand that each push shows something, so a withdrawal is never sent: nothing is queued for it, and one
//! that comes all the same (the device changed its channel meanwhile) is done without a request. A repeat about the
//! same challenge replaces the earlier one (`Topic`, and `tag` where it is shown).
//!
//! To understand one more answer of a push service: its arm in [`verdict`].

mod encryption;
mod vapid;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    clock::Clock,
    entropy::Entropy,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::timestamp::Timestamp;
use reqwest::{
    Client, Method, Request, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

use self::{
    encryption::{Ephemeral, Subscription},
    vapid::{Slot, Vapid},
};
use crate::{
    address::{AddressRule, GuardedResolver, Resolver},
    circuit::Health,
    destinations::{BUSY_MILLIS, Gate, Recent},
    payload::{self, Ids},
    report::{Destination, Outcome, Reason},
    settings::{SettingsError, WebPushSettings},
    transport::{self, Answer, Fault},
};

/// How long a connection is kept for the next push.
const IDLE: Duration = Duration::from_secs(10);
/// Origins that are remembered. Devices bring them, so their number is bounded.
const ORIGINS: usize = 1_024;
/// A topic is at most 32 characters of b64u (RFC 8030 section 5.4): 24 bytes of the digest.
const TOPIC_BYTES: usize = 24;

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// One push service.
pub(crate) struct Origin {
    pub(crate) gate: Gate,
    vapid: Slot,
}

/// The sender.
pub(crate) struct WebPush {
    rule: Arc<AddressRule>,
    origins: Recent<Origin>,
    vapid: Vapid,
    /// `None`: this system has no certificates to trust.
    client: Option<Client>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A subscription that a device registered.
#[derive(Clone, Copy)]
pub(crate) struct Registered<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) p256dh: &'a str,
    pub(crate) auth: &'a str,
}

/// What a service worker or an app reads, and what a browser shows by itself (declarative Web Push: `web_push` and
/// `notification` with `title` and `navigate`; `mutable`: a service worker may show something better).
#[derive(Serialize)]
struct Message {
    web_push: u16,
    notification: Shown,
    mutable: bool,
    #[serde(flatten)]
    ids: Ids,
}

#[derive(Serialize)]
struct Shown {
    title: &'static str,
    body: &'static str,
    lang: &'static str,
    /// Relative to the scope that the app subscribed in, which we do not know: its start.
    navigate: &'static str,
    tag: String,
}

impl WebPush {
    /// The sender; `resolver` is asked at each connect.
    pub(crate) fn new(
        settings: &WebPushSettings,
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SettingsError> {
        let rule = Arc::new(AddressRule {
            additional_ports: settings.additional_ports.clone(),
            additional_networks: settings.additional_networks.clone(),
            refused_networks: settings.refused_networks.clone(),
        });
        let certificates = transport::certificates("push.webpush.extra_ca_file", settings.extra_ca_pem.as_deref())?;
        let builder = transport::builder()
            .https_only(true)
            // Devices choose the hosts: what is kept open for each is little, and not for long.
            .pool_max_idle_per_host(2)
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_while_idle(false)
            .dns_resolver(GuardedResolver::new(resolver, Arc::clone(&rule)));
        // Without certificates nothing can be sent, and the doctor says so; the server runs all the same.
        let client = transport::build(builder, &certificates).ok();
        let vapid = Vapid::new(&settings.vapid_private_key, &settings.contact)?;
        Ok(Self { rule, origins: Recent::new(ORIGINS), vapid, client, clock, entropy })
    }

    pub(crate) fn has_certificates(&self) -> bool {
        self.client.is_some()
    }

    pub(crate) fn public_key(&self) -> String {
        self.vapid.public_key().to_owned()
    }

    /// Whether this endpoint may be sent to, as far as its URL shows.
    pub(crate) fn accepts(&self, endpoint: &str) -> bool {
        self.has_certificates() && self.rule.check(endpoint).is_ok()
    }

    /// Whether a push there is known to have to wait.
    pub(crate) fn is_in_trouble(&self, endpoint: &str) -> bool {
        let Ok(url) = self.rule.check(endpoint) else { return false };
        self.origins.peek(&url.origin().ascii_serialization()).is_some_and(|origin| origin.gate.is_in_trouble())
    }

    pub(crate) fn origins(&self) -> Vec<Arc<Origin>> {
        self.origins.all()
    }

    /// The endpoint's URL and origin, or the verdict on an endpoint that may not be sent to.
    pub(crate) fn origin(&self, endpoint: &str) -> Result<(Url, Arc<Origin>), Outcome> {
        let forbidden = |_| Outcome::Undeliverable(Reason::of("address-forbidden"));
        let url = self.rule.check(endpoint).map_err(forbidden)?;
        let is_kept = |origin: &Origin| origin.gate.is_worth_keeping();
        let origin = self.origins.get_or_make(&url.origin().ascii_serialization(), is_kept, |name| Origin {
            gate: Gate::of_stranger(Destination::WebPush(Arc::clone(name)), Arc::clone(&self.clock)),
            vapid: Slot::default(),
        });
        let full = Outcome::NotTried { after_millis: BUSY_MILLIS, reason: Reason::of("busy") };
        Ok((url, origin.ok_or(full)?))
    }

    /// Sends; the caller bounds it.
    pub(crate) async fn send(
        &self,
        notification: &LeasedNotification,
        registered: Registered<'_>,
        url: Url,
        origin: &Origin,
    ) -> Result<(Outcome, Health), Fault> {
        if notification.kind == NotificationKind::Withdrawn {
            return Ok((Outcome::Accepted, Health::Unknown));
        }
        let Some(client) = &self.client else {
            return Ok((Outcome::retry(Reason::of("no-certificates")), Health::Unknown));
        };
        let Some(request) = self.request(notification, registered, url, origin) else {
            return Ok((Outcome::Undeliverable(Reason::of("bad-subscription")), Health::Unknown));
        };
        let destination = origin.gate.destination();
        match transport::exchange(client, request, || origin.gate.may_repeat()).await {
            Ok(answer) => {
                tracing::debug!(push.destination = %destination, push.status = answer.status, "answered");
                Ok(verdict(&answer, self.clock.now()))
            }
            Err(fault) => {
                tracing::debug!(push.destination = %destination, push.reason = %fault.reason, "not answered");
                Err(fault.veiled())
            }
        }
    }

    fn request(
        &self,
        notification: &LeasedNotification,
        registered: Registered<'_>,
        url: Url,
        origin: &Origin,
    ) -> Option<Request> {
        let subscription = Subscription::new(registered.p256dh, registered.auth)?;
        let plaintext = body(notification)?;
        let encrypted = encryption::encrypt(&plaintext, &subscription, &Ephemeral::new(self.entropy.as_ref())?)?;
        let now = self.clock.now();
        let authorization = self.vapid.header(&origin.vapid, &url, now);
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        headers.insert(TTL, HeaderValue::from(payload::seconds_left(notification, now)));
        headers.insert(URGENCY, HeaderValue::from_static("high"));
        headers.insert(TOPIC, HeaderValue::from_str(&topic(notification)?).ok()?);
        *request.body_mut() = Some(encrypted.into());
        Some(request)
    }
}

/// Says nothing about the challenge to a push service that does not know it, and is the same in each repeat.
fn topic(notification: &LeasedNotification) -> Option<String> {
    let digest = countersign_proto::jose::digest(payload::collapse_id(notification).as_ref());
    Some(URL_SAFE_NO_PAD.encode(digest.get(..TOPIC_BYTES)?))
}

fn body(notification: &LeasedNotification) -> Option<Vec<u8>> {
    let alert = payload::alert(notification.kind)?;
    let shown = Shown {
        title: alert.title,
        body: alert.body,
        lang: "en",
        navigate: "./",
        tag: payload::collapse_id(notification),
    };
    serde_json::to_vec(&Message { web_push: 8030, notification: shown, mutable: true, ids: Ids::of(notification) }).ok()
}

/// What a push service's answer means (RFC 8030 sections 5 and 7.3, RFC 8292 section 4.2; protocol 8.5). Without the
/// status: the address is a device's choice, and who chose it is not to learn what else answers there.
pub(crate) fn verdict(answer: &Answer, now: Timestamp) -> (Outcome, Health) {
    let after_millis = answer.retry_after_millis(now);
    let retry = |code| Outcome::Retry { after_millis, reason: Reason::of(code) };
    let waits = after_millis.filter(|millis| *millis > 0).map(Health::Waits);
    let unexpected = Reason::of("unexpected-status");
    match answer.status {
        200..=204 => (Outcome::Accepted, Health::Alive),
        // Redirects are not followed, and where one leads is this endpoint's affair.
        300..=399 => (Outcome::Undeliverable(unexpected), Health::Unknown),
        404 | 410 => (Outcome::TokenGone(Reason::of("subscription-gone")), Health::Alive),
        413 => (Outcome::Rejected(Reason::of("payload-too-large")), Health::Alive),
        // The subscription belongs to another key of ours, or the service wants none of it: this endpoint's affair.
        400 | 401 | 403 => (Outcome::Undeliverable(Reason::of("subscription-refused")), Health::Alive),
        429 => (retry("too-many-requests"), waits.unwrap_or(Health::Unknown)),
        503 => (retry(unexpected.code), waits.unwrap_or(Health::Failing(unexpected))),
        400..=499 => (Outcome::Rejected(unexpected), Health::Alive),
        _ => (retry(unexpected.code), Health::Failing(unexpected)),
    }
}

#[cfg(test)]
mod tests;
