//! Cancelling and expiring challenges, a set at a time.

use std::collections::{HashMap, HashSet};

use countersign_core::{
    actor::Actor,
    challenge::status_at,
    event::{Event, EventKind, Subjects},
    ports::challenges::{Close, CloseChallenge, CloseOutcome},
};
use countersign_proto::{
    ids::{ApiClientId, ChallengeId, CommandId},
    vocabulary::{ChallengeReason, ChallengeStatus, Word as _},
};
use serde_json::json;

use super::{
    super::{Columns, Tx, dialect, query},
    ended::{Effect, Ended, UserChange},
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CLOSES: &rows::Columns = &[
    ("r_challenge_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_user_id", Type::Id),
    ("r_client_id", Type::Id),
    ("r_is_expiry", Type::Flag),
    ("r_is_clients", Type::Flag),
    ("r_status", Type::Text),
    ("r_reason", Type::Text),
    ("r_now", Type::Integer),
    ("r_decided_at", Type::Integer),
    ("r_command_id", Type::Id),
];

/// See the module.
pub(super) struct Statements {
    close_challenges: Statement,
    lost_closes: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let closes = dialect::row_source(1, CLOSES);
        Self {
            // Exactly one of expiry and cancellation is possible at any time: the end of the time divides them.
            close_challenges: Statement::new(format!(
                "-- close_challenges
                UPDATE challenges SET
                    status = r_status, reason = r_reason, decision_id = r_command_id, number = NULL, code = NULL,
                    decided_at = CASE WHEN r_is_expiry THEN expires_at ELSE r_decided_at END
                FROM {closes}
                WHERE challenges.id = r_challenge_id AND challenges.tenant_id = r_tenant_id
                  AND challenges.user_id = r_user_id AND challenges.status = 'pending'
                  AND CASE WHEN r_is_expiry THEN challenges.expires_at <= r_now
                           ELSE challenges.expires_at > r_now
                                AND (NOT r_is_clients OR challenges.client_id = r_client_id) END
                RETURNING challenges.id AS id"
            )),
            lost_closes: Statement::new(format!(
                "-- lost_closes
                SELECT r_command_id, status, expires_at, client_id, decision_id
                FROM {closes} CROSS JOIN challenges
                WHERE challenges.id = r_challenge_id AND challenges.tenant_id = r_tenant_id
                  AND challenges.user_id = r_user_id"
            )),
        }
    }
}

impl Tx<'_> {
    /// Closes challenges of which no two share a user. The actors are known to be live and the users are locked.
    pub(in super::super) async fn close_challenges(
        &mut self,
        commands: &[&CloseChallenge],
    ) -> Result<Vec<CloseOutcome>, Failure> {
        let statements = self.statements();
        let statements = &statements.challenges.close;
        let mut ended: HashSet<ChallengeId> = HashSet::new();
        for row in &self.fetch_all(query(&statements.close_challenges).bind(close_rows(commands))).await? {
            ended.insert(Columns::new("challenges", row).id("id")?);
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            commands.iter().copied().partition(|command| ended.contains(&command.challenge_id));
        self.follow_closes(&won).await?;
        let mut outcomes: HashMap<CommandId, CloseOutcome> =
            won.iter().map(|command| (command.stamp.command_id, CloseOutcome::Closed)).collect();
        if !lost.is_empty() {
            for row in &self.fetch_all(query(&statements.lost_closes).bind(close_rows(&lost))).await? {
                let row = Columns::new("challenges", row);
                let command_id: CommandId = row.id("r_command_id")?;
                if let Some(command) = lost.iter().find(|command| command.stamp.command_id == command_id) {
                    outcomes.insert(command_id, true_state(command, &row)?);
                }
            }
        }
        let outcome =
            |command: &&CloseChallenge| outcomes.remove(&command.stamp.command_id).unwrap_or(CloseOutcome::NotFound);
        Ok(commands.iter().map(outcome).collect())
    }

    async fn follow_closes(&mut self, won: &[&CloseChallenge]) -> Result<(), Failure> {
        if won.is_empty() {
            return Ok(());
        }
        let changes: Vec<_> = won
            .iter()
            .map(|command| UserChange {
                stamp: &command.stamp,
                user_id: command.user_id,
                ended: 1,
                effect: Effect::Released,
                report: None,
            })
            .collect();
        self.settle_users(&changes).await?;
        let event = |command: &&CloseChallenge| {
            let subjects = Subjects {
                user_id: Some(command.user_id),
                challenge_id: Some(command.challenge_id),
                ..Subjects::default()
            };
            match command.how {
                Close::Expire => Event::new(&command.stamp, EventKind::ChallengeExpired, subjects),
                Close::CancelByClient => Event::new(&command.stamp, EventKind::ChallengeCancelled, subjects)
                    .with("reason", ChallengeReason::Client.as_str()),
                Close::TenantDisabled => Event::new(&command.stamp, EventKind::ChallengeCancelled, subjects)
                    .with("reason", ChallengeReason::TenantDisabled.as_str()),
                Close::DatabaseRestored => Event::new(&command.stamp, EventKind::ChallengeCancelled, subjects)
                    .with("reason", ChallengeReason::DatabaseRestored.as_str()),
            }
        };
        self.insert_events(won.iter().map(event).collect()).await?;
        let ended = won.iter().map(|command| Ended {
            stamp: &command.stamp,
            challenge_id: command.challenge_id,
            decided_by: None,
        });
        let ended: Vec<_> = ended.collect();
        self.withdraw(&ended).await
    }
}

fn client_id(command: &CloseChallenge) -> Option<ApiClientId> {
    match command.stamp.actor {
        Actor::ApiClient { client_id, .. } => Some(client_id),
        Actor::Device(_) | Actor::Operator | Actor::System => None,
    }
}

fn close_rows(commands: &[&CloseChallenge]) -> String {
    let row = |command: &&CloseChallenge| {
        let (status, reason) = match command.how {
            Close::CancelByClient => (ChallengeStatus::Cancelled, Some(ChallengeReason::Client)),
            Close::TenantDisabled => (ChallengeStatus::Cancelled, Some(ChallengeReason::TenantDisabled)),
            Close::DatabaseRestored => (ChallengeStatus::Cancelled, Some(ChallengeReason::DatabaseRestored)),
            Close::Expire => (ChallengeStatus::Expired, None),
        };
        json!({
            "r_challenge_id": rows::id(command.challenge_id),
            "r_tenant_id": rows::id(command.stamp.tenant_id),
            "r_user_id": rows::id(command.user_id),
            "r_client_id": client_id(command).map(rows::id),
            "r_is_expiry": command.how == Close::Expire,
            "r_is_clients": command.how == Close::CancelByClient,
            "r_status": status.as_str(),
            "r_reason": reason.map(ChallengeReason::as_str),
            "r_now": rows::time(command.stamp.at),
            "r_decided_at": rows::time(command.stamp.at.floor_to_second()),
            "r_command_id": rows::id(command.stamp.command_id),
        })
    };
    rows::to_parameter(CLOSES, commands.iter().map(row).collect())
}

/// What a command that changed nothing is told.
fn true_state(command: &CloseChallenge, row: &Columns<'_>) -> Result<CloseOutcome, Failure> {
    // This command was committed before, and only the answer was lost.
    if row.id("decision_id")? == command.stamp.command_id {
        return Ok(CloseOutcome::Closed);
    }
    // Another client's challenge is as good as none.
    if command.how == Close::CancelByClient && Some(row.id("client_id")?) != client_id(command) {
        return Ok(CloseOutcome::NotFound);
    }
    Ok(match status_at(row.word("status")?, row.time("expires_at")?, command.stamp.at) {
        ChallengeStatus::Pending => CloseOutcome::NotDue,
        closed => CloseOutcome::AlreadyClosed(closed),
    })
}
