//! Codes that are typed where the person signs in, in mode `display` (protocol 6.8).
//!
//! The server judges a code outside of the transaction, against the seal of the one that a device shows; here the
//! outcome is written on condition that this very code is still awaited. Every guess is counted by the update that
//! judges it, in the challenge and in the user's counter at once, under the user's row: however many nodes are asked,
//! no guess is lost, and none is judged beyond a limit.

use async_trait::async_trait;
use countersign_core::{
    actor::Actor,
    challenge::status_at,
    digest::Digest,
    event::{Event, EventKind, Subjects},
    limits::MAX_WRONG_CODES,
    ports::challenges::{EnterCode, EnterCodeOutcome, TypedCode},
};
use countersign_proto::{
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, Word as _},
};

use super::{
    super::{Columns, Outcome, Plain, Query, Tx, enrollments::OpenEnrollments, query},
    ended::{Effect, Ended, UserChange, locked},
};
use crate::{failure::Failure, statement::Statement};

/// See the module.
pub(super) struct Statements {
    accept_code: Statement,
    count_wrong_challenge_code: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        // User and device are locked before, so that what is judged here holds until the commit.
        let awaited = "challenges.id = $1 AND challenges.tenant_id = $2 AND challenges.user_id = $3
                  AND challenges.client_id = $4 AND challenges.status = 'pending' AND challenges.expires_at > $5
                  AND challenges.device_id = $6 AND challenges.response = $7 AND challenges.code_seal = $8
                  AND challenges.decision_id <> $10
                  AND EXISTS (SELECT 1 FROM users WHERE users.id = challenges.user_id
                                AND (users.locked_until IS NULL OR users.locked_until <= $5))
                  AND EXISTS (SELECT 1 FROM devices WHERE devices.id = challenges.device_id
                                AND devices.tenant_id = challenges.tenant_id AND devices.user_id = challenges.user_id
                                AND devices.status = 'active' AND devices.binding = challenges.binding)";
        Self {
            accept_code: Statement::new(format!(
                "-- accept_code
                UPDATE challenges SET status = 'approved', decided_at = $9, decision_id = $10, code = NULL,
                    entered_seal = $11
                WHERE {awaited}"
            )),
            count_wrong_challenge_code: Statement::new(format!(
                "-- count_wrong_challenge_code
                UPDATE challenges SET wrong_codes = wrong_codes + 1,
                    status = CASE WHEN wrong_codes + 1 >= $11 THEN 'denied' ELSE status END,
                    reason = CASE WHEN wrong_codes + 1 >= $11 THEN 'wrong_code' ELSE reason END,
                    decided_at = CASE WHEN wrong_codes + 1 >= $11 THEN $9 ELSE decided_at END,
                    code = CASE WHEN wrong_codes + 1 >= $11 THEN NULL ELSE code END,
                    decision_id = $10
                WHERE {awaited}
                RETURNING id, wrong_codes"
            )),
        }
    }
}

#[async_trait]
impl Plain for EnterCode {
    type Reply = EnterCodeOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<EnterCodeOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        tx.lock_user(self.stamp.tenant_id, self.user_id).await?;
        tx.share_devices(&[(self.stamp.tenant_id, self.device_id)]).await?;
        let statements = tx.statements();
        let statements = &statements.challenges.code;
        match &self.typed {
            TypedCode::Right { entered_seal } => {
                let accept = bind(self, &statements.accept_code).bind(entered_seal);
                if tx.execute(accept).await? == 1 {
                    follow(self, tx, Effect::Approval { is_proven: true }, true).await?;
                    return Ok(Outcome::Commit(EnterCodeOutcome::Approved));
                }
            }
            TypedCode::Wrong => {
                let count = bind(self, &statements.count_wrong_challenge_code).bind(i64::from(MAX_WRONG_CODES));
                if let Some(row) = tx.fetch_optional(count).await? {
                    let wrong_codes = Columns::new("challenges", &row).count("wrong_codes")?;
                    let attempts_left = MAX_WRONG_CODES.saturating_sub(wrong_codes);
                    let locked_until = self.stamp.at.plus_seconds(self.lock_seconds);
                    let failure = Effect::Failure { limit: self.wrong_numbers_before_lock, locked_until };
                    follow(self, tx, failure, attempts_left == 0).await?;
                    return Ok(Outcome::Commit(EnterCodeOutcome::Wrong { attempts_left }));
                }
            }
        }
        Ok(Outcome::Rollback(why_not(self, tx).await?))
    }

    fn finds_itself(&self) -> bool {
        true
    }
}

/// The parameters that both updates share.
fn bind<'q>(command: &'q EnterCode, statement: &'q Statement) -> Query<'q> {
    let client_id = match command.stamp.actor {
        Actor::ApiClient { client_id, .. } => Some(client_id.as_uuid()),
        Actor::Device(_) | Actor::Operator | Actor::System => None,
    };
    query(statement)
        .bind(command.challenge_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.user_id.as_uuid())
        .bind(client_id)
        .bind(command.stamp.at.as_millis())
        .bind(command.device_id.as_uuid())
        .bind(&command.response)
        .bind(&command.seal)
        .bind(command.stamp.at.floor_to_second().as_millis())
        .bind(command.stamp.command_id.as_uuid())
}

/// Counters, events, withdrawals, wake-ups.
async fn follow(command: &EnterCode, tx: &mut Tx<'_>, effect: Effect, has_ended: bool) -> Result<(), Failure> {
    let (stamp, user_id) = (&command.stamp, command.user_id);
    let change = UserChange { stamp, user_id, ended: usize::from(has_ended), effect, report: None };
    let locked_until = tx.settle_users(&[change]).await?.remove(&user_id).flatten();
    let subjects = Subjects {
        user_id: Some(user_id),
        device_id: Some(command.device_id),
        challenge_id: Some(command.challenge_id),
        ..Subjects::default()
    };
    let is_right = matches!(command.typed, TypedCode::Right { .. });
    let mut events = Vec::new();
    if has_ended {
        let kind = if is_right { EventKind::ChallengeApproved } else { EventKind::ChallengeDenied };
        let mut ended = Event::new(stamp, kind, subjects)
            .with("response_sha256", Digest::of(&command.response).to_b64u())
            .with("code", if is_right { "right" } else { "wrong" });
        if !is_right {
            ended = ended.with("reason", ChallengeReason::WrongCode.as_str());
        }
        events.push(ended);
    }
    // A code is judged only while there is no lock: one that holds now is new.
    events.extend(locked_until.filter(|until| *until > stamp.at).map(|until| locked(stamp, subjects, until)));
    tx.insert_events(events).await?;
    if locked_until == Some(Timestamp::NEVER) {
        tx.cancel_open_enrollments(stamp, user_id, OpenEnrollments::All, "user_locked").await?;
    }
    if !has_ended {
        return Ok(());
    }
    tx.withdraw(&[Ended { stamp, challenge_id: command.challenge_id, decided_by: Some(command.device_id) }]).await
}

/// Why the code was not judged.
async fn why_not(command: &EnterCode, tx: &mut Tx<'_>) -> Result<EnterCodeOutcome, Failure> {
    let state = query(
        "-- code_state
        SELECT challenges.id AS id, client_id, status, expires_at, response, code_seal, wrong_codes,
            challenges.decision_id AS decision_id, locked_until
        FROM challenges CROSS JOIN users
        WHERE challenges.id = $1 AND challenges.tenant_id = $2 AND challenges.user_id = $3
          AND users.id = challenges.user_id",
    )
    .bind(command.challenge_id.as_uuid())
    .bind(command.stamp.tenant_id.as_uuid())
    .bind(command.user_id.as_uuid());
    let Some(row) = tx.fetch_optional(state).await? else { return Ok(EnterCodeOutcome::NotFound) };
    let row = Columns::new("challenges", &row);
    let is_own = match command.stamp.actor {
        Actor::ApiClient { client_id, .. } => row.id("client_id")? == client_id,
        Actor::Device(_) | Actor::Operator | Actor::System => false,
    };
    if !is_own {
        return Ok(EnterCodeOutcome::NotFound);
    }
    // This command was committed before, and only the answer was lost: it is no second guess.
    if row.id("decision_id")? == command.stamp.command_id {
        let attempts_left = MAX_WRONG_CODES.saturating_sub(row.count("wrong_codes")?);
        return Ok(match &command.typed {
            TypedCode::Right { .. } => EnterCodeOutcome::Approved,
            TypedCode::Wrong => EnterCodeOutcome::Wrong { attempts_left },
        });
    }
    match status_at(row.word("status")?, row.time("expires_at")?, command.stamp.at) {
        ChallengeStatus::Pending => {}
        closed => return Ok(EnterCodeOutcome::Closed(closed)),
    }
    let is_shown = row.optional_text("response")?.as_ref() == Some(&command.response)
        && row.optional_text("code_seal")?.as_ref() == Some(&command.seal);
    if !is_shown {
        return Ok(EnterCodeOutcome::NotFound);
    }
    let locked_until = row.optional_time("locked_until")?.filter(|until| *until > command.stamp.at);
    // Nothing else is left that could have stood in the way.
    Ok(locked_until.map_or(EnterCodeOutcome::DeviceChanged, EnterCodeOutcome::Locked))
}
