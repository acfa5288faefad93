//! Notifications: push jobs, leased by dispatchers.
//!
//! At least once: a lease that runs out returns the job to everybody. A verdict is stored only if the lease
//! still holds, so a stale worker cannot undo what a later one did.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ChallengeId, CommandId, DeviceId, NotificationId, TenantId},
    push::PushBinding,
    timestamp::Timestamp,
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

/// Leases due notifications.
#[derive(Debug, Clone, Copy)]
pub struct ClaimNotifications {
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
    /// Try again then.
    RetryAt(Timestamp, String),
    /// The token is gone: cleared, if it is still the one that was registered at this time.
    TokenGone {
        /// [`LeasedNotification::push_updated_at`].
        registered_at: Timestamp,
    },
    /// The provider refuses it for good; our code for why.
    Rejected(String),
    /// Its time is up.
    Expired,
}

/// Stores a verdict.
#[derive(Debug, Clone)]
pub struct FinishNotification {
    /// Which.
    pub id: NotificationId,
    /// The lease under which it was worked on.
    pub lease: CommandId,
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

/// Notifications.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Leases due notifications of active devices whose challenge (if any) is still pending, oldest first.
    async fn claim_notifications(&self, command: ClaimNotifications) -> Result<Vec<LeasedNotification>, StoreError>;
    /// Stores a verdict in the notification and its delivery.
    async fn finish_notification(&self, command: FinishNotification) -> Result<FinishOutcome, StoreError>;
    /// Removes notifications that nobody will send: `expires_at` ≤ `now`. Their deliveries become `expired`.
    /// At most `limit`; returns how many.
    async fn expire_notifications(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
