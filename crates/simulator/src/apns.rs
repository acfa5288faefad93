//! A stand-in of the Apple Push Notification service: HTTP/2 over TLS, as Apple documents it ("Sending
//! notification requests to APNs", "Handling notification responses from APNs").
//!
//! It judges each request as Apple would and answers with Apple's reasons. It must never take what Apple
//! refuses. What Apple leaves open is decided here: a `BadPayload` (400) for a payload that is no JSON object
//! with `aps`, and 60 s of leeway for a provider token from the future.
//!
//! To add a check: its line in `request` (headers), `payload` or `provider_token`, and its row in the tests.

mod account;
mod connection;
mod exchange;
mod payload;
mod provider_token;
mod request;
mod screen;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_proto::vocabulary::ApnsEnvironment;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::account::DeveloperKey;
use self::provider_token::ProviderTokens;
use crate::stand_in::{self, Common, Desk, Provider, clock, control, listener::Port};

/// A running stand-in.
pub type Handle = stand_in::Handle<Apns>;

/// What the stand-in is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What all stand-ins are told.
    pub common: Common,
    /// The keys that its developers have; others are unknown to it.
    pub keys: Vec<DeveloperKey>,
    /// The topics (bundle ids) that may be pushed to.
    pub topics: Vec<String>,
    /// How seldom a key may show a new provider token, in seconds; Apple's 20 minutes. 0: always.
    pub token_update_seconds: i64,
    /// Which of Apple's services it is, for the devices that register at its control port.
    pub environment: ApnsEnvironment,
}

impl Options {
    /// One developer key and one topic.
    pub fn new(key: DeveloperKey, topic: &str) -> Self {
        let (keys, topics) = (vec![key], vec![topic.to_owned()]);
        let environment = ApnsEnvironment::Sandbox;
        Self { common: Common::default(), keys, topics, token_update_seconds: 20 * 60, environment }
    }
}

/// One push, as APNs understood it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Push {
    /// The stream of its connection.
    pub stream: u32,
    /// `apns-id`, as the answer carries it.
    pub apns_id: String,
    /// `apns-topic`.
    pub topic: Option<String>,
    /// `apns-push-type`.
    pub push_type: Option<String>,
    /// `apns-priority`; 10 if absent.
    pub priority: u8,
    /// `apns-expiration`, unix seconds.
    pub expiration: Option<i64>,
    /// `apns-collapse-id`.
    pub collapse_id: Option<String>,
    /// The key id of the provider token, if that was good.
    pub key_id: Option<String>,
    /// The body; null if it is no JSON.
    pub payload: Value,
}

/// What an APNs knows.
#[derive(Debug)]
pub struct Apns {
    environment: ApnsEnvironment,
    topics: HashSet<String>,
    tokens: ProviderTokens,
    registry: Mutex<HashMap<String, Registered>>,
}

/// What is known of a device token.
#[derive(Debug, Clone)]
struct Registered {
    /// The app whose token it is.
    topic: String,
    /// Since when it is none any more, unix milliseconds.
    unregistered_at_millis: Option<i64>,
}

/// Starts one.
///
/// # Errors
/// If the port cannot be bound or no certificate be made.
pub async fn start(options: Options) -> io::Result<Handle> {
    let Options { common, keys, topics, token_update_seconds, environment } = options;
    if common.plain_http {
        return Err(io::Error::other("APNs speaks TLS only"));
    }
    let certificates = stand_in::certificates(&common)?;
    let tls = certificates.as_ref().map(|certificates| certificates.server_config(&["h2"])).transpose()?;
    let port = Port::bind(&common, common.port, tls).await?;
    let control_port = Port::bind(&common, common.control_port, None).await?;
    let apns = Apns {
        environment,
        topics: topics.into_iter().collect(),
        tokens: ProviderTokens::new(keys, token_update_seconds),
        registry: Mutex::default(),
    };
    let desk = Arc::new(Desk::new(apns, common));
    let (base_url, control_url) = (port.base_url(), control_port.base_url());
    let tasks = vec![
        port.serve(desk.connections.clone(), {
            let desk = desk.clone();
            move |accepted| connection::serve(desk.clone(), accepted)
        }),
        control::serve(control_port, desk.clone()),
    ];
    let ca_pem = certificates.map(|certificates| certificates.ca_pem().to_owned());
    Ok(Handle { desk, tasks, base_url, control_url, ca_pem })
}

impl Handle {
    /// Makes `token` known as one of the app `topic`.
    pub fn register(&self, token: &str, topic: &str) {
        self.provider().register(token, topic);
    }

    /// From now on `token` is answered 410 `Unregistered` with this time, until it is registered again.
    pub fn unregister(&self, token: &str, at_millis: i64) {
        if let Some(registered) = lock(&self.provider().registry).get_mut(&token.to_ascii_lowercase()) {
            registered.unregistered_at_millis = Some(at_millis);
        }
    }

    /// The alerts that the device shows, oldest first: those of one collapse id replace each other, those
    /// that had expired when they came are not shown. Background pushes show nothing.
    pub fn shown(&self, token: &str) -> Vec<Push> {
        screen::shown(&self.desk.ledger.received_for(&token.to_ascii_lowercase(), 0))
    }

    /// How many alerts the device rang for, before collapsing.
    pub fn rung(&self, token: &str) -> usize {
        screen::rung(&self.desk.ledger.received_for(&token.to_ascii_lowercase(), 0))
    }

    /// How many different provider tokens were found good.
    pub fn provider_tokens_seen(&self) -> usize {
        self.provider().tokens.seen()
    }
}

impl Apns {
    fn register(&self, token: &str, topic: &str) {
        let registered = Registered { topic: topic.to_owned(), unregistered_at_millis: None };
        lock(&self.registry).insert(token.to_ascii_lowercase(), registered);
    }

    fn registered(&self, token: &str) -> Option<Registered> {
        let registry = lock(&self.registry);
        if registry.is_empty() { None } else { registry.get(token).cloned() }
    }
}

impl Provider for Apns {
    type Push = Push;

    fn new_binding(desk: &Desk<Self>, _: &Value) -> Result<Value, String> {
        let apns = &desk.provider;
        let topic = apns.topics.iter().min().ok_or("this stand-in has no topic")?;
        let random: [u8; 32] = clock::random().map_err(|error| error.to_string())?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        apns.register(&token, topic);
        Ok(json!({"channel": "apns", "token": token, "topic": topic, "environment": apns.environment}))
    }

    fn counts(&self) -> Value {
        json!({"provider_tokens": self.tokens.seen()})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that runs under these locks can leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
