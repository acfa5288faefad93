//! Notifications: push jobs, leased by dispatchers.
//!
//! At least once: a lease that runs out returns the job to everybody. A verdict is stored only if the lease
//! still holds, so a stale worker cannot undo what a later one did.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ChallengeId, CommandId, DeviceId, NotificationId, TenantId},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::PushChannel,
};

use super::StoreError;

/// What a push says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// Something waits for an answer.
    Challenge,
    /// It no longer does.
    Withdrawn,
    /// Something happened to the user's registrations.
    Notice,
    /// An administrator tries the channel.
    Test,
}

impl NotificationKind {
    /// The word in the database and in payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Withdrawn => "withdrawn",
            Self::Notice => "notice",
            Self::Test => "test",
        }
    }
}

/// Leases due notifications of one channel: a channel whose providers are slow keeps nobody else waiting.
#[derive(Debug, Clone, Copy)]
pub struct ClaimNotifications {
    /// The channel that the device had when the notification was queued. The device may have another by now: the
    /// sender goes by [`LeasedNotification::push`].
    pub channel: PushChannel,
    /// The lease's token.
    pub lease: CommandId,
    /// Now.
    pub now: Timestamp,
    /// How long the lease holds.
    pub lease_seconds: i64,
    /// At most so many.
    pub limit: u32,
}

/// A leased notification, with what its sender needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedNotification {
    /// Our id: also the provider's request id, so that a repeat is recognised.
    pub id: NotificationId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// What it says.
    pub kind: NotificationKind,
    /// To whom.
    pub device_id: DeviceId,
    /// About which challenge.
    pub challenge_id: Option<ChallengeId>,
    /// Where the device is rung.
    pub push: PushBinding,
    /// When the device told us that.
    pub push_updated_at: Timestamp,
    /// Whether the provider refused this token for good the last time; a success clears the mark.
    pub was_undeliverable: bool,
    /// How often it was tried before.
    pub attempts: u32,
    /// Not worth sending from then on.
    pub expires_at: Timestamp,
    /// The lease's token.
    pub lease: CommandId,
    /// The lease's end.
    pub leased_until: Timestamp,
}

/// What a sender made of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationVerdict {
    /// The provider took it.
    Delivered,
    /// Try again then; our code for why.
    RetryAt(Timestamp, String),
    /// Nobody was asked; take it up again then. The attempt does not count, and the delivery stays what it was.
    PutBack(Timestamp),
    /// The provider says that the token is gone: cleared, if it is still the one that was tried. Our code for why.
    TokenGone(String),
    /// The provider refuses this token for good, though it may still exist: the device is marked with our code for
    /// why, if its token is still the one that was tried. The token stays.
    Undeliverable(String),
    /// The provider refuses this message for good; our code for why. Says nothing about the token.
    Rejected(String),
    /// Its time is up, or would be before it could be tried again; our code for why it was not sent, if it was tried.
    /// Without one the delivery's earlier `last_error` stays.
    Expired(Option<String>),
}

/// Stores a verdict: in the job, its delivery or test push, the device's push health and (token gone, undeliverable)
/// the device itself.
#[derive(Debug, Clone)]
pub struct FinishNotification {
    /// What was leased, with its lease.
    pub leased: LeasedNotification,
    /// What came of it.
    pub verdict: NotificationVerdict,
    /// Now.
    pub at: Timestamp,
}

/// What came of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishOutcome {
    /// Stored.
    Stored,
    /// The lease no longer holds: nothing was changed.
    StaleLease,
}

/// What devices were seen to do, gathered in memory and written together: hints for operators, and when a device last
/// decided anything, which is measured in days. Losing a second of it in a crash loses nothing that anybody was
/// promised: at worst a device counts as dormant a little early.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    /// Devices that asked for their challenges, and when last.
    pub pulls: Vec<(TenantId, DeviceId, Timestamp)>,
    /// Devices that decided a challenge, and when last.
    pub answers: Vec<(TenantId, DeviceId, Timestamp)>,
    /// Challenges that were handed to an addressed device, and when first.
    pub fetches: Vec<(ChallengeId, DeviceId, Timestamp)>,
}

/// Notifications.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Leases due notifications of active devices, oldest first. What is found to be of no use any more is not
    /// returned: a push whose challenge has ended (it is withdrawn, if anybody may have sent it), one whose device's
    /// binding cannot be read (rejected).
    async fn claim_notifications(&self, command: ClaimNotifications) -> Result<Vec<LeasedNotification>, StoreError>;
    /// Stores a verdict in the notification and its delivery.
    async fn finish_notification(&self, command: FinishNotification) -> Result<FinishOutcome, StoreError>;
    /// Removes notifications that nobody will send: `expires_at` ≤ `now`. Their deliveries become `expired`.
    /// At most `limit`; returns how many.
    async fn expire_notifications(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// When the oldest notification that is worth sending at `now` was queued, per channel with any: the outbox's age.
    /// What is being sent or waits to be tried again counts, too: else a provider that refuses all would look well.
    /// Not what nobody can send, because the device is not active or has no token.
    async fn oldest_unsent(&self, now: Timestamp) -> Result<Vec<(PushChannel, Timestamp)>, StoreError>;
    /// Writes what was seen, some hundred rows at a time: what was written before an error stays. Later pulls (by more
    /// than ten seconds) and earlier fetches win; unknown ids are skipped.
    async fn record_sightings(&self, sightings: Sightings) -> Result<(), StoreError>;
}
