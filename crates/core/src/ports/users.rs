//! Users, with the counters that guard them.

use async_trait::async_trait;
use countersign_proto::{
    ids::{TenantId, UserId},
    timestamp::Timestamp,
};

use super::{PageRequest, StoreError};
use crate::actor::Stamp;

/// How a user is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName {
    /// Our id.
    pub id: UserId,
    /// The tenant's id of this user.
    pub external_id: String,
    /// What the phone shows.
    pub display_name: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// How the user is called.
    pub name: UserName,
    /// When the user was first named.
    pub created_at: Timestamp,
    /// Pending, active and suspended devices. A column, moved with each change: never counted.
    pub device_count: u32,
    /// Challenges stored as pending. A column.
    pub pending_challenges: u32,
    /// Consecutive wrong numbers. A column.
    pub consecutive_failures: u32,
    /// Approvals are refused until then. May lie in the past.
    pub locked_until: Option<Timestamp>,
}

/// What came of an unlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnlockOutcome {
    /// Counter 0, no lock. Event: `user.unlocked`.
    Unlocked(UserRecord),
    /// There was neither a lock nor a failure: nothing was changed.
    NotLocked(UserRecord),
    /// No such user in this tenant.
    NotFound,
}

/// Users.
#[async_trait]
pub trait Users: Send + Sync {
    /// By id.
    async fn user(&self, tenant_id: TenantId, id: UserId) -> Result<Option<UserRecord>, StoreError>;
    /// The tenant's users, newest first; with `external_id` (NFC) at most the one.
    async fn users(
        &self,
        tenant_id: TenantId,
        external_id: Option<&str>,
        page: PageRequest<UserId>,
    ) -> Result<Vec<UserRecord>, StoreError>;
    /// Sets the failure counter to 0 and ends a lock.
    async fn unlock_user(&self, stamp: Stamp, id: UserId) -> Result<UnlockOutcome, StoreError>;
}
