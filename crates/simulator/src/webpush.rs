//! A stand-in of a browser vendor's push service (RFC 8030), with the browser behind it: a [`Subscriber`]
//! decrypts what arrives (RFC 8291).
//!
//! It judges each request as the strictest of the vendors would. It must never take a push that a browser
//! could not decrypt, where it knows the browser's keys.
//!
//! `POST /subscribe` is for tests, and no vendor has it: its body is empty (the stand-in makes the keys and
//! decrypts) or `{"p256dh", "auth", "application_server_key"?}`; its answer `{"endpoint", "keys"}`.
//! To add a check: its line in `delivery` or `vapid`, and its row in the tests.

mod delivery;
mod subscriber;
#[cfg(test)]
pub(crate) mod tests;
mod vapid;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_proto::jose::base64url;
use http::{Method, Request};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::subscriber::{DecryptError, Subscriber};
use self::vapid::Vapid;
use crate::stand_in::http::{Line, Reply, json_reply, read_body, serve};
use crate::stand_in::{self, Common, Desk, Provider, clock, control, listener::Port};

/// A running stand-in.
pub type Handle = stand_in::Handle<WebPush>;

/// What the stand-in is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What all stand-ins are told.
    pub common: Common,
}

/// One push, as the push service and, where it has the keys, the browser understood it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Push {
    /// `Topic`.
    pub topic: Option<String>,
    /// `Urgency`.
    pub urgency: Option<String>,
    /// `TTL`, in seconds.
    pub ttl_seconds: Option<i64>,
    /// The encrypted body, b64u.
    pub body: String,
    /// The decrypted body, if the stand-in made the keys.
    pub plain: Option<String>,
    /// `k` of the VAPID header: the sender's public key, b64u.
    pub vapid_key: Option<String>,
}

/// A browser's subscription at the stand-in.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The last part of the endpoint: under this name it is scripted and recorded.
    pub id: String,
    /// The push resource.
    pub endpoint: String,
    /// The browser's public key, b64u.
    pub p256dh: String,
    /// The browser's authentication secret, b64u.
    pub auth: String,
}

/// What a push service knows.
#[derive(Debug)]
pub struct WebPush {
    base_url: String,
    vapid: Vapid,
    registry: Mutex<HashMap<String, Registered>>,
}

/// What is known of a subscription.
#[derive(Debug, Clone)]
struct Registered {
    /// The browser, if the stand-in made its keys.
    subscriber: Option<Subscriber>,
    /// The only VAPID key that may push to it (RFC 8292 section 4).
    application_server_key: Option<String>,
    is_gone: bool,
}

/// Starts one.
///
/// # Errors
/// If the port cannot be bound or no certificate be made.
pub async fn start(options: Options) -> io::Result<Handle> {
    let Options { common } = options;
    let certificates = stand_in::certificates(&common)?;
    let tls = certificates.as_ref().map(|certificates| certificates.server_config(&["h2", "http/1.1"])).transpose()?;
    let port = Port::bind(&common, common.port, tls).await?;
    let control_port = Port::bind(&common, common.control_port, None).await?;
    let (base_url, control_url) = (port.base_url(), control_port.base_url());
    let provider =
        WebPush { base_url: base_url.clone(), vapid: Vapid::new(base_url.clone()), registry: Mutex::default() };
    let desk = Arc::new(Desk::new(provider, common));
    let tasks = vec![
        port.serve(desk.connections.clone(), {
            let desk = desk.clone();
            move |accepted| {
                let desk = desk.clone();
                async move {
                    let streams = desk.common.max_concurrent_streams;
                    serve(accepted, streams, |request, line| route(desk.clone(), request, line)).await;
                }
            }
        }),
        control::serve(control_port, desk.clone()),
    ];
    let ca_pem = certificates.map(|certificates| certificates.ca_pem().to_owned());
    Ok(Handle { desk, tasks, base_url, control_url, ca_pem })
}

async fn route(desk: Arc<Desk<WebPush>>, request: Request<Incoming>, line: Line) -> Option<Reply> {
    if request.uri().path() != "/subscribe" {
        return delivery::deliver(&desk, request, &line).await;
    }
    let is_post = request.method() == Method::POST;
    let body = read_body(request.into_body()).await?;
    let keys = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let subscribed = keys.map_err(|error| error.to_string()).and_then(|keys| desk.provider.subscribe(&keys));
    Some(match subscribed {
        Ok(Subscription { endpoint, p256dh, auth, .. }) if is_post => {
            json_reply(201, &[], &json!({"endpoint": endpoint, "keys": {"p256dh": p256dh, "auth": auth}}))
        }
        Ok(_) => json_reply(405, &[("allow", "POST")], &json!({"error": "POST only"})),
        Err(error) => json_reply(400, &[], &json!({"error": error})),
    })
}

impl Handle {
    /// A browser subscribes; the stand-in holds its keys and decrypts what comes.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn subscribe(&self) -> io::Result<Subscription> {
        self.provider().subscribe(&Value::Null).map_err(io::Error::other)
    }

    /// A browser that holds its own keys subscribes; `application_server_key`: the only one that may push.
    ///
    /// # Errors
    /// In words, if the key is none.
    pub fn subscribe_with(
        &self,
        subscriber: &Subscriber,
        application_server_key: Option<&str>,
    ) -> Result<Subscription, String> {
        let (p256dh, auth) = (subscriber.p256dh(), subscriber.auth());
        let key = application_server_key;
        self.provider().subscribe(&json!({"p256dh": p256dh, "auth": auth, "application_server_key": key}))
    }

    /// From now on the subscription is answered 410.
    pub fn unsubscribe(&self, id: &str) {
        if let Some(registered) = lock(&self.provider().registry).get_mut(id) {
            registered.is_gone = true;
        }
    }

    /// What a browser would get that has been away until now, oldest first: of one `Topic` only the last,
    /// and nothing whose `TTL` has run out (RFC 8030 sections 5.2 and 5.4).
    pub fn undelivered(&self, id: &str) -> Vec<Push> {
        let mut waiting: Vec<Push> = Vec::new();
        let now = self.desk.now();
        for attempt in self.desk.ledger.received_for(id, 0) {
            let push = attempt.push;
            if push.topic.is_some() {
                waiting.retain(|earlier| earlier.topic != push.topic);
            }
            if attempt.at.saturating_add(push.ttl_seconds.unwrap_or(0)) > now {
                waiting.push(push);
            }
        }
        waiting
    }

    /// How many different VAPID tokens were found good.
    pub fn vapid_tokens_seen(&self) -> usize {
        self.provider().vapid.seen()
    }
}

impl Subscription {
    /// The `push` claim of a registration (protocol section 8).
    pub fn binding(&self) -> Value {
        let Self { endpoint, p256dh, auth, .. } = self;
        json!({"channel": "webpush", "endpoint": endpoint, "p256dh": p256dh, "auth": auth})
    }
}

impl WebPush {
    fn subscribe(&self, keys: &Value) -> Result<Subscription, String> {
        let text = |name: &str| keys.get(name).and_then(Value::as_str).map(str::to_owned);
        let (subscriber, p256dh, auth) = match (text("p256dh"), text("auth")) {
            (Some(p256dh), Some(auth)) => (None, p256dh, auth),
            (None, None) => {
                let subscriber = Subscriber::generate().map_err(|error| error.to_string())?;
                let (p256dh, auth) = (subscriber.p256dh(), subscriber.auth());
                (Some(subscriber), p256dh, auth)
            }
            _ => return Err("p256dh and auth come together".to_owned()),
        };
        let is_point =
            base64url::decode(&p256dh).is_some_and(|it| countersign_proto::jose::PublicKey::from_sec1(&it).is_ok());
        let is_secret = base64url::decode(&auth).is_some_and(|it| it.len() == 16);
        if !is_point || !is_secret {
            return Err("p256dh must be an uncompressed point, auth 16 bytes, both b64u".to_owned());
        }
        let random: [u8; 24] = clock::random().map_err(|error| error.to_string())?;
        let id = base64url::encode(random);
        let application_server_key = text("application_server_key");
        lock(&self.registry).insert(id.clone(), Registered { subscriber, application_server_key, is_gone: false });
        let endpoint = format!("{}/push/{id}", self.base_url);
        Ok(Subscription { id, endpoint, p256dh, auth })
    }

    fn registered(&self, id: &str) -> Option<Registered> {
        lock(&self.registry).get(id).cloned()
    }
}

impl Provider for WebPush {
    type Push = Push;

    fn new_binding(desk: &Desk<Self>, keys: &Value) -> Result<Value, String> {
        desk.provider.subscribe(keys).map(|subscription| subscription.binding())
    }

    fn counts(&self) -> Value {
        json!({"vapid_tokens": self.vapid.seen()})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that runs under these locks can leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
