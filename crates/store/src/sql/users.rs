//! Users, with the counters that guard them.
//!
//! The counters are columns moved by the write of each change; nothing here counts rows. Whoever changes a
//! user's devices, enrollments or counters holds the user's row first (`Tx::lock_user`).
//! Erasing somebody is in `users/erase.rs` and `users/blank.rs`, what is held on a person in `users/held.rs` and
//! `users/kept.rs`, searching in `users/search.rs`. Whoever is erased is no user any more: no statement here finds the
//! empty row that stays.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects},
    limits::FAILURES_UNTIL_ENDLESS_LOCK,
    ports::{
        PageRequest, StoreError,
        users::{
            ClearReportOutcome, EraseUserOutcome, Erasure, HeldEnrollment, HeldKey, Kept, KeptRow, RenameUser,
            ReportUser, ReportUserOutcome, TimelineEntry, UnlockOutcome, UserFilter, UserName, UserRecord, Users,
        },
    },
};
use countersign_proto::{
    api::users::UserReport,
    ids::{DeviceId, EnrollmentId, TenantId, UserId},
    timestamp::Timestamp,
};
use uuid::Uuid;

use super::{Columns, Database, Outcome, Plain, Row, Tx, query};
use crate::{failure::Failure, statement::Statement};

#[path = "users/blank.rs"]
mod blank;
#[path = "users/erase.rs"]
mod erase;
#[path = "users/held.rs"]
mod held;
#[path = "users/kept.rs"]
mod kept;
#[path = "users/search.rs"]
mod search;

/// The statements that share their columns, and those of the files below this one.
pub(super) struct Statements {
    blank: blank::Statements,
    held: held::Statements,
    kept: kept::Statements,
    search: search::Statements,
    by_id: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            blank: blank::Statements::new(),
            held: held::Statements::new(),
            kept: kept::Statements::new(),
            search: search::Statements::new(),
            by_id: select("user", "id = $2"),
        }
    }
}

/// The columns of a user, of those of the tenant `$1` of whom this holds.
fn select(name: &str, which: &str) -> Statement {
    Statement::new(format!(
        "-- {name}
        SELECT id, external_id, display_name, created_at, device_count, pending_challenges, consecutive_failures,
            locked_until, reported_at, reported_by, pushes_stopped_until
        FROM users WHERE tenant_id = $1 AND erased_at IS NULL AND {which}"
    ))
}

#[async_trait]
impl Users for Database {
    async fn user(&self, tenant_id: TenantId, id: UserId) -> Result<Option<UserRecord>, StoreError> {
        let by_id = query(&self.statements.users.by_id).bind(tenant_id.as_uuid()).bind(id.as_uuid());
        self.fetch_optional(by_id).await?.as_ref().map(user).transpose()
    }

    async fn users(
        &self,
        tenant_id: TenantId,
        filter: UserFilter,
        page: PageRequest<UserId>,
    ) -> Result<Vec<UserRecord>, StoreError> {
        search::page(self, tenant_id, filter, page).await
    }

    async fn users_by_prefix(
        &self,
        tenant_id: TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<UserRecord>, StoreError> {
        search::by_prefix(self, tenant_id, prefix, after, limit).await
    }

    async fn unlock_user(&self, stamp: Stamp, id: UserId) -> Result<UnlockOutcome, StoreError> {
        self.write(UnlockUser { stamp, id }).await
    }

    async fn report_user(&self, command: ReportUser) -> Result<ReportUserOutcome, StoreError> {
        self.write(command).await
    }

    async fn clear_report(&self, stamp: Stamp, id: UserId) -> Result<ClearReportOutcome, StoreError> {
        self.write(ClearReport { stamp, id }).await
    }

    async fn rename_user(&self, command: RenameUser) -> Result<Option<UserRecord>, StoreError> {
        self.write(command).await
    }

    async fn erase_user(&self, stamp: Stamp, id: UserId) -> Result<EraseUserOutcome, StoreError> {
        self.write(erase::EraseUser { stamp, id }).await
    }

    async fn blank_erased(&self, erasure: Erasure, now: Timestamp, limit: u32) -> Result<bool, StoreError> {
        self.write(blank::Blank { erasure, now, limit }).await
    }

    async fn unfinished_erasures(&self, after: Option<UserId>, limit: u32) -> Result<Vec<Erasure>, StoreError> {
        erase::unfinished(self, after, limit).await
    }

    async fn scrub_files(&self) -> Result<bool, StoreError> {
        self.scrub().await
    }

    async fn finish_erasure(&self, erasure: Erasure) -> Result<(), StoreError> {
        self.write(erase::FinishErasure(erasure)).await
    }

    async fn timeline(
        &self,
        tenant_id: TenantId,
        id: UserId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<TimelineEntry>, StoreError> {
        held::timeline(self, tenant_id, id, before, limit).await
    }

    async fn enrollments_of_user(
        &self,
        tenant_id: TenantId,
        id: UserId,
        page: PageRequest<EnrollmentId>,
    ) -> Result<Vec<HeldEnrollment>, StoreError> {
        held::enrollments(self, tenant_id, id, page).await
    }

    async fn keys_of_device(&self, tenant_id: TenantId, id: DeviceId) -> Result<Vec<HeldKey>, StoreError> {
        held::keys(self, tenant_id, id).await
    }

    async fn kept(&self, tenant_id: TenantId, what: Kept) -> Result<Vec<KeptRow>, StoreError> {
        kept::kept(self, tenant_id, what).await
    }

    async fn first_position(&self, tenant_id: TenantId, id: UserId) -> Result<i64, StoreError> {
        held::first_position(self, tenant_id, id).await
    }

    async fn record_export(&self, stamp: Stamp, id: UserId) -> Result<bool, StoreError> {
        self.write(held::RecordExport { stamp, id }).await
    }
}

#[async_trait]
impl Plain for RenameUser {
    type Reply = Option<UserRecord>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<Option<UserRecord>>, Failure> {
        tx.require_actor(&self.stamp).await?;
        tx.lock_user(self.stamp.tenant_id, self.id).await?;
        let Some(before) = record(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(None));
        };
        if before.name.display_name == self.display_name {
            return Ok(Outcome::Rollback(Some(before)));
        }
        let rename = query("-- rename_user\nUPDATE users SET display_name = $3 WHERE tenant_id = $1 AND id = $2")
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(self.id.as_uuid())
            .bind(self.display_name.as_deref());
        tx.execute(rename).await?;
        let subjects = Subjects { user_id: Some(self.id), ..Subjects::default() };
        let event = Event::new(&self.stamp, EventKind::UserChanged, subjects).with("changed", vec!["display_name"]);
        tx.insert_events(vec![event]).await?;
        Ok(Outcome::Commit(record(tx, self.stamp.tenant_id, self.id).await?))
    }
}

/// Sets the failure counter to 0 and ends a lock.
struct UnlockUser {
    stamp: Stamp,
    id: UserId,
}

#[async_trait]
impl Plain for UnlockUser {
    type Reply = UnlockOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<UnlockOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id.as_uuid();
        let unlock = "-- unlock_user
            UPDATE users SET consecutive_failures = 0, locked_until = NULL
            WHERE tenant_id = $1 AND id = $2 AND (consecutive_failures > 0 OR locked_until IS NOT NULL)";
        let unlocked = tx.execute(query(unlock).bind(tenant_id).bind(self.id.as_uuid())).await? == 1;
        let Some(record) = record(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(UnlockOutcome::NotFound));
        };
        if !unlocked {
            return Ok(Outcome::Rollback(UnlockOutcome::NotLocked(record)));
        }
        let subjects = Subjects { user_id: Some(self.id), ..Subjects::default() };
        tx.insert_events(vec![Event::new(&self.stamp, EventKind::UserUnlocked, subjects)]).await?;
        Ok(Outcome::Commit(UnlockOutcome::Unlocked(record)))
    }
}

/// Clears a report, the stop of pushes, and the lock that came with the report: one without end that wrong numbers did
/// not bring about.
struct ClearReport {
    stamp: Stamp,
    id: UserId,
}

#[async_trait]
impl Plain for ClearReport {
    type Reply = ClearReportOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ClearReportOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let clear = "-- clear_report
            UPDATE users SET reported_at = NULL, reported_by = NULL, pushes_stopped_until = NULL,
                locked_until = CASE WHEN locked_until = $3 AND consecutive_failures < $4 THEN NULL ELSE locked_until END
            WHERE tenant_id = $1 AND id = $2 AND reported_at IS NOT NULL";
        let clear = query(clear)
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(self.id.as_uuid())
            .bind(Timestamp::NEVER.as_millis())
            .bind(i64::from(FAILURES_UNTIL_ENDLESS_LOCK));
        let is_cleared = tx.execute(clear).await? == 1;
        let Some(record) = record(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(ClearReportOutcome::NotFound));
        };
        if !is_cleared {
            return Ok(Outcome::Rollback(ClearReportOutcome::NotReported(record)));
        }
        let subjects = Subjects { user_id: Some(self.id), ..Subjects::default() };
        tx.insert_events(vec![Event::new(&self.stamp, EventKind::UserReportCleared, subjects)]).await?;
        Ok(Outcome::Commit(ClearReportOutcome::Cleared(record)))
    }
}

/// The user, inside a transaction.
pub(super) async fn record(tx: &mut Tx<'_>, tenant_id: TenantId, id: UserId) -> Result<Option<UserRecord>, Failure> {
    let statements = tx.statements();
    let by_id = query(&statements.users.by_id).bind(tenant_id.as_uuid()).bind(id.as_uuid());
    Ok(tx.fetch_optional(by_id).await?.as_ref().map(user).transpose()?)
}

fn user(row: &Row) -> Result<UserRecord, StoreError> {
    let columns = Columns::new("users", row);
    let reported = match (columns.optional_time("reported_at")?, columns.optional_word("reported_by")?) {
        (Some(at), Some(by)) => Some(UserReport { at, by }),
        (None, _) => None,
        (Some(_), None) => return Err(columns.corrupt("reported_by")),
    };
    Ok(UserRecord {
        name: UserName {
            id: columns.id("id")?,
            external_id: columns.text("external_id")?,
            display_name: columns.optional_text("display_name")?,
        },
        created_at: columns.time("created_at")?,
        device_count: columns.count("device_count")?,
        pending_challenges: columns.count("pending_challenges")?,
        consecutive_failures: columns.count("consecutive_failures")?,
        locked_until: columns.optional_time("locked_until")?,
        reported,
        pushes_stopped_until: columns.optional_time("pushes_stopped_until")?,
    })
}
