//! Users, with the counters that guard them.

use async_trait::async_trait;
use countersign_proto::{
    api::users::UserReport,
    ids::{ChallengeId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::{ReportAction, ReportReason},
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
    /// Consecutive wrong numbers and codes. A column.
    pub consecutive_failures: u32,
    /// Approvals are refused until then. May lie in the past.
    pub locked_until: Option<Timestamp>,
    /// A report of fraud that nobody has cleared.
    pub reported: Option<UserReport>,
    /// Nobody is rung until then. May lie in the past.
    pub pushes_stopped_until: Option<Timestamp>,
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

/// Reports that somebody else tries to sign in as a user (protocol 9): ends the user's pending challenges
/// (`cancelled`, `reported`) and stops pushes for a while.
///
/// Events: `user.reported`; `challenge.cancelled` for each; `user.locked` if that is new, and then
/// `enrollment.cancelled` for each open one.
#[derive(Debug, Clone)]
pub struct ReportUser {
    /// Who (an API client), where, when.
    pub stamp: Stamp,
    /// Whom.
    pub id: UserId,
    /// Why.
    pub reason: ReportReason,
    /// How long nobody is rung; a longer stop stays.
    pub quiet_seconds: i64,
    /// Whether the user is locked until the report is cleared.
    pub action: ReportAction,
}

/// What came of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportUserOutcome {
    /// It is on the user now.
    Reported {
        /// The user after it.
        user: Box<UserRecord>,
        /// The challenges that it ended.
        cancelled: Vec<ChallengeId>,
    },
    /// No such user in this tenant.
    NotFound,
}

/// What came of clearing a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClearReportOutcome {
    /// It is gone, with the stop of pushes and the lock that came with it. Event: `user.report_cleared`.
    Cleared(UserRecord),
    /// There was none: nothing was changed.
    NotReported(UserRecord),
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
    /// Sets the failure counter to 0 and ends a lock, also one by a report; the report itself stays.
    async fn unlock_user(&self, stamp: Stamp, id: UserId) -> Result<UnlockOutcome, StoreError>;
    /// Reports fraud.
    async fn report_user(&self, command: ReportUser) -> Result<ReportUserOutcome, StoreError>;
    /// Clears a report.
    async fn clear_report(&self, stamp: Stamp, id: UserId) -> Result<ClearReportOutcome, StoreError>;
}
