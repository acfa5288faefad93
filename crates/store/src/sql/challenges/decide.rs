//! Recording responses (protocol 7.2, step 11): one conditional write per response, a set at a time.

use std::collections::{HashMap, HashSet};

use countersign_core::{
    challenge::status_at,
    digest::Digest,
    event::{Event, EventKind, Subjects},
    ports::{
        StoreError,
        challenges::{DecideChallenge, DecideOutcome, DisplayedCode, RecordedResponse},
    },
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, CommandId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeFlag, ChallengeReason, ChallengeStatus, DeviceStatus, ReportAction, ReportedBy, Word as _},
};
use serde_json::json;

use super::{
    super::{Columns, Tx, dialect, enrollments::OpenEnrollments, query},
    ended::{Effect, Ended, UserChange, locked},
    reported::Report,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const RESPONSES: &rows::Columns = &[
    ("r_challenge_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_user_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_key", Type::Text),
    ("r_binding_id", Type::Id),
    ("r_binding", Type::Text),
    ("r_response", Type::Text),
    ("r_says_approve", Type::Flag),
    ("r_shows_code", Type::Flag),
    ("r_code", Type::Text),
    ("r_code_seal", Type::Text),
    ("r_flags", Type::Text),
    ("r_status", Type::Text),
    ("r_reason", Type::Text),
    ("r_now", Type::Integer),
    ("r_decided_at", Type::Integer),
    ("r_command_id", Type::Id),
];

/// See the module.
pub(super) struct Statements {
    decide_challenges: Statement,
    lost_decisions: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let responses = dialect::row_source(1, RESPONSES);
        Self {
            // All of step 11. On PostgreSQL tenant, user and device are locked before, so that what is judged here holds
            // until the commit; the challenge's own row settles races between responses. In mode `display` the first
            // approve writes itself and its code into a row that stays pending; a denial takes their place.
            decide_challenges: Statement::new(format!(
                "-- decide_challenges
                UPDATE challenges SET
                    status = r_status, reason = r_reason, decided_at = r_decided_at, device_id = r_device_id,
                    response = r_response, binding = r_binding, decision_id = r_command_id, number = NULL,
                    code = r_code, code_seal = r_code_seal, flags = r_flags
                FROM {responses} CROSS JOIN tenants CROSS JOIN users CROSS JOIN devices CROSS JOIN deliveries
                WHERE tenants.id = r_tenant_id AND tenants.disabled_at IS NULL
                  AND challenges.id = r_challenge_id AND challenges.tenant_id = r_tenant_id
                  AND challenges.user_id = r_user_id
                  AND challenges.status = 'pending' AND challenges.expires_at > r_now
                  AND (NOT r_shows_code OR challenges.response IS NULL)
                  AND users.id = r_user_id AND users.tenant_id = r_tenant_id
                  AND (NOT r_says_approve OR users.locked_until IS NULL OR users.locked_until <= r_now)
                  AND devices.id = r_device_id AND devices.tenant_id = r_tenant_id AND devices.user_id = r_user_id
                  AND devices.status = 'active' AND devices.binding_id = r_binding_id
                  AND (devices.key_thumbprint = r_key OR devices.uv_thumbprint = r_key)
                  AND deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id
                RETURNING challenges.id AS id"
            )),
            lost_decisions: Statement::new(format!(
                "-- lost_decisions
                SELECT r_command_id, challenges.tenant_id AS tenant_id, challenges.status AS status, reason,
                    challenges.expires_at AS expires_at,
                    decided_at, response, code, code_seal, challenges.decision_id AS decision_id, locked_until,
                    devices.status AS device_status, key_thumbprint, uv_thumbprint, binding_id,
                    deliveries.device_id AS addressed_device_id, tenants.disabled_at AS tenant_disabled_at
                FROM {responses}
                LEFT JOIN tenants ON tenants.id = r_tenant_id
                LEFT JOIN challenges ON challenges.id = r_challenge_id AND challenges.tenant_id = r_tenant_id
                    AND challenges.user_id = r_user_id
                LEFT JOIN users ON users.id = r_user_id AND users.tenant_id = r_tenant_id
                LEFT JOIN devices ON devices.id = r_device_id AND devices.tenant_id = r_tenant_id
                    AND devices.user_id = r_user_id
                LEFT JOIN deliveries ON deliveries.challenge_id = r_challenge_id
                    AND deliveries.device_id = r_device_id"
            )),
        }
    }
}

impl Tx<'_> {
    /// Decides challenges of which no two share a user. Users and devices are locked.
    pub(in super::super) async fn decide_challenges(
        &mut self,
        commands: &[&DecideChallenge],
    ) -> Result<Vec<DecideOutcome>, Failure> {
        let statements = self.statements();
        let statements = &statements.challenges.decide;
        let mut ended: HashSet<ChallengeId> = HashSet::new();
        for row in &self.fetch_all(query(&statements.decide_challenges).bind(response_rows(commands))).await? {
            ended.insert(Columns::new("challenges", row).id("id")?);
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            commands.iter().copied().partition(|command| ended.contains(&command.challenge_id));
        let mut outcomes = self.follow_decisions(&won).await?;
        if !lost.is_empty() {
            for row in &self.fetch_all(query(&statements.lost_decisions).bind(response_rows(&lost))).await? {
                let row = Columns::new("challenges", row);
                let command_id: CommandId = row.id("r_command_id")?;
                if let Some(command) = lost.iter().find(|command| command.stamp.command_id == command_id) {
                    outcomes.insert(command_id, true_state(command, &row)?);
                }
            }
        }
        let outcome =
            |command: &&DecideChallenge| outcomes.remove(&command.stamp.command_id).unwrap_or(DecideOutcome::NotFound);
        Ok(commands.iter().map(outcome).collect())
    }

    /// Counters, events, withdrawals, wake-ups.
    async fn follow_decisions(
        &mut self,
        won: &[&DecideChallenge],
    ) -> Result<HashMap<CommandId, DecideOutcome>, Failure> {
        let mut outcomes = HashMap::new();
        if won.is_empty() {
            return Ok(outcomes);
        }
        let reports: Vec<_> = won.iter().filter_map(|command| report(command)).collect();
        let mut reported = self.end_reported(&reports).await?;
        let (shown, ends): (Vec<_>, Vec<_>) =
            won.iter().copied().partition(|command| command.verdict == Verdict::ShowCode);
        let others = |id: &UserId| reported.get(id).map_or(0, |reported| reported.cancelled.len());
        let changes = ends.iter().copied().map(|command| user_change(command, 1 + others(&command.user_id)));
        let changes: Vec<_> = changes.collect();
        let locks = self.settle_users(&changes).await?;
        let mut events = Vec::with_capacity(won.len());
        let mut ended = Vec::with_capacity(ends.len());
        for command in won {
            let reported = reported.remove(&command.user_id);
            // A response that says approve wins only while there is no lock: one that holds now is new.
            let locked_until = match command.verdict {
                Verdict::WrongNumber => locks.get(&command.user_id).copied().flatten(),
                Verdict::Approve { .. } | Verdict::ShowCode | Verdict::Deny(_) => None,
            };
            let locked_until = locked_until.filter(|until| *until > command.stamp.at);
            let is_locked_by_report = reported.as_ref().is_some_and(|reported| reported.is_new_lock);
            let new_lock = locked_until.or_else(|| is_locked_by_report.then_some(Timestamp::NEVER));
            events.extend(decision_events(command, new_lock));
            outcomes.insert(command.stamp.command_id, DecideOutcome::Won { locked_until });
            let others = reported.map(|reported| reported.cancelled).unwrap_or_default();
            let others = others.into_iter().map(|id| (id, None));
            let own = (command.verdict != Verdict::ShowCode).then_some((command.challenge_id, Some(command.device_id)));
            let end = |(challenge_id, decided_by)| Ended { stamp: &command.stamp, challenge_id, decided_by };
            ended.extend(own.into_iter().chain(others).map(end));
        }
        self.insert_events(events).await?;
        for command in &ends {
            let (stamp, user_id) = (&command.stamp, command.user_id);
            if locks.get(&user_id) == Some(&Some(Timestamp::NEVER)) {
                self.cancel_open_enrollments(stamp, user_id, OpenEnrollments::All, "user_locked").await?;
            } else if report(command).is_some() {
                self.cancel_open_enrollments(stamp, user_id, OpenEnrollments::NotOverridden, "user_reported").await?;
            }
        }
        for command in shown {
            self.wake(WakeKey::Challenge(command.challenge_id));
        }
        self.withdraw(&ended).await?;
        Ok(outcomes)
    }
}

/// What a deny with `not_me` does beyond ending its challenge.
fn report(command: &DecideChallenge) -> Option<Report<'_>> {
    let (_, reason) = command.end();
    (reason == Some(ChallengeReason::NotMe)).then(|| Report {
        stamp: &command.stamp,
        user_id: command.user_id,
        by: ReportedBy::Device,
        quiet_seconds: command.quiet_seconds_after_report,
        locks: command.on_report == ReportAction::Lock,
    })
}

fn response_rows(commands: &[&DecideChallenge]) -> String {
    let row = |command: &&DecideChallenge| {
        let (status, reason) = command.end();
        json!({
            "r_challenge_id": rows::id(command.challenge_id),
            "r_tenant_id": rows::id(command.stamp.tenant_id),
            "r_user_id": rows::id(command.user_id),
            "r_device_id": rows::id(command.device_id),
            "r_key": command.key.as_str(),
            "r_binding_id": rows::id(command.binding.id),
            "r_binding": command.binding.jws,
            "r_response": command.response,
            "r_says_approve": command.verdict.says_approve(),
            "r_shows_code": command.verdict == Verdict::ShowCode,
            "r_code": command.code.as_ref().map(|displayed| displayed.code.as_str()),
            "r_code_seal": command.code.as_ref().map(|displayed| displayed.seal.as_str()),
            "r_flags": flags(&command.flags),
            "r_status": status.as_str(),
            "r_reason": reason.map(ChallengeReason::as_str),
            "r_now": rows::time(command.stamp.at),
            "r_decided_at": (status != ChallengeStatus::Pending).then(|| rows::time(command.stamp.at.floor_to_second())),
            "r_command_id": rows::id(command.stamp.command_id),
        })
    };
    rows::to_parameter(RESPONSES, commands.iter().map(row).collect())
}

/// Words, separated by blanks; NULL if there are none.
fn flags(flags: &[ChallengeFlag]) -> Option<String> {
    let words: Vec<_> = flags.iter().map(|flag| flag.as_str()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn user_change(command: &DecideChallenge, ended: usize) -> UserChange<'_> {
    let effect = match command.verdict {
        Verdict::Approve { with_number } => Effect::Approval { is_proven: with_number },
        // Nothing has ended: not asked for.
        Verdict::ShowCode => Effect::Released,
        Verdict::Deny(_) => Effect::Denial,
        Verdict::WrongNumber => Effect::Failure {
            limit: command.wrong_numbers_before_lock,
            locked_until: command.stamp.at.plus_seconds(command.lock_seconds),
        },
    };
    let (stamp, user_id) = (&command.stamp, command.user_id);
    UserChange { stamp, user_id, ended, effect, report: report(command) }
}

fn decision_events(command: &DecideChallenge, new_lock: Option<Timestamp>) -> Vec<Event> {
    let subjects = Subjects {
        user_id: Some(command.user_id),
        device_id: Some(command.device_id),
        challenge_id: Some(command.challenge_id),
        ..Subjects::default()
    };
    let (status, reason) = command.end();
    let kind = match status {
        ChallengeStatus::Approved => EventKind::ChallengeApproved,
        ChallengeStatus::Pending => EventKind::ChallengeCodeShown,
        _ => EventKind::ChallengeDenied,
    };
    let mut decided =
        Event::new(&command.stamp, kind, subjects).with("response_sha256", Digest::of(&command.response).to_b64u());
    match command.verdict {
        Verdict::Approve { with_number: true } => decided = decided.with("number", "right"),
        Verdict::WrongNumber => decided = decided.with("number", "wrong"),
        Verdict::Approve { with_number: false } | Verdict::ShowCode | Verdict::Deny(_) => {}
    }
    if let Some(flags) = flags(&command.flags) {
        decided = decided.with("flags", flags);
    }
    if let Some(reason) = reason {
        decided = decided.with("reason", reason.as_str());
    }
    let mut events = vec![decided];
    if reason == Some(ChallengeReason::NotMe) {
        events.push(Event::new(&command.stamp, EventKind::ChallengeReported, subjects));
        events.push(
            Event::new(&command.stamp, EventKind::UserReported, subjects).with("by", ReportedBy::Device.as_str()),
        );
    }
    events.extend(new_lock.map(|until| locked(&command.stamp, subjects, until)));
    events
}

/// What a command that changed nothing is told, in the protocol's order.
fn true_state(command: &DecideChallenge, row: &Columns<'_>) -> Result<DecideOutcome, Failure> {
    let now = command.stamp.at;
    let status: Option<ChallengeStatus> = row.optional_word("status")?;
    let locked_until = row.optional_time("locked_until")?.filter(|until| *until > now);
    // This command was committed before, and only the answer was lost.
    if row.optional_id("decision_id")? == Some(command.stamp.command_id) {
        let is_wrong = matches!(command.verdict, Verdict::WrongNumber);
        return Ok(DecideOutcome::Won { locked_until: locked_until.filter(|_| is_wrong) });
    }
    // 2.
    if row.optional_text("response")?.as_ref() == Some(&command.response) {
        return Ok(DecideOutcome::Repeat(recorded(row)?));
    }
    if row.optional_time("tenant_disabled_at")?.is_some() {
        return Ok(DecideOutcome::TenantDisabled);
    }
    // 3.
    match row.optional_word("device_status")? {
        Some(DeviceStatus::Active) => {}
        Some(other) => return Ok(DecideOutcome::DeviceNotActive(other)),
        None => return Ok(DecideOutcome::StaleKey),
    }
    let key = Some(command.key.as_str());
    let is_current =
        row.optional_text("key_thumbprint")?.as_deref() == key || row.optional_text("uv_thumbprint")?.as_deref() == key;
    if !is_current || row.optional_id("binding_id")? != Some(command.binding.id) {
        return Ok(DecideOutcome::StaleKey);
    }
    // 4.
    let (Some(status), Some(expires_at)) = (status, row.optional_time("expires_at")?) else {
        return Ok(DecideOutcome::NotFound);
    };
    if row.optional_id("addressed_device_id")? != Some(command.device_id) {
        return Ok(DecideOutcome::NotFound);
    }
    // 5.
    match status_at(status, expires_at, now) {
        ChallengeStatus::Pending => {}
        closed => return Ok(DecideOutcome::Closed(closed)),
    }
    // 8.
    if let Some(until) = locked_until.filter(|_| command.verdict.says_approve()) {
        return Ok(DecideOutcome::Locked(until));
    }
    // 10. Nothing else is left that could have stood in the way.
    let is_shown = command.verdict == Verdict::ShowCode && row.optional_text("response")?.is_some();
    Ok(if is_shown { DecideOutcome::AwaitingCode } else { DecideOutcome::NotFound })
}

/// The response that decided a challenge, or that was shown its code.
pub(super) fn recorded(row: &Columns<'_>) -> Result<RecordedResponse, StoreError> {
    let ends_at = match row.optional_time("decided_at")? {
        Some(decided_at) => decided_at,
        None => row.time("expires_at")?,
    };
    let code = match (row.optional_text("code")?, row.optional_text("code_seal")?) {
        (Some(code), Some(seal)) => Some(DisplayedCode { code, seal }),
        _ => None,
    };
    Ok(RecordedResponse {
        tenant_id: row.id("tenant_id")?,
        response: row.text("response")?,
        status: row.word("status")?,
        reason: row.optional_word("reason")?,
        decided_at: ends_at,
        code,
    })
}
