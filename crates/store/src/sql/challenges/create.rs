//! Creating challenges: challenge, counters, deliveries, notifications and event of each, a set at a time.
//!
//! Whether a challenge rings is decided here, from the counters of the user's row, which is held until the commit: of
//! two nodes that ring one user, the second sees what the first has counted.

use std::collections::{HashMap, HashSet};

use countersign_core::{
    digest::Digest,
    event::{Event, EventKind, Subjects, derived_id},
    limits::MAX_PENDING_PER_USER,
    ports::{
        StoreError,
        challenges::{CreateChallenge, CreateOutcome, Created, NewDelivery},
        notifications::NotificationKind,
    },
    push::{
        self,
        budget::{PushCounters, Suppression},
    },
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, CommandId, UserId},
    vocabulary::{DeliveryState, Word as _},
};
use serde_json::json;

use super::super::{Columns, Tx, dialect, notifications::NewNotification, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CHALLENGES: &rows::Columns = &[
    ("r_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_client_id", Type::Id),
    ("r_user_id", Type::Id),
    ("r_external_id", Type::Text),
    ("r_display_name", Type::Text),
    ("r_content", Type::Text),
    ("r_policy", Type::Text),
    ("r_jws", Type::Text),
    ("r_number", Type::Text),
    ("r_created_at", Type::Integer),
    ("r_expires_at", Type::Integer),
    ("r_devices_version", Type::Integer),
    ("r_command_id", Type::Id),
];
const USERS: &rows::Columns = &[("r_id", Type::Id), ("r_tenant_id", Type::Id), ("r_user_id", Type::Id)];
const RUNG: &rows::Columns = &[("r_user_id", Type::Id), ("r_tenant_id", Type::Id), ("r_recent", Type::Text)];
const DELIVERIES: &rows::Columns = &[
    ("r_challenge_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_channel", Type::Text),
    ("r_state", Type::Text),
    ("r_error", Type::Text),
    ("r_now", Type::Integer),
];

/// See the module.
pub(super) struct Statements {
    insert_challenges: Statement,
    lost_creations: Statement,
    count_pending: Statement,
    count_pushes: Statement,
    insert_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let challenges = dialect::row_source(1, CHALLENGES);
        let users = dialect::row_source(1, USERS);
        let deliveries = dialect::row_source(1, DELIVERIES);
        Self {
            // The user's row is locked: nobody moves the version or the counter until the commit.
            insert_challenges: Statement::new(format!(
                "-- insert_challenges
                INSERT INTO challenges (id, tenant_id, client_id, user_id, external_id, display_name, content, policy,
                    jws, number, status, created_at, expires_at, decision_id)
                SELECT r_id, r_tenant_id, r_client_id, r_user_id, r_external_id, r_display_name, r_content, r_policy,
                    r_jws, r_number, 'pending', r_created_at, r_expires_at, r_command_id
                FROM {challenges} CROSS JOIN users
                WHERE users.id = r_user_id AND users.tenant_id = r_tenant_id
                  AND users.devices_version = r_devices_version AND users.pending_challenges < $2
                ON CONFLICT (id) DO NOTHING
                RETURNING id"
            )),
            lost_creations: Statement::new(format!(
                "-- lost_creations
                SELECT r_id, devices_version, pending_challenges, recent_pushes, pushes_since_approval,
                    pushes_stopped_until, reported_at, jws,
                    (SELECT max(last_error) FROM deliveries
                     WHERE challenge_id = r_id AND state = 'suppressed') AS suppressed
                FROM {users}
                LEFT JOIN users ON users.id = r_user_id AND users.tenant_id = r_tenant_id
                LEFT JOIN challenges ON challenges.id = r_id AND challenges.tenant_id = r_tenant_id"
            )),
            count_pending: Statement::new(format!(
                "-- count_pending
                UPDATE users SET pending_challenges = pending_challenges + 1
                FROM {users} WHERE users.id = r_user_id AND users.tenant_id = r_tenant_id
                RETURNING id, pending_challenges, recent_pushes, pushes_since_approval, pushes_stopped_until,
                    reported_at"
            )),
            count_pushes: Statement::new(format!(
                "-- count_pushes
                UPDATE users SET recent_pushes = r_recent, pushes_since_approval = pushes_since_approval + 1
                FROM {rung} WHERE users.id = r_user_id AND users.tenant_id = r_tenant_id",
                rung = dialect::row_source(1, RUNG),
            )),
            insert_deliveries: Statement::new(format!(
                "-- insert_deliveries
                INSERT INTO deliveries (challenge_id, device_id, tenant_id, channel, state, last_error, updated_at)
                SELECT r_challenge_id, r_device_id, r_tenant_id, r_channel, r_state, r_error, r_now
                FROM {deliveries}"
            )),
        }
    }
}

impl Tx<'_> {
    /// Makes challenges of which no two share a user or an idempotency key. The actors are known to be live and
    /// the users are locked.
    pub(in super::super) async fn create_challenges(
        &mut self,
        commands: &[&CreateChallenge],
    ) -> Result<Vec<CreateOutcome>, Failure> {
        let mut stored = self.take_keys(commands).await?;
        let open: Vec<_> = commands.iter().copied().filter(|c| !stored.contains_key(&c.stamp.command_id)).collect();
        let made = self.insert_challenges(&open).await?;
        let (won, lost): (Vec<_>, Vec<_>) = open.into_iter().partition(|command| made.contains(&command.facts.id));
        let mut lost = self.explain_lost(&lost).await?;
        let created = self.follow(&won).await?;
        lost.extend(created.into_iter().map(|(id, created)| (id, CreateOutcome::Created(created))));
        let outcome = |command: &&CreateChallenge| {
            let id = command.stamp.command_id;
            let outcome = stored.remove(&id).map(CreateOutcome::Stored).or_else(|| lost.remove(&id));
            outcome.ok_or_else(|| StoreError::Unavailable("a creation without an outcome".to_owned()).into())
        };
        commands.iter().map(outcome).collect()
    }

    async fn insert_challenges(&mut self, commands: &[&CreateChallenge]) -> Result<HashSet<ChallengeId>, Failure> {
        if commands.is_empty() {
            return Ok(HashSet::new());
        }
        let mut rows = Vec::with_capacity(commands.len());
        for command in commands {
            let facts = &command.facts;
            rows.push(json!({
                "r_id": rows::id(facts.id),
                "r_tenant_id": rows::id(command.stamp.tenant_id),
                "r_client_id": rows::id(facts.client_id),
                "r_user_id": rows::id(facts.user.id),
                "r_external_id": facts.user.external_id,
                "r_display_name": facts.user.display_name,
                "r_content": rows::json(&facts.text)?,
                "r_policy": rows::json(&facts.policy)?,
                "r_jws": facts.jws,
                "r_number": command.number,
                "r_created_at": rows::time(facts.created_at),
                "r_expires_at": rows::time(facts.expires_at),
                "r_devices_version": command.devices_version,
                "r_command_id": rows::id(command.stamp.command_id),
            }));
        }
        let statements = self.statements();
        let insert = query(&statements.challenges.create.insert_challenges)
            .bind(rows::to_parameter(CHALLENGES, rows))
            .bind(i64::from(MAX_PENDING_PER_USER));
        let made = self.fetch_all(insert).await?;
        made.iter().map(|row| Ok(Columns::new("challenges", row).id("id")?)).collect()
    }

    /// Why these were not made, and their idempotency keys back.
    async fn explain_lost(&mut self, lost: &[&CreateChallenge]) -> Result<HashMap<CommandId, CreateOutcome>, Failure> {
        let mut outcomes = HashMap::new();
        if lost.is_empty() {
            return Ok(outcomes);
        }
        let statements = self.statements();
        let statements = &statements.challenges.create;
        let found = self.fetch_all(query(&statements.lost_creations).bind(user_rows(lost))).await?;
        let mut refused = Vec::new();
        for row in &found {
            let columns = Columns::new("users", row);
            let id: ChallengeId = columns.id("r_id")?;
            let Some(command) = lost.iter().copied().find(|command| command.facts.id == id) else { continue };
            let outcome = if columns.optional_text("jws")?.as_ref() == Some(&command.facts.jws) {
                // This command was committed before, and only the answer was lost.
                let standing = counters(&columns)?.standing(&command.facts.policy, command.stamp.at);
                CreateOutcome::Created(Created { suppressed: columns.optional_word("suppressed")?, standing })
            } else if columns.get::<Option<i64>>("devices_version")? != Some(command.devices_version) {
                CreateOutcome::DevicesChanged
            } else {
                let standing = counters(&columns)?.standing(&command.facts.policy, command.stamp.at);
                CreateOutcome::TooManyPending(standing)
            };
            if !matches!(outcome, CreateOutcome::Created(_)) && command.idempotency.is_some() {
                refused.push(command);
            }
            outcomes.insert(command.stamp.command_id, outcome);
        }
        self.give_back_keys(&refused).await?;
        Ok(outcomes)
    }

    /// Counts the new challenges of as many users, and decides which of them ring.
    async fn count(&mut self, won: &[&CreateChallenge]) -> Result<HashMap<CommandId, Created>, Failure> {
        let statements = self.statements();
        let statements = &statements.challenges.create;
        let mut counted: HashMap<UserId, PushCounters> = HashMap::new();
        for row in &self.fetch_all(query(&statements.count_pending).bind(user_rows(won))).await? {
            let columns = Columns::new("users", row);
            counted.insert(columns.id("id")?, counters(&columns)?);
        }
        let mut created = HashMap::new();
        let (mut rung, mut suppressed) = (Vec::new(), Vec::new());
        for command in won.iter().copied() {
            let (facts, now) = (&command.facts, command.stamp.at);
            let mut user = counted.remove(&facts.user.id).ok_or(sqlx::Error::RowNotFound)?;
            let mut reason = None;
            if command.deliveries.iter().any(|delivery| delivery.state == DeliveryState::Queued) {
                reason = user.judge(&facts.policy, now);
                if reason.is_some() {
                    suppressed.push(command);
                } else {
                    user = user.rang(now);
                    rung.push(json!({"r_user_id": rows::id(facts.user.id),
                        "r_tenant_id": rows::id(command.stamp.tenant_id), "r_recent": user.recent.to_text()}));
                }
            }
            let standing = user.standing(&facts.policy, now);
            created.insert(command.stamp.command_id, Created { suppressed: reason, standing });
        }
        if !rung.is_empty() {
            self.execute(query(&statements.count_pushes).bind(rows::to_parameter(RUNG, rung))).await?;
        }
        self.replace_replies(&suppressed).await?;
        Ok(created)
    }

    /// What comes with each new challenge.
    async fn follow(&mut self, won: &[&CreateChallenge]) -> Result<HashMap<CommandId, Created>, Failure> {
        if won.is_empty() {
            return Ok(HashMap::new());
        }
        let created = self.count(won).await?;
        let suppressed = |command: &CreateChallenge| created.get(&command.stamp.command_id)?.suppressed;
        let statements = self.statements();
        let deliveries = delivery_rows(won, suppressed);
        self.execute(query(&statements.challenges.create.insert_deliveries).bind(deliveries)).await?;
        let mut notifications = Vec::new();
        let mut events = Vec::with_capacity(won.len());
        for command in won {
            let (stamp, facts) = (&command.stamp, &command.facts);
            let rings = suppressed(command).is_none();
            for delivery in &command.deliveries {
                self.wake(WakeKey::Device(delivery.device_id));
                if rings && delivery.state == DeliveryState::Queued {
                    notifications.push(NewNotification {
                        id: derived_id(stamp.at, stamp.command_id, &format!("challenge {}", delivery.device_id)),
                        tenant_id: stamp.tenant_id,
                        kind: NotificationKind::Challenge,
                        device_id: delivery.device_id,
                        challenge_id: Some(facts.id),
                        due_at: stamp.at,
                        expires_at: facts.expires_at,
                    });
                }
            }
            let subjects =
                Subjects { user_id: Some(facts.user.id), challenge_id: Some(facts.id), ..Subjects::default() };
            let created = Event::new(stamp, EventKind::ChallengeCreated, subjects);
            events.push(created.with("challenge_sha256", Digest::of(&facts.jws).to_b64u()));
        }
        self.insert_notifications(notifications).await?;
        self.insert_events(events).await?;
        Ok(created)
    }
}

/// The counters of a user whose row is locked.
fn counters(columns: &Columns<'_>) -> Result<PushCounters, StoreError> {
    Ok(PushCounters {
        pending: columns.count("pending_challenges")?,
        recent: columns.word("recent_pushes")?,
        since_approval: columns.count("pushes_since_approval")?,
        stopped_until: columns.optional_time("pushes_stopped_until")?,
        is_reported: columns.optional_time("reported_at")?.is_some(),
    })
}

fn user_rows(commands: &[&CreateChallenge]) -> String {
    let row = |command: &&CreateChallenge| {
        let facts = &command.facts;
        json!({"r_id": rows::id(facts.id), "r_tenant_id": rows::id(command.stamp.tenant_id),
            "r_user_id": rows::id(facts.user.id)})
    };
    rows::to_parameter(USERS, commands.iter().map(row).collect())
}

fn delivery_rows(
    commands: &[&CreateChallenge],
    suppressed: impl Fn(&CreateChallenge) -> Option<Suppression>,
) -> String {
    let mut rows = Vec::new();
    for command in commands {
        let reason = suppressed(command);
        let row = |delivery: &NewDelivery| {
            let reason = reason.filter(|_| delivery.state == DeliveryState::Queued);
            let state = if reason.is_some() { push::suppressed(delivery.state) } else { delivery.state };
            json!({
                "r_challenge_id": rows::id(command.facts.id),
                "r_device_id": rows::id(delivery.device_id),
                "r_tenant_id": rows::id(command.stamp.tenant_id),
                "r_channel": delivery.channel.as_str(),
                "r_state": state.as_str(),
                "r_error": reason.map(Suppression::as_str).or(delivery.last_error.as_deref()),
                "r_now": rows::time(command.stamp.at),
            })
        };
        rows.extend(command.deliveries.iter().map(row));
    }
    rows::to_parameter(DELIVERIES, rows)
}
