//! What all stand-ins of push providers share: scripted misbehaviour, a record of what came, TLS, a control
//! port, and the [`Handle`] that a test or a program holds.
//!
//! A stand-in listens on 127.0.0.1, unless it is told to serve a network of containers, and keeps everything in memory. It must never be kinder than the
//! provider it stands for: what it does not check, nothing here proves.
//!
//! To add a stand-in: a [`Provider`], and a `start` that builds a [`Desk`] and serves a port.

pub mod behaviour;
pub mod certificates;
pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod http;
pub mod ledger;
pub(crate) mod listener;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod wire;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;

pub use self::behaviour::{Behaviour, Scripts};
pub use self::certificates::{Authority, Certificates, Flaw};
pub use self::clock::{Clock, system_clock};
pub use self::ledger::{Answer, Attempt, Ledger};

/// What differs between the stand-ins.
pub trait Provider: Send + Sync + Sized + 'static {
    /// One push, as it was understood.
    type Push: Clone + fmt::Debug + Serialize + Send + Sync + 'static;

    /// A fresh device of this provider, as the `push` claim of a registration (protocol section 8).
    ///
    /// `keys` is the request's body: for Web Push `{"p256dh", "auth"}`.
    ///
    /// # Errors
    /// In words, if `keys` are none.
    fn new_binding(desk: &Desk<Self>, keys: &Value) -> Result<Value, String>;

    /// What it counted beside requests and connections.
    fn counts(&self) -> Value;
}

/// What every stand-in can be told.
#[derive(Clone)]
pub struct Common {
    /// Where both ports listen. Nothing guards them: never beyond loopback, except in a network of one's own.
    pub listen: IpAddr,
    /// The name under which others reach it; the address if absent.
    pub host: Option<String>,
    /// 0 takes any free port.
    pub port: u16,
    /// 0 takes any free port; always plain HTTP.
    pub control_port: u16,
    /// Its certificate; a fresh authority if absent.
    pub certificates: Option<Certificates>,
    /// Plain HTTP instead of TLS (FCM and Web Push only).
    pub plain_http: bool,
    /// Its time.
    pub clock: Clock,
    /// How many requests it remembers; 0: it only counts them.
    pub history: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_concurrent_streams: u32,
    /// A GOAWAY after each so many requests of a connection (APNs only).
    pub goaway_every: Option<u32>,
    /// Whether tokens that were never registered are unknown; else every well-formed token is taken.
    pub known_tokens_only: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host: None,
            port: 0,
            control_port: 0,
            certificates: None,
            plain_http: false,
            clock: system_clock(),
            history: 10_000,
            max_concurrent_streams: 1_000,
            goaway_every: None,
            known_tokens_only: false,
        }
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common").field("port", &self.port).field("history", &self.history).finish_non_exhaustive()
    }
}

/// What the connections of one stand-in share.
pub struct Desk<P: Provider> {
    /// What differs.
    pub provider: P,
    /// What it was told.
    pub common: Common,
    /// Scripted misbehaviour.
    pub scripts: Scripts,
    /// What came.
    pub ledger: Ledger<P::Push>,
    pub(crate) connections: Arc<AtomicU64>,
}

impl<P: Provider> Desk<P> {
    pub(crate) fn new(provider: P, common: Common) -> Self {
        let ledger = Ledger::new(common.history);
        Self { provider, common, scripts: Scripts::default(), ledger, connections: Arc::default() }
    }

    /// Its time, unix seconds.
    pub fn now(&self) -> i64 {
        (self.common.clock)()
    }
}

/// A running stand-in. It ends when this is dropped; [`Handle::stop`] also waits for the end.
pub struct Handle<P: Provider> {
    pub(crate) desk: Arc<Desk<P>>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
    pub(crate) base_url: String,
    pub(crate) control_url: String,
    pub(crate) ca_pem: Option<String>,
}

impl<P: Provider> Handle<P> {
    /// Where the sender posts to, without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Where the control port is: plain HTTP, without a trailing slash.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// The authority to be trusted by the sender; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// What differs between stand-ins.
    pub fn provider(&self) -> &P {
        &self.desk.provider
    }

    /// Appends to what the next requests for `token` will meet, one each.
    pub fn script(&self, token: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.desk.scripts.append(token, behaviours);
    }

    /// What every request without a script meets, until told otherwise: an outage.
    pub fn always(&self, behaviour: Option<Behaviour>) {
        self.desk.scripts.always(behaviour);
    }

    /// The pushes that were accepted, oldest first.
    pub fn received(&self) -> Vec<Attempt<P::Push>> {
        self.desk.ledger.received()
    }

    /// All requests for a token, refused and unanswered ones too, oldest first.
    pub fn attempts(&self) -> Vec<Attempt<P::Push>> {
        self.desk.ledger.attempts()
    }

    /// The next push accepted for `token` that no earlier call has returned; `None` after `deadline`.
    pub async fn next(&self, token: &str, deadline: Duration) -> Option<Attempt<P::Push>> {
        self.desk.ledger.next(token, deadline).await
    }

    /// Waits until `count` pushes in all were accepted; whether they were before `deadline`.
    pub async fn wait_for_accepted(&self, count: u64, deadline: Duration) -> bool {
        let ledger = &self.desk.ledger;
        ledger.wait(deadline, || (ledger.accepted_count() >= count).then_some(())).await.is_some()
    }

    /// Waits until `count` requests in all were recorded; whether they were before `deadline`.
    pub async fn wait_for_attempts(&self, count: u64, deadline: Duration) -> bool {
        let ledger = &self.desk.ledger;
        ledger.wait(deadline, || (ledger.attempted_count() >= count).then_some(())).await.is_some()
    }

    /// How many pushes were accepted, also without history.
    pub fn accepted_count(&self) -> u64 {
        self.desk.ledger.accepted_count()
    }

    /// How many requests for a token came, also without history.
    pub fn attempted_count(&self) -> u64 {
        self.desk.ledger.attempted_count()
    }

    /// How many connections came (through TLS, where there is one).
    pub fn connections(&self) -> u64 {
        self.desk.connections.load(Ordering::SeqCst)
    }

    /// Ends it: the ports are closed and every connection with them when this returns.
    pub async fn stop(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            // Aborted is what it should be.
            let _aborted = task.await;
        }
    }
}

impl<P: Provider> Drop for Handle<P> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl<P: Provider> fmt::Debug for Handle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// The certificates that `common` asks for: none without TLS.
pub(crate) fn certificates(common: &Common) -> io::Result<Option<Certificates>> {
    match (&common.certificates, common.plain_http) {
        (_, true) => Ok(None),
        (Some(certificates), false) => Ok(Some(certificates.clone())),
        (None, false) => Certificates::generate().map(Some),
    }
}
