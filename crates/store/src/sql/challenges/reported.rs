//! Reports of fraud (protocol 9): whoever else tries to sign in as the user finds the pending challenges ended.
//!
//! A report is the user's own (`not_me`, in the transaction of the denial) or an API client's. Both go through
//! [`Tx::end_reported`] under the user's row: nobody makes or decides a challenge of the user meanwhile, so none is
//! missed. To report for another reason: a [`Report`] in the user's change, its events.

use std::collections::HashMap;

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects},
    ports::users::{ReportUser, ReportUserOutcome},
};
use countersign_proto::{
    ids::{ChallengeId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ReportAction, ReportedBy, Word as _},
};
use serde_json::json;

use super::{
    super::{Columns, Outcome, Plain, Room, Tx, dialect, enrollments::OpenEnrollments, query, users},
    ended::{Effect, Ended, UserChange, locked},
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const REPORTS: &rows::Columns = &[
    ("r_user_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_now", Type::Integer),
    ("r_decided_at", Type::Integer),
    ("r_command_id", Type::Id),
];

/// See the module.
pub(super) struct Statements {
    cancel_reported: Statement,
    reported_users: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let reports = dialect::row_source(1, REPORTS);
        Self {
            // One that is past its end is left to its expiry.
            cancel_reported: Statement::new(format!(
                "-- cancel_reported
                UPDATE challenges SET status = 'cancelled', reason = 'reported', decided_at = r_decided_at,
                    decision_id = r_command_id, number = NULL, code = NULL
                FROM {reports}
                WHERE challenges.user_id = r_user_id AND challenges.tenant_id = r_tenant_id
                  AND challenges.status = 'pending' AND challenges.expires_at > r_now
                RETURNING challenges.id AS id, challenges.user_id AS user_id"
            )),
            reported_users: Statement::new(format!(
                "-- reported_users
                SELECT id, locked_until FROM {reports} CROSS JOIN users
                WHERE id = r_user_id AND tenant_id = r_tenant_id"
            )),
        }
    }
}

/// Somebody else tries to sign in as a user.
pub(super) struct Report<'a> {
    pub(super) stamp: &'a Stamp,
    pub(super) user_id: UserId,
    pub(super) by: ReportedBy,
    /// How long nobody is rung.
    pub(super) quiet_seconds: i64,
    /// Whether the user is locked until somebody clears the report.
    pub(super) locks: bool,
}

/// What a report brought about; the user's counters are not moved yet.
#[derive(Default)]
pub(super) struct Reported {
    /// The challenges that ended.
    pub(super) cancelled: Vec<ChallengeId>,
    /// Whether the report locks a user who was not locked for good.
    pub(super) is_new_lock: bool,
}

impl Tx<'_> {
    /// Ends (`cancelled`, `reported`) what is pending of users who are reported, each named once and locked, with the
    /// events of those challenges. Counters, withdrawals and wake-ups are the caller's.
    pub(super) async fn end_reported(&mut self, reports: &[Report<'_>]) -> Result<HashMap<UserId, Reported>, Failure> {
        let mut all: HashMap<UserId, Reported> = HashMap::new();
        if reports.is_empty() {
            return Ok(all);
        }
        let row = |report: &Report<'_>| {
            json!({
                "r_user_id": rows::id(report.user_id),
                "r_tenant_id": rows::id(report.stamp.tenant_id),
                "r_now": rows::time(report.stamp.at),
                "r_decided_at": rows::time(report.stamp.at.floor_to_second()),
                "r_command_id": rows::id(report.stamp.command_id),
            })
        };
        let parameter = rows::to_parameter(REPORTS, reports.iter().map(row).collect());
        let statements = self.statements();
        let statements = &statements.challenges.reported;
        for row in &self.fetch_all(query(&statements.reported_users).bind(&parameter)).await? {
            let row = Columns::new("users", row);
            let id = row.id("id")?;
            let was_locked = row.optional_time("locked_until")? == Some(Timestamp::NEVER);
            let locks = reports.iter().any(|report| report.user_id == id && report.locks);
            all.insert(id, Reported { cancelled: Vec::new(), is_new_lock: locks && !was_locked });
        }
        for row in &self.fetch_all(query(&statements.cancel_reported).bind(&parameter)).await? {
            let row = Columns::new("challenges", row);
            all.entry(row.id("user_id")?).or_default().cancelled.push(row.id("id")?);
        }
        let mut events = Vec::new();
        for report in reports {
            let cancelled = all.get(&report.user_id).map(|reported| reported.cancelled.as_slice()).unwrap_or_default();
            events.extend(cancelled.iter().map(|id| cancelled_event(report, *id)));
        }
        self.insert_events(events).await?;
        Ok(all)
    }
}

fn cancelled_event(report: &Report<'_>, id: ChallengeId) -> Event {
    let subjects = Subjects { user_id: Some(report.user_id), challenge_id: Some(id), ..Subjects::default() };
    Event::new(report.stamp, EventKind::ChallengeCancelled, subjects).with("reason", ChallengeReason::Reported.as_str())
}

#[async_trait]
impl Plain for ReportUser {
    type Reply = ReportUserOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ReportUserOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        tx.lock_user(self.stamp.tenant_id, self.id).await?;
        if users::record(tx, self.stamp.tenant_id, self.id).await?.is_none() {
            return Ok(Outcome::Rollback(ReportUserOutcome::NotFound));
        }
        let report = || Report {
            stamp: &self.stamp,
            user_id: self.id,
            by: ReportedBy::ApiClient,
            quiet_seconds: self.quiet_seconds,
            locks: self.action == ReportAction::Lock,
        };
        let Reported { cancelled, is_new_lock } =
            tx.end_reported(&[report()]).await?.remove(&self.id).unwrap_or_default();
        let (stamp, user_id, ended) = (&self.stamp, self.id, cancelled.len());
        let change = UserChange { stamp, user_id, ended, effect: Effect::Released, report: Some(report()) };
        tx.settle_users(&[change]).await?;
        let subjects = Subjects { user_id: Some(self.id), ..Subjects::default() };
        let reported = Event::new(&self.stamp, EventKind::UserReported, subjects)
            .with("by", ReportedBy::ApiClient.as_str())
            .with("reason", self.reason.as_str());
        let mut events = vec![reported];
        if is_new_lock {
            events.push(locked(&self.stamp, subjects, Timestamp::NEVER));
        }
        tx.insert_events(events).await?;
        let (which, reason) = match is_new_lock {
            true => (OpenEnrollments::All, "user_locked"),
            false => (OpenEnrollments::NotOverridden, "user_reported"),
        };
        tx.cancel_open_enrollments(&self.stamp, self.id, which, reason).await?;
        let ended: Vec<_> =
            cancelled.iter().map(|id| Ended { stamp: &self.stamp, challenge_id: *id, decided_by: None }).collect();
        tx.withdraw(&ended).await?;
        let user = users::record(tx, self.stamp.tenant_id, self.id).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(Outcome::Commit(ReportUserOutcome::Reported { user: Box::new(user), cancelled }))
    }

    fn room(&self) -> Room {
        Room::Reserved
    }
}
