//! A stand-in of Firebase Cloud Messaging: the HTTP v1 API's `messages:send`, and the OAuth token endpoint of
//! its service accounts (RFC 7523, as Google documents it).
//!
//! It judges each request as Google would and answers in Google's error format. It must never take what
//! Google refuses: what it takes has every member that it knows, of the right type, and no other.
//!
//! To add a check: its line in `message` or `oauth`, and its row in the tests.

mod account;
mod message;
mod oauth;
mod send;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::account::ServiceAccount;
use self::oauth::Oauth;
use crate::stand_in::http::{Line, Reply, serve};
use crate::stand_in::{self, Common, Desk, Provider, clock, control, listener::Port};

/// A running stand-in.
pub type Handle = stand_in::Handle<Fcm>;

/// Under this name the token endpoint is scripted, as if it were a device token.
pub const TOKEN_ENDPOINT: &str = "/token";

/// What the stand-in is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What all stand-ins are told.
    pub common: Common,
    /// The account that may send; a fresh one of the project `stand-in` if absent.
    pub account: Option<ServiceAccount>,
    /// How long an access token is good for, in seconds; Google's 3599.
    pub access_token_seconds: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { common: Common::default(), account: None, access_token_seconds: 3_599 }
    }
}

/// One push, as FCM understood it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Push {
    /// The project of the path.
    pub project: String,
    /// The last part of the message's name; empty if it was refused.
    pub message_id: String,
    /// `data`.
    pub data: serde_json::Map<String, Value>,
    /// `android.priority`.
    pub priority: Option<String>,
    /// `android.ttl`, in seconds.
    pub ttl_seconds: Option<i64>,
    /// `android.collapse_key`.
    pub collapse_key: Option<String>,
    /// The whole request as it came; null if it is no JSON.
    pub request: Value,
}

/// What an FCM knows.
#[derive(Debug)]
pub struct Fcm {
    account: ServiceAccount,
    oauth: Oauth,
    registry: Mutex<HashMap<String, Registered>>,
}

/// What is known of a registration token.
#[derive(Debug, Clone)]
struct Registered {
    project: String,
    is_gone: bool,
}

/// Starts one.
///
/// # Errors
/// If the port cannot be bound or no certificate or key be made.
pub async fn start(options: Options) -> io::Result<Handle> {
    let Options { common, account, access_token_seconds } = options;
    let certificates = stand_in::certificates(&common)?;
    let tls = certificates.as_ref().map(|certificates| certificates.server_config(&["h2", "http/1.1"])).transpose()?;
    let port = Port::bind(&common, common.port, tls).await?;
    let control_port = Port::bind(&common, common.control_port, None).await?;
    let account = match account {
        Some(account) => account,
        None => ServiceAccount::generate("stand-in")?,
    };
    let (base_url, control_url) = (port.base_url(), control_port.base_url());
    let oauth = Oauth::new(&account, format!("{base_url}{TOKEN_ENDPOINT}"), access_token_seconds);
    let desk = Arc::new(Desk::new(Fcm { account, oauth, registry: Mutex::default() }, common));
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

async fn route(desk: Arc<Desk<Fcm>>, request: Request<Incoming>, line: Line) -> Option<Reply> {
    match request.uri().path() {
        TOKEN_ENDPOINT => oauth::token(&desk, request, &line).await,
        _ => send::send(&desk, request, &line).await,
    }
}

impl Handle {
    /// The account's key file, as Google's console gives it out: its `token_uri` is this stand-in's.
    pub fn service_account_json(&self) -> String {
        self.provider().account.to_json(&self.provider().oauth.token_uri)
    }

    /// The project that may be sent to.
    pub fn project(&self) -> &str {
        &self.provider().account.project_id
    }

    /// Makes `token` known as one of `project`: of another than the account's it is answered
    /// `SENDER_ID_MISMATCH`.
    pub fn register(&self, token: &str, project: &str) {
        self.provider().register(token, project);
    }

    /// From now on `token` is answered `UNREGISTERED`.
    pub fn unregister(&self, token: &str) {
        let registered = Registered { project: self.project().to_owned(), is_gone: true };
        lock(&self.provider().registry).insert(token.to_owned(), registered);
    }

    /// All access tokens that were given out stop being good.
    pub fn revoke_access_tokens(&self) {
        self.provider().oauth.revoke_all();
    }

    /// How many assertions came to the token endpoint, good or bad.
    pub fn assertions(&self) -> u64 {
        self.provider().oauth.assertions()
    }

    /// How many different assertions were found good.
    pub fn assertions_seen(&self) -> usize {
        self.provider().oauth.good_assertions()
    }

    /// The messages that the app holds for `token`, oldest first: those of one collapse key replace each
    /// other, as they do while a device is offline.
    pub fn shown(&self, token: &str) -> Vec<Push> {
        let mut shown: Vec<Push> = Vec::new();
        for push in self.desk.ledger.received_for(token, 0).into_iter().map(|attempt| attempt.push) {
            if push.collapse_key.is_some() {
                shown.retain(|earlier| earlier.collapse_key != push.collapse_key);
            }
            shown.push(push);
        }
        shown
    }
}

impl Fcm {
    fn register(&self, token: &str, project: &str) {
        let registered = Registered { project: project.to_owned(), is_gone: false };
        lock(&self.registry).insert(token.to_owned(), registered);
    }

    fn registered(&self, token: &str) -> Option<Registered> {
        lock(&self.registry).get(token).cloned()
    }
}

impl Provider for Fcm {
    type Push = Push;

    fn new_binding(desk: &Desk<Self>, _: &Value) -> Result<Value, String> {
        let random: [u8; 48] = clock::random().map_err(|error| error.to_string())?;
        let token = countersign_proto::jose::base64url::encode(random);
        let project = &desk.provider.account.project_id;
        desk.provider.register(&token, project);
        Ok(json!({"channel": "fcm", "token": token, "project": project}))
    }

    fn counts(&self) -> Value {
        json!({"assertions": self.oauth.assertions(), "good_assertions": self.oauth.good_assertions()})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that runs under these locks can leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
