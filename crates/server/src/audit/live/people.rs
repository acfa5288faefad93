//! Users and their invitations against the log: wrong numbers that were counted, locks that hold, tickets that are over.
//!
//! What a ticket is for is sealed, and refused when it is used; that it is over, or that a device agreed to it, is found
//! here. The log counts no wrong code before the last one of a challenge: it says how many failures there were at least.
//! To compare one more thing: a line in `follow` and in `doubt_user` or `doubt_enrollment`.

use std::collections::{HashMap, HashSet};

use countersign_core::ports::{audit::AuditedEnrollment, users::UserRecord};
use countersign_proto::{
    api::events::Event,
    ids::{ChallengeId, EnrollmentId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::EnrollmentStatus,
};

use super::{
    super::{Audit, AuditError},
    MOMENT_SECONDS, PORTION, word,
};

/// What the log says.
#[derive(Default)]
pub(super) struct People {
    guards: HashMap<UserId, Guard>,
    enrollments: HashMap<EnrollmentId, Invitation>,
}

/// What keeps guessing at bay.
#[derive(Default)]
struct Guard {
    /// Wrong numbers and codes in a row, at least so many.
    failures: u32,
    /// When they were last forgiven: of what happened at the same moment either may have been the last.
    forgiven_at: Option<Timestamp>,
    /// Approvals are refused until then.
    locked_until: Option<Timestamp>,
}

impl Guard {
    fn is_after_forgiving(&self, at: Timestamp) -> bool {
        self.forgiven_at.is_none_or(|forgiven| forgiven.plus_seconds(MOMENT_SECONDS) < at)
    }

    fn fail(&mut self, at: Timestamp) {
        if self.is_after_forgiving(at) {
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn lock(&mut self, at: Timestamp, until: Option<Timestamp>) {
        if self.is_after_forgiving(at) {
            self.locked_until = until;
        }
    }

    fn forgive(&mut self, at: Timestamp) {
        *self = Self { forgiven_at: Some(at), ..Self::default() };
    }
}

#[derive(Default)]
struct Invitation {
    /// Whose; `None` if no event made it.
    user_id: Option<UserId>,
    approval_id: Option<ChallengeId>,
    is_overridden: bool,
    is_claimed: bool,
    end: Option<EnrollmentStatus>,
}

impl People {
    pub(super) fn follow(&mut self, event: &Event) {
        if let Some(user_id) = event.user_id {
            self.follow_guard(user_id, event);
        }
        let Some(id) = event.enrollment_id else { return };
        let invitation = self.enrollments.entry(id).or_default();
        match event.kind.as_str() {
            "enrollment.created" => {
                (invitation.user_id, invitation.approval_id) = (event.user_id, event.challenge_id);
            }
            "enrollment.overridden" => invitation.is_overridden = true,
            "enrollment.claimed" => invitation.is_claimed = true,
            "enrollment.completed" => invitation.end = Some(EnrollmentStatus::Completed),
            "enrollment.cancelled" => invitation.end = Some(EnrollmentStatus::Cancelled),
            "enrollment.expired" => invitation.end = Some(EnrollmentStatus::Expired),
            _ => {}
        }
    }

    fn follow_guard(&mut self, user_id: UserId, event: &Event) {
        let at = event.created_at;
        let proof = || word(event, "number").or_else(|| word(event, "code"));
        match event.kind.as_str() {
            "challenge.denied" if proof().as_deref() == Some("wrong") => {
                self.guards.entry(user_id).or_default().fail(at);
            }
            "user.locked" => {
                let until = event.data.get("until").and_then(|until| serde_json::from_value(until.clone()).ok());
                self.guards.entry(user_id).or_default().lock(at, until);
            }
            "challenge.approved" if proof().as_deref() == Some("right") => {
                self.guards.entry(user_id).or_default().forgive(at);
            }
            "user.unlocked" | "user.erased" => self.guards.entry(user_id).or_default().forgive(at),
            // May have ended the lock that came with the report, and no other.
            "user.report_cleared" => {
                let guard = self.guards.entry(user_id).or_default();
                guard.locked_until = None;
            }
            _ => {}
        }
    }

    /// What is in doubt, each in one line.
    pub(super) async fn compare(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        erased: &HashSet<UserId>,
        now: Timestamp,
    ) -> Result<Vec<String>, AuditError> {
        let mut doubts = Vec::new();
        for (id, guard) in &self.guards {
            let holds = guard.locked_until.filter(|until| *until > now);
            if (guard.failures == 0 && holds.is_none()) || erased.contains(id) {
                continue;
            }
            let why = match audit.store.user(tenant_id, *id).await? {
                Some(user) => doubt_user(guard, holds, &user),
                None => Some("the log tells of wrong numbers, and it is gone"),
            };
            doubts.extend(why.map(|why| format!("users {id}: {why}")));
        }
        let mut after = None;
        loop {
            let rows = audit.store.audited_enrollments(tenant_id, after, PORTION).await?;
            for row in &rows {
                doubts.extend(self.doubt_enrollment(row).map(|why| format!("enrollments {}: {why}", row.id)));
            }
            after = rows.last().map(|last| last.id);
            if rows.len() < PORTION as usize {
                return Ok(doubts);
            }
        }
    }

    fn doubt_enrollment(&self, row: &AuditedEnrollment) -> Option<&'static str> {
        let Some(invitation) = self.enrollments.get(&row.id).filter(|invitation| invitation.user_id.is_some()) else {
            return Some("no event tells of it");
        };
        if invitation.user_id != Some(row.user_id) {
            return Some("it is another person's in the log");
        }
        let open = if invitation.is_claimed { EnrollmentStatus::Claimed } else { EnrollmentStatus::Pending };
        if row.status != invitation.end.unwrap_or(open) {
            return Some("its status is another one in the log");
        }
        let admission = (invitation.approval_id, invitation.is_overridden);
        (admission != (row.approval_id, row.is_overridden)).then_some("who agreed to it is another in the log")
    }
}

fn doubt_user(guard: &Guard, locked_until: Option<Timestamp>, user: &UserRecord) -> Option<&'static str> {
    if user.consecutive_failures < guard.failures {
        return Some("fewer wrong numbers are counted than the log tells of");
    }
    let until = user.locked_until.map(Timestamp::floor_to_second);
    let is_shorter = locked_until.is_some_and(|told| until.is_none_or(|until| until < told.floor_to_second()));
    is_shorter.then_some("it is locked for longer in the log")
}
