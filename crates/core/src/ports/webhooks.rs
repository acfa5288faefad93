//! Webhooks: addresses of an organisation that are told of its events, and the messages on their way there.
//!
//! A message is queued in the transaction of its event, by the store itself: nothing here queues one but the test that
//! an administrator asks for. At least once: a lease that runs out returns the message to everybody. A verdict is stored
//! only if the lease still holds, so a stale worker cannot undo what a later one did. No secret and nothing personal is
//! ever stored: a message's body is made when it is sent.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ChallengeId, CommandId, EventId, TenantId, WebhookDeliveryId, WebhookId, WebhookSecretId},
    timestamp::Timestamp,
};

use super::{PageRequest, StoreError};
use crate::{
    actor::Stamp,
    event::{EventKind, Subjects},
    webhook::{Attempt, DeliveryStatus, DisabledReason, EventFilter, PreviousSecret, WebhookStatus},
};

/// What the server vouches for with a seal: where what is told goes, and with which secret it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    /// Where. May hold a secret: never logged.
    pub url: String,
    /// Of what it is told.
    pub events: EventFilter,
    /// Which of its secrets signs. The secrets themselves follow from the key file.
    pub secret_id: WebhookSecretId,
    /// Former ones that sign, too, oldest first.
    pub previous_secrets: Vec<PreviousSecret>,
    /// The server's seal over all of this.
    pub seal: String,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRecord {
    /// Our id.
    pub id: WebhookId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// Where and what.
    pub target: WebhookTarget,
    /// For people.
    pub description: Option<String>,
    /// Whether it is told.
    pub status: WebhookStatus,
    /// Since when everything fails there.
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Moves with each change: of two changes of the same version one is told so.
    pub version: u32,
}

/// Makes a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateWebhook {
    /// Who, when.
    pub stamp: Stamp,
    /// Its id.
    pub id: WebhookId,
    /// Where and what.
    pub target: WebhookTarget,
    /// For people.
    pub description: Option<String>,
    /// How many its organisation may have, if its operator has not said.
    pub usual_limit: u32,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateWebhookOutcome {
    /// It is there, enabled.
    Created(WebhookRecord),
    /// The organisation has as many as it may.
    QuotaExceeded {
        /// So many.
        limit: u32,
    },
}

/// Changes a webhook as a whole, if nobody has changed it since it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeWebhook {
    /// Who, when.
    pub stamp: Stamp,
    /// Which.
    pub id: WebhookId,
    /// As it was read.
    pub expected_version: u32,
    /// Where and what, from now on.
    pub target: WebhookTarget,
    /// For people, from now on.
    pub description: Option<String>,
    /// Whether it is told from now on.
    pub status: WebhookStatus,
    /// What is written in the log: `webhook.changed`, `webhook.disabled` or `webhook.secret_rotated`.
    pub kind: EventKind,
    /// The members that differ, for the log.
    pub changed: Vec<&'static str>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeWebhookOutcome {
    /// It holds.
    Changed(WebhookRecord),
    /// Somebody else was faster: read it again.
    Conflict,
    /// There is none.
    NotFound,
}

/// A message to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The event's id, or the test's: `webhook-id` of the message, the same in each attempt.
    pub id: WebhookDeliveryId,
    /// The event's kind; `None` for a test.
    pub kind: Option<EventKind>,
    /// What has become of it.
    pub status: DeliveryStatus,
    /// When it is tried next, if it waits.
    pub due_at: Option<Timestamp>,
    /// When it was queued, or sent again by somebody's wish.
    pub queued_at: Timestamp,
    /// The latest attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// Leases messages that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimDeliveries {
    /// The lease's token.
    pub lease: CommandId,
    /// Now.
    pub now: Timestamp,
    /// How long the lease holds.
    pub lease_seconds: i64,
    /// Of which webhooks, and how many of each at most: one that is slow keeps no other waiting.
    pub webhooks: Vec<Share>,
}

/// How many messages of a webhook may leave: first those that somebody waits for ([`is_urgent`]), then the rest, each
/// sort the one that has been due for longest first.
///
/// [`is_urgent`]: crate::webhook::is_urgent
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of which webhook.
    pub webhook_id: WebhookId,
    /// Of those that somebody waits for, at most.
    pub urgent: u32,
    /// Of the rest, at most.
    pub usual: u32,
    /// In all, at most.
    pub all: u32,
}

/// A leased message with what its sender needs.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedDelivery {
    /// The event's id, or the test's.
    pub id: WebhookDeliveryId,
    /// Its webhook, as it was when the message was leased.
    pub webhook: WebhookRecord,
    /// What it says.
    pub content: Content,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// How often it was tried since then, this time included.
    pub tries: u32,
    /// The attempts before.
    pub attempts: Vec<Attempt>,
    /// The lease's token.
    pub lease: CommandId,
    /// Its end.
    pub leased_until: Timestamp,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// An administrator tries the address out.
    Test,
    /// Something happened.
    Event {
        /// What.
        event: Box<EventContent>,
        /// Whether the challenge that it is about may still be shown.
        challenge: ChallengeState,
    },
    /// The event is not in the log, or is another than the message says: nothing that this server wrote.
    Missing,
}

/// An event as the log has it, without its position: that is given after the commit, and nobody waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventContent {
    /// Our id.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// `api_client`, `device`, `operator`, `system`.
    pub actor_kind: String,
    /// The API client's or device's id.
    pub actor_id: Option<String>,
    /// What it is about.
    pub subjects: Subjects,
    /// The request that caused it.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
    /// Ids, digests and fixed words.
    pub body: serde_json::Map<String, serde_json::Value>,
}

/// Whether a challenge may be shown to whoever is told of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeState {
    /// It is not about one, or that is gone: erased with its person, or kept for long enough.
    Gone,
    /// It is there.
    There(ChallengeId),
    /// Its organisation is disabled: nobody signs in by it.
    TenantDisabled,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryVerdict {
    /// It arrived.
    Delivered,
    /// It is tried again then, or sooner if the address takes other messages again.
    RetryAt(Timestamp),
    /// It is tried again then and no sooner: the address asked for that, or takes others and not this one.
    NotBefore(Timestamp),
    /// Nobody was asked, for want of something of ours: it is due again then, and this was no attempt.
    NotTried(Timestamp),
    /// It is given up.
    Failed,
}

/// Stores what an attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishDelivery {
    /// The message.
    pub leased: LeasedDelivery,
    /// The attempt.
    pub attempt: Attempt,
    /// What it came to.
    pub verdict: DeliveryVerdict,
    /// Whether that says something about the address: not if nothing was sent.
    pub was_sent: bool,
    /// The address is disabled, by the server itself.
    pub disable: Option<(Stamp, DisabledReason)>,
    /// Now.
    pub at: Timestamp,
}

/// Sends messages again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayDeliveries {
    /// Who, when.
    pub stamp: Stamp,
    /// To which webhook.
    pub webhook_id: WebhookId,
    /// What happened from then on.
    pub from: Timestamp,
    /// What happened before.
    pub to: Timestamp,
    /// In this status: `Delivered` or `Failed`.
    pub status: DeliveryStatus,
    /// At most so many.
    pub limit: u32,
}

/// How an address fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes messages, or has failed for less than [`FAILING_AFTER_SECONDS`](crate::webhook::FAILING_AFTER_SECONDS).
    Well,
    /// Everything has failed there for longer.
    Failing,
}

/// A webhook with messages that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueWebhook {
    /// Which.
    pub id: WebhookId,
    /// Whose. `None`: it has been deleted, and its messages are to be dropped.
    pub tenant_id: Option<TenantId>,
    /// Whether there are any among them that somebody waits for.
    pub has_urgent: bool,
    /// Whether there are others.
    pub has_usual: bool,
}

/// Webhooks.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Makes one.
    async fn create_webhook(&self, command: CreateWebhook) -> Result<CreateWebhookOutcome, StoreError>;
    /// An organisation's, newest first.
    async fn webhooks(
        &self,
        tenant_id: TenantId,
        page: PageRequest<WebhookId>,
    ) -> Result<Vec<WebhookRecord>, StoreError>;
    /// One of an organisation's.
    async fn webhook(&self, tenant_id: TenantId, id: WebhookId) -> Result<Option<WebhookRecord>, StoreError>;
    /// Changes one.
    async fn change_webhook(&self, command: ChangeWebhook) -> Result<ChangeWebhookOutcome, StoreError>;
    /// Deletes one; its messages go with it. Whether there was one.
    async fn delete_webhook(&self, stamp: Stamp, id: WebhookId) -> Result<bool, StoreError>;
    /// Queues a test. Whether there is such a webhook.
    async fn test_webhook(&self, stamp: Stamp, id: WebhookId, test: WebhookDeliveryId) -> Result<bool, StoreError>;

    /// A webhook's messages, newest first; those in one status, or all.
    async fn webhook_deliveries(
        &self,
        tenant_id: TenantId,
        webhook_id: WebhookId,
        status: Option<DeliveryStatus>,
        page: PageRequest<WebhookDeliveryId>,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// One message.
    async fn webhook_delivery(
        &self,
        tenant_id: TenantId,
        webhook_id: WebhookId,
        id: WebhookDeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError>;
    /// Sends one message again, whatever became of it. One that is on its way stays on it. Whether there is one.
    async fn replay_webhook_delivery(
        &self,
        stamp: Stamp,
        webhook_id: WebhookId,
        id: WebhookDeliveryId,
    ) -> Result<bool, StoreError>;
    /// Sends many again, the oldest first; returns how many that were.
    async fn replay_webhook_deliveries(&self, command: ReplayDeliveries) -> Result<u64, StoreError>;

    /// Webhooks that fare so, with messages that are due, in the order of their ids, from `after` on. A deleted one is
    /// well.
    async fn due_webhooks(
        &self,
        now: Timestamp,
        health: Health,
        after: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<DueWebhook>, StoreError>;
    /// Leases messages. One that cannot be read is leased, too, and is an error of its own: it keeps nobody else's.
    async fn claim_webhook_deliveries(
        &self,
        command: ClaimDeliveries,
    ) -> Result<Vec<Result<LeasedDelivery, StoreError>>, StoreError>;
    /// Stores what attempts came to, those whose leases still hold; returns how many that were.
    async fn finish_webhook_deliveries(&self, commands: Vec<FinishDelivery>) -> Result<u64, StoreError>;
    /// Drops messages to a webhook that has been deleted; returns how many.
    async fn drop_webhook_deliveries(&self, webhook_id: WebhookId, limit: u32) -> Result<u64, StoreError>;
    /// Deletes messages that have been kept for long enough; returns how many.
    async fn forget_webhook_deliveries(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// When the message was due that has been due for longest, at an address that is enabled.
    async fn oldest_due_webhook_delivery(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
}
