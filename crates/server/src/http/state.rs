//! What every handler has at hand.

use std::sync::Arc;

use countersign_core::{
    actor::{Actor, Stamp},
    entropy::{Entropy, new_id},
    ports::Store,
};
use countersign_proto::{
    ids::{Id, TenantId},
    timestamp::Timestamp,
};
use tokio::sync::Semaphore;

use super::{admission::Admission, meta::ready::Readiness};
use crate::{
    audit::Audit, clock::Clock, decisions::Decisions, keyring::Keyring, outbox::Outbox, pushing::Pushing,
    sightings::Sightings, signing::ServerKeys, waiters::Waiters,
};

/// What every handler has at hand.
pub struct App {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Our own keys.
    pub keys: Arc<ServerKeys>,
    /// Devices' keys.
    pub keyring: Keyring,
    /// The log's tree, its checkpoints, its proofs.
    pub audit: Arc<Audit>,
    /// Turns records into what callers see, verified.
    pub decisions: Decisions,
    /// How much is worked on at once.
    pub admission: Admission,
    /// Held reads.
    pub waiters: Arc<Waiters>,
    /// Rings for the dispatcher.
    pub outbox: Arc<Outbox>,
    /// The push senders.
    pub pushing: Pushing,
    /// The sender of webhooks.
    pub webhooks: countersign_push::WebhookSender,
    /// What devices were seen to do.
    pub sightings: Sightings,
    /// Room for exports of persons.
    pub exports: Arc<Semaphore>,
    /// What `/readyz` last found.
    pub readiness: Readiness,
    /// The OpenAPI document, once written.
    pub openapi: std::sync::OnceLock<axum::body::Bytes>,
    /// Proxies whose `X-Forwarded-For` is believed, for the log.
    pub trusted_proxies: Vec<std::net::IpAddr>,
}

impl App {
    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id.
    pub fn new_id<K>(&self, now: Timestamp) -> Id<K> {
        new_id(now, self.entropy.as_ref())
    }

    /// The stamp of a command.
    pub fn stamp(&self, actor: Actor, tenant_id: TenantId, request_id: &str, at: Timestamp) -> Stamp {
        Stamp { command_id: self.new_id(at), actor, tenant_id, request_id: request_id.to_owned(), at }
    }

    /// Our public URL.
    pub fn issuer(&self) -> &str {
        self.keys.issuer()
    }
}
