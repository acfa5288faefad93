//! Users, with the counters that guard them.

use async_trait::async_trait;
use countersign_proto::{
    api::users::UserReport,
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId, EventId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::{
        ChallengeReason, ChallengeStatus, Confirmation, EnrollmentPurpose, EnrollmentStatus, Platform, ReportAction,
        ReportReason, UserState,
    },
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{PageRequest, StoreError};
use crate::{actor::Stamp, event::EventKind};

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

/// Changes what the phone shows of a user, in challenges that are made from now on. Event: `user.changed`, if it differs.
#[derive(Debug, Clone)]
pub struct RenameUser {
    /// Who, where, when.
    pub stamp: Stamp,
    /// Whom.
    pub id: UserId,
    /// 1–128 characters; `None`: no name any more.
    pub display_name: Option<String>,
}

/// What came of erasing somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseUserOutcome {
    /// Nobody acts for the person any more, on any node: devices are revoked, what waited has ended, the name is free
    /// for somebody new. What is left of the past is blanked by [`Users::blank_erased`].
    Begun,
    /// The same, since an earlier erasure that is not finished yet.
    Unfinished,
    /// No such user in this tenant, or erased as a whole.
    NotFound,
}

/// An erasure that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// The organisation.
    pub tenant_id: TenantId,
    /// Who is erased.
    pub user_id: UserId,
}

/// One entry of what happened to a user, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineEntry {
    /// The event's or the challenge's: begins with the time, so that both sort as one list.
    pub id: Uuid,
    /// When it happened; of a challenge, when it was made.
    pub at: Timestamp,
    /// What happened.
    pub what: Happened,
}

/// See [`TimelineEntry`].
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// An event that is no sign-in.
    Event {
        /// Its kind.
        kind: EventKind,
        /// `api_client`, `device`, `operator`, `system`.
        actor_kind: String,
        /// The API client's or device's id.
        actor_id: Option<String>,
        /// The device that it is about.
        device_id: Option<DeviceId>,
        /// The enrollment that it is about.
        enrollment_id: Option<EnrollmentId>,
        /// Ids, digests and fixed words.
        body: Map<String, Value>,
    },
    /// A challenge, as it is by now.
    Challenge {
        /// As stored.
        status: ChallengeStatus,
        /// Why.
        reason: Option<ChallengeReason>,
        /// When its time is, or was, up.
        expires_at: Timestamp,
        /// When it ended.
        decided_at: Option<Timestamp>,
        /// Who asked.
        client_id: ApiClientId,
        /// Who decided.
        device_id: Option<DeviceId>,
    },
}

/// An invitation in what is held on a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEnrollment {
    /// Its id.
    pub id: EnrollmentId,
    /// As stored.
    pub status: EnrollmentStatus,
    /// How it was confirmed.
    pub confirmation: Confirmation,
    /// What for.
    pub purpose: EnrollmentPurpose,
    /// The device that it made, or was to make.
    pub device_id: Option<DeviceId>,
    /// What that called itself.
    pub device_name: Option<String>,
    /// And what it was.
    pub device_platform: Option<Platform>,
    /// The key that claimed it.
    pub key_thumbprint: Option<String>,
    /// Wrong confirmation codes so far.
    pub wrong_codes: u32,
    /// The approved challenge that let it be made.
    pub approval_id: Option<ChallengeId>,
    /// Whether an administrator let it be made without one.
    pub is_overridden: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its time is, or was, up.
    pub expires_at: Timestamp,
}

/// A key of a device in what is held on a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// RFC 7638.
    pub thumbprint: String,
    /// The device whose key it is, or was.
    pub device_id: DeviceId,
    /// `device` or `user_verification`.
    pub role: String,
    /// Uncompressed SEC1.
    pub public_key: Vec<u8>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Until when it was the device's.
    pub retired_at: Option<Timestamp>,
}

/// What is kept of a person beside the records that have a type of their own: asked for by whoever exports it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The user's counters and locks as they are stored, also those whose time is up. One row.
    Guards(UserId),
    /// That a reply to a device is kept for a repeat, since when, until when, and the names of what it says.
    Replies(UserId),
    /// What a device's record leaves out. One row.
    Device(DeviceId),
    /// Pushes that wait, or are being sent.
    QueuedPushes(DeviceId),
    /// What came of test pushes.
    TestPushes(DeviceId),
    /// Ids of push updates that may not come again.
    SpentIds(DeviceId),
    /// What challenges' records leave out, each with its `challenge_id`. The signed text only of those that have ended.
    Challenges(Vec<ChallengeId>),
    /// Idempotency keys of the challenges that are at most a day old at this time, each with its `challenge_id`.
    RequestKeys(Vec<ChallengeId>, Timestamp),
    /// Messages to webhooks about events, each with its `event_id`.
    WebhookMessages(Vec<EventId>),
}

/// A row of [`Kept`] as an export shows it: ids and times as on the wire, what is not there left out. Never a number, a
/// code, a token, a MAC, or the text of a kept reply.
pub type KeptRow = Map<String, Value>;

/// Which users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserFilter {
    /// All of them.
    All,
    /// The one with this id of the tenant's own (NFC).
    ExternalId(String),
    /// Those of whom this is true at this time.
    In(UserState, Timestamp),
}

/// Users.
#[async_trait]
pub trait Users: Send + Sync {
    /// By id.
    async fn user(&self, tenant_id: TenantId, id: UserId) -> Result<Option<UserRecord>, StoreError>;
    /// The tenant's users, newest first.
    async fn users(
        &self,
        tenant_id: TenantId,
        filter: UserFilter,
        page: PageRequest<UserId>,
    ) -> Result<Vec<UserRecord>, StoreError>;
    /// The tenant's users whose `external_id` begins with `prefix` (not empty, NFC, no white space in front), in the
    /// order of its bytes on every database, behind `after`, at most `limit`.
    async fn users_by_prefix(
        &self,
        tenant_id: TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<UserRecord>, StoreError>;
    /// Sets the failure counter to 0 and ends a lock, also one by a report; the report itself stays.
    async fn unlock_user(&self, stamp: Stamp, id: UserId) -> Result<UnlockOutcome, StoreError>;
    /// Reports fraud.
    async fn report_user(&self, command: ReportUser) -> Result<ReportUserOutcome, StoreError>;
    /// Clears a report.
    async fn clear_report(&self, stamp: Stamp, id: UserId) -> Result<ClearReportOutcome, StoreError>;
    /// Changes the display name; the user after it, or `None` if there is none.
    async fn rename_user(&self, command: RenameUser) -> Result<Option<UserRecord>, StoreError>;
    /// Begins to erase somebody. Events: `user.erased`; `device.revoked`, `challenge.cancelled` (`user_erased`) and
    /// `enrollment.cancelled` for each.
    async fn erase_user(&self, stamp: Stamp, id: UserId) -> Result<EraseUserOutcome, StoreError>;
    /// Blanks a portion of what names an erased user; whether there may be more: never once the erasure is finished,
    /// whoever finished it.
    async fn blank_erased(&self, erasure: Erasure, now: Timestamp, limit: u32) -> Result<bool, StoreError>;
    /// Erasures that are not finished, in the order of their users and behind `after`, at most `limit`.
    async fn unfinished_erasures(&self, after: Option<UserId>, limit: u32) -> Result<Vec<Erasure>, StoreError>;
    /// Removes what was blanked from the database's files, as far as a database can: on SQLite from the file and its
    /// write-ahead log; `false` if somebody was in the way. PostgreSQL has ways of its own (docs/security.md).
    async fn scrub_files(&self) -> Result<bool, StoreError>;
    /// Says that nothing is left to blank.
    async fn finish_erasure(&self, erasure: Erasure) -> Result<(), StoreError>;
    /// What happened to a user, newest first: entries with a smaller id than `before`, at most `limit`.
    async fn timeline(
        &self,
        tenant_id: TenantId,
        id: UserId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<TimelineEntry>, StoreError>;
    /// The user's invitations, newest first.
    async fn enrollments_of_user(
        &self,
        tenant_id: TenantId,
        id: UserId,
        page: PageRequest<EnrollmentId>,
    ) -> Result<Vec<HeldEnrollment>, StoreError>;
    /// All keys that a device ever had.
    async fn keys_of_device(&self, tenant_id: TenantId, id: DeviceId) -> Result<Vec<HeldKey>, StoreError>;
    /// What is kept beside those.
    async fn kept(&self, tenant_id: TenantId, what: Kept) -> Result<Vec<KeptRow>, StoreError>;
    /// The first position of an event about the user's registrations; 0 if none has one yet.
    async fn first_position(&self, tenant_id: TenantId, id: UserId) -> Result<i64, StoreError>;
    /// Notes that somebody was given all that is held on the user; `false` if there is no such user. Event:
    /// `user.exported`.
    async fn record_export(&self, stamp: Stamp, id: UserId) -> Result<bool, StoreError>;
}
