//! How a phone is rung: its place at a stand-in of a push provider, in this process or in another.
//!
//! An [`Inbox`] registers a fresh device at the stand-in's control port, says what to put into the `push`
//! claim, and hands out what arrived, as the platform would hand it to the app. A push only says that there
//! is something to pull: nothing in it is ever shown or signed.
//!
//! To add a provider: its arms in [`Inbox::open`] and `read`.

use std::collections::VecDeque;
use std::time::Duration;

use countersign_proto::ids::ChallengeId;
use countersign_proto::jose::base64url;
use countersign_proto::push::PushBinding;
use countersign_proto::vocabulary::{Platform, PushChannel};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::server::{control_client, receive};
use super::{Phone, PhoneError, VerifiedChallenge};
use crate::webpush::Subscriber;

/// The longest that one read is held.
const MAX_WAIT: Duration = Duration::from_secs(50);

/// A phone's place at a stand-in.
#[derive(Debug)]
pub struct Inbox {
    http: Client,
    control_url: String,
    binding: PushBinding,
    /// Under which name the stand-in records what comes.
    token: String,
    /// The browser, where the channel is Web Push.
    browser: Option<Subscriber>,
    after: u64,
    arrived: VecDeque<Notification>,
    shown: Vec<Notification>,
}

/// A push as the app sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Counts the requests of the stand-in.
    pub sequence: u64,
    /// `challenge`, `withdrawn`, `notice` or `test`; empty if the payload has none.
    pub kind: String,
    /// What it is about, if that is a challenge.
    pub challenge_id: Option<ChallengeId>,
    /// The whole payload: APNs the body, FCM `data`, Web Push the decrypted body.
    pub payload: Value,
    /// What a later push replaces it by: APNs and FCM's collapse keys, Web Push's `Topic`.
    pub collapse_key: Option<String>,
}

#[derive(Deserialize)]
struct Pushes {
    pushes: Vec<Arrived>,
}

#[derive(Deserialize)]
struct Arrived {
    sequence: u64,
    push: Value,
}

impl Inbox {
    /// Whether a stand-in answers at `control_url`; registers nothing.
    ///
    /// # Errors
    /// None does, or something else.
    pub async fn check(control_url: &str) -> Result<(), PhoneError> {
        let http = control_client(control_url)?;
        let status: Value = receive(http.get(format!("{control_url}/status"))).await?.read()?;
        if status.get("attempted").is_some() { Ok(()) } else { Err(PhoneError::Inbox("it is no stand-in")) }
    }

    /// A fresh device at the stand-in whose control port is at `control_url` (`http://HOST:PORT`).
    ///
    /// # Errors
    /// [`PhoneError::Inbox`] if that is no stand-in of `channel`; as [`super::Server::send`].
    pub async fn open(channel: PushChannel, control_url: &str) -> Result<Self, PhoneError> {
        let http = control_client(control_url)?;
        let browser = match channel {
            PushChannel::Webpush => {
                Some(Subscriber::generate().map_err(|_| PhoneError::Inbox("this machine cannot make keys"))?)
            }
            PushChannel::Apns | PushChannel::Fcm | PushChannel::None => None,
        };
        let keys = match &browser {
            Some(browser) => json!({"p256dh": browser.p256dh(), "auth": browser.auth()}),
            None => json!({}),
        };
        let reply = receive(http.post(format!("{control_url}/register")).json(&keys)).await?;
        let binding: PushBinding =
            serde_json::from_slice(reply.body()).map_err(|_| PhoneError::Inbox("it registers no devices"))?;
        if binding.channel() != channel {
            return Err(PhoneError::Inbox("it stands in for another provider"));
        }
        let token = match &binding {
            PushBinding::Apns { token, .. } | PushBinding::Fcm { token, .. } => token.clone(),
            PushBinding::Webpush { endpoint, .. } => endpoint.rsplit('/').next().unwrap_or_default().to_owned(),
            PushBinding::None => return Err(PhoneError::Inbox("it rings nobody")),
        };
        let control_url = control_url.to_owned();
        let (arrived, shown) = (VecDeque::new(), Vec::new());
        Ok(Self { http, control_url, binding, token, browser, after: 0, arrived, shown })
    }

    /// What to register with, or to update to.
    pub fn binding(&self) -> PushBinding {
        self.binding.clone()
    }

    /// Under which name the stand-in scripts and records this device.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The next push, each once, in the order of their coming; `None` if there is none before `deadline`.
    ///
    /// # Errors
    /// [`PhoneError`] if the stand-in has gone, or sent what no device would understand.
    pub async fn next(&mut self, deadline: Duration) -> Result<Option<Notification>, PhoneError> {
        let search = async {
            while self.arrived.is_empty() {
                self.fetch().await?;
            }
            Ok::<_, PhoneError>(self.arrived.pop_front())
        };
        let found = tokio::time::timeout(deadline, search).await.unwrap_or(Ok(None))?;
        if let Some(notification) = &found {
            self.show(notification);
        }
        Ok(found)
    }

    /// Waits for the next push of this kind, past all others; `None` if there is none before `deadline`.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_of_kind(&mut self, kind: &str, deadline: Duration) -> Result<Option<Notification>, PhoneError> {
        let search = async {
            loop {
                match self.next(MAX_WAIT).await? {
                    Some(notification) if notification.kind == kind => return Ok(Some(notification)),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(deadline, search).await.unwrap_or(Ok(None))
    }

    /// The alerts that [`Self::next`] has handed out and that the screen still shows, oldest first: a later
    /// one has replaced those of its collapse key, a withdrawal has removed those of its challenge.
    pub fn shown(&self) -> &[Notification] {
        &self.shown
    }

    /// One held read. Cancelling it loses nothing: what it would have brought is read again.
    async fn fetch(&mut self) -> Result<(), PhoneError> {
        let Self { control_url, token, after, .. } = self;
        let url = format!("{control_url}/pushes/{token}?after={after}&wait={}", MAX_WAIT.as_secs());
        let request = self.http.get(url).timeout(MAX_WAIT.saturating_mul(2));
        let reply = receive(request).await?;
        let pushes: Pushes =
            serde_json::from_slice(reply.body()).map_err(|_| PhoneError::Inbox("it does not say what came"))?;
        for arrived in pushes.pushes {
            self.after = self.after.max(arrived.sequence);
            let notification = self.read(&arrived)?;
            self.arrived.push_back(notification);
        }
        Ok(())
    }

    /// What the platform hands to the app.
    fn read(&self, arrived: &Arrived) -> Result<Notification, PhoneError> {
        let push = &arrived.push;
        let (payload, collapse_key) = match (&self.binding, &self.browser) {
            (PushBinding::Fcm { .. }, _) => (push.get("data").cloned(), "collapse_key"),
            (_, Some(browser)) => (decrypted(browser, push), "topic"),
            _ => (push.get("payload").cloned(), "collapse_id"),
        };
        let payload = payload.ok_or(PhoneError::Inbox("a push came that the device cannot read"))?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Notification {
            sequence: arrived.sequence,
            kind: text(&payload, "kind").unwrap_or_default(),
            challenge_id: text(&payload, "challenge_id").and_then(|id| id.parse().ok()),
            collapse_key: text(push, collapse_key),
            payload,
        })
    }

    fn show(&mut self, notification: &Notification) {
        let Notification { kind, challenge_id, collapse_key, .. } = notification;
        if kind == "withdrawn" {
            return self.shown.retain(|shown| shown.challenge_id != *challenge_id);
        }
        if collapse_key.is_some() {
            self.shown.retain(|shown| shown.collapse_key != *collapse_key);
        }
        self.shown.push(notification.clone());
    }
}

fn decrypted(browser: &Subscriber, push: &Value) -> Option<Value> {
    let body = base64url::decode(push.get("body")?.as_str()?)?;
    serde_json::from_slice(&browser.decrypt(&body).ok()?).ok()
}

impl Phone {
    /// Pulls and verifies the challenge that a push is about.
    ///
    /// # Errors
    /// [`PhoneError::Inbox`] if it is about none; as [`Phone::challenge`] and [`Phone::verify`].
    pub async fn pull(&self, notification: &Notification) -> Result<VerifiedChallenge, PhoneError> {
        let id = notification.challenge_id.ok_or(PhoneError::Inbox("the push is about no challenge"))?;
        let pending = self.challenge(id).await?;
        self.verify(&pending).await
    }
}

impl std::fmt::Display for Notification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.challenge_id {
            Some(id) => write!(f, "{} {id}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

/// The platform that rings by this channel.
pub fn platform_of(channel: PushChannel) -> Platform {
    match channel {
        PushChannel::Apns => Platform::Ios,
        PushChannel::Fcm => Platform::Android,
        PushChannel::Webpush => Platform::Web,
        PushChannel::None => Platform::Other,
    }
}

#[cfg(test)]
mod tests;
