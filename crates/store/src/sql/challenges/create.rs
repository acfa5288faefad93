//! Creating challenges: challenge, counter, deliveries, notifications and event of each, a set at a time.

use std::collections::{HashMap, HashSet};

use countersign_core::{
    event::{Event, EventKind, Subjects, derived_id},
    limits::MAX_PENDING_PER_USER,
    ports::{
        challenges::{CreateChallenge, CreateOutcome, Idempotency, StoredCreation},
        notifications::NotificationKind,
    },
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, CommandId},
    vocabulary::{DeliveryState, Word as _},
};
use serde_json::json;

use super::{
    super::{Columns, Tx, dialect, notifications::NewNotification, query},
    read,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const KEYS: &rows::Columns = &[
    ("r_client_id", Type::Id),
    ("r_key", Type::Text),
    ("r_tenant_id", Type::Id),
    ("r_challenge_id", Type::Id),
    ("r_body", Type::Bytes),
    ("r_reply", Type::Text),
    ("r_expires_at", Type::Integer),
    ("r_command_id", Type::Id),
];
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
const DELIVERIES: &rows::Columns = &[
    ("r_challenge_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_channel", Type::Text),
    ("r_state", Type::Text),
    ("r_now", Type::Integer),
];

/// See the module.
pub(super) struct Statements {
    take_keys: Statement,
    stored_creations: Statement,
    give_back_keys: Statement,
    insert_challenges: Statement,
    lost_creations: Statement,
    count_pending: Statement,
    insert_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let keys = dialect::row_source(1, KEYS);
        let challenges = dialect::row_source(1, CHALLENGES);
        let users = dialect::row_source(1, USERS);
        let deliveries = dialect::row_source(1, DELIVERIES);
        Self {
            // A key that has run out is taken over; a live one stays and is not returned. `$2`: the earliest time
            // of the set, so that a key which runs out just now counts as live.
            take_keys: Statement::new(format!(
                "-- take_keys
                INSERT INTO idempotency_keys
                    (client_id, key, tenant_id, challenge_id, body, reply, expires_at, decision_id)
                SELECT r_client_id, r_key, r_tenant_id, r_challenge_id, r_body, r_reply, r_expires_at, r_command_id
                FROM {keys} WHERE true ORDER BY r_client_id, r_key
                ON CONFLICT (client_id, key) DO UPDATE
                SET tenant_id = excluded.tenant_id, challenge_id = excluded.challenge_id, body = excluded.body,
                    reply = excluded.reply, expires_at = excluded.expires_at, decision_id = excluded.decision_id
                WHERE idempotency_keys.expires_at <= $2
                RETURNING challenge_id"
            )),
            stored_creations: Statement::new(format!(
                "-- stored_creations
                SELECT r_command_id, body, reply, idempotency_keys.decision_id AS decision_id, number, status,
                    challenges.expires_at AS expires_at
                FROM {keys} CROSS JOIN idempotency_keys
                LEFT JOIN challenges ON challenges.id = idempotency_keys.challenge_id
                WHERE idempotency_keys.client_id = r_client_id AND idempotency_keys.key = r_key"
            )),
            give_back_keys: Statement::new(format!(
                "-- give_back_keys
                DELETE FROM idempotency_keys
                WHERE (client_id, key, decision_id) IN (SELECT r_client_id, r_key, r_command_id FROM {keys})"
            )),
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
                SELECT r_id, devices_version, pending_challenges, jws
                FROM {users}
                LEFT JOIN users ON users.id = r_user_id AND users.tenant_id = r_tenant_id
                LEFT JOIN challenges ON challenges.id = r_id AND challenges.tenant_id = r_tenant_id"
            )),
            count_pending: Statement::new(format!(
                "-- count_pending
                UPDATE users SET pending_challenges = pending_challenges + 1
                FROM {users} WHERE users.id = r_user_id AND users.tenant_id = r_tenant_id"
            )),
            insert_deliveries: Statement::new(format!(
                "-- insert_deliveries
                INSERT INTO deliveries (challenge_id, device_id, tenant_id, channel, state, updated_at)
                SELECT r_challenge_id, r_device_id, r_tenant_id, r_channel, r_state, r_now FROM {deliveries}"
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
        self.follow(&won).await?;
        let outcome = |command: &&CreateChallenge| {
            let id = command.stamp.command_id;
            stored.remove(&id).map(CreateOutcome::Stored).or_else(|| lost.remove(&id)).unwrap_or(CreateOutcome::Created)
        };
        Ok(commands.iter().map(outcome).collect())
    }

    /// Takes the idempotency keys; returns what the ones stand for that were taken before.
    async fn take_keys(
        &mut self,
        commands: &[&CreateChallenge],
    ) -> Result<HashMap<CommandId, StoredCreation>, Failure> {
        let keyed: Vec<_> = commands.iter().copied().filter(|command| command.idempotency.is_some()).collect();
        let Some(earliest) = keyed.iter().map(|command| command.stamp.at).min() else { return Ok(HashMap::new()) };
        let statements = self.statements();
        let statements = &statements.challenges.create;
        let take = query(&statements.take_keys).bind(key_rows(&keyed)).bind(earliest.as_millis());
        let mut taken = HashSet::new();
        for row in &self.fetch_all(take).await? {
            taken.insert(Columns::new("idempotency_keys", row).id("challenge_id")?);
        }
        let late: Vec<_> = keyed.into_iter().filter(|command| !taken.contains(&command.facts.id)).collect();
        let mut stored = HashMap::new();
        if late.is_empty() {
            return Ok(stored);
        }
        for row in &self.fetch_all(query(&statements.stored_creations).bind(key_rows(&late))).await? {
            let columns = Columns::new("idempotency_keys", row);
            let command_id = columns.id("r_command_id")?;
            // Its own: this command was committed before, and only the answer was lost.
            let is_own = columns.id("decision_id")? == command_id;
            if let Some(command) = late.iter().find(|command| command.stamp.command_id == command_id && !is_own) {
                stored.insert(command_id, read::stored(&columns, command.stamp.at)?);
            }
        }
        Ok(stored)
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
                "r_tenant_id": rows::id(facts.tenant_id),
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
                CreateOutcome::Created
            } else if columns.get::<Option<i64>>("devices_version")? != Some(command.devices_version) {
                CreateOutcome::DevicesChanged
            } else {
                CreateOutcome::TooManyPending
            };
            if outcome != CreateOutcome::Created && command.idempotency.is_some() {
                refused.push(command);
            }
            outcomes.insert(command.stamp.command_id, outcome);
        }
        if !refused.is_empty() {
            self.execute(query(&statements.give_back_keys).bind(key_rows(&refused))).await?;
        }
        Ok(outcomes)
    }

    /// What comes with each new challenge.
    async fn follow(&mut self, won: &[&CreateChallenge]) -> Result<(), Failure> {
        if won.is_empty() {
            return Ok(());
        }
        let statements = self.statements();
        let statements = &statements.challenges.create;
        self.execute(query(&statements.count_pending).bind(user_rows(won))).await?;
        let deliveries = delivery_rows(won);
        self.execute(query(&statements.insert_deliveries).bind(deliveries)).await?;
        let mut notifications = Vec::new();
        let mut events = Vec::with_capacity(won.len());
        for command in won {
            let (stamp, facts) = (&command.stamp, &command.facts);
            for delivery in &command.deliveries {
                self.wake(WakeKey::Device(delivery.device_id));
                if delivery.state == DeliveryState::Queued {
                    notifications.push(NewNotification {
                        id: derived_id(stamp.at, stamp.command_id, &format!("challenge {}", delivery.device_id)),
                        tenant_id: facts.tenant_id,
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
            events.push(Event::new(stamp, EventKind::ChallengeCreated, subjects));
        }
        self.insert_notifications(notifications).await?;
        self.insert_events(events).await
    }
}

fn key_rows(commands: &[&CreateChallenge]) -> String {
    let row = |(command, key): (&CreateChallenge, &Idempotency)| {
        json!({
            "r_client_id": rows::id(command.facts.client_id),
            "r_key": key.key,
            "r_tenant_id": rows::id(command.facts.tenant_id),
            "r_challenge_id": rows::id(command.facts.id),
            "r_body": rows::digest(key.body),
            "r_reply": key.reply,
            "r_expires_at": rows::time(key.expires_at),
            "r_command_id": rows::id(command.stamp.command_id),
        })
    };
    let keyed = commands.iter().filter_map(|command| Some((*command, command.idempotency.as_ref()?)));
    rows::to_parameter(KEYS, keyed.map(row).collect())
}

fn user_rows(commands: &[&CreateChallenge]) -> String {
    let row = |command: &&CreateChallenge| {
        let facts = &command.facts;
        json!({"r_id": rows::id(facts.id), "r_tenant_id": rows::id(facts.tenant_id),
            "r_user_id": rows::id(facts.user.id)})
    };
    rows::to_parameter(USERS, commands.iter().map(row).collect())
}

fn delivery_rows(commands: &[&CreateChallenge]) -> String {
    let mut rows = Vec::new();
    for command in commands {
        let row = |delivery: &countersign_core::ports::challenges::NewDelivery| {
            json!({
                "r_challenge_id": rows::id(command.facts.id),
                "r_device_id": rows::id(delivery.device_id),
                "r_tenant_id": rows::id(command.facts.tenant_id),
                "r_channel": delivery.channel.as_str(),
                "r_state": delivery.state.as_str(),
                "r_now": rows::time(command.stamp.at),
            })
        };
        rows.extend(command.deliveries.iter().map(row));
    }
    rows::to_parameter(DELIVERIES, rows)
}
