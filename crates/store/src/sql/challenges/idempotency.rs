//! Idempotency keys (protocol 6.1): what a key stands for is written in the challenge's own transaction.
//!
//! A key is taken before its challenge is made, and given back in the same transaction if the challenge is not.

use std::collections::{BTreeSet, HashMap, HashSet};

use countersign_core::{
    challenge::status_at,
    digest::Digest,
    ports::{
        StoreError,
        challenges::{CreateChallenge, Idempotency, StoredCreation},
    },
};
use countersign_proto::{
    ids::{ApiClientId, CommandId},
    timestamp::Timestamp,
    vocabulary::ChallengeStatus,
};
use serde_json::json;

use super::super::{Columns, Database, Tx, dialect, query};
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

const HASHES: &rows::Columns = &[("r_hash", Type::Integer)];

/// See the module.
pub(super) struct Statements {
    lock_keys: Statement,
    take_keys: Statement,
    stored_creations: Statement,
    give_back_keys: Statement,
    replace_replies: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let keys = dialect::row_source(1, KEYS);
        Self {
            lock_keys: Statement::new(format!(
                "-- lock_keys
                SELECT pg_advisory_xact_lock(r_hash) FROM {hashes}",
                hashes = dialect::row_source(1, HASHES),
            )),
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
            replace_replies: Statement::new(format!(
                "-- replace_replies
                UPDATE idempotency_keys SET reply = r_reply
                FROM {keys}
                WHERE idempotency_keys.client_id = r_client_id AND idempotency_keys.key = r_key
                  AND idempotency_keys.decision_id = r_command_id"
            )),
        }
    }
}

impl Tx<'_> {
    /// Lets two batches that take some of the same keys follow one another, in whatever rounds each takes them: a key
    /// is held until the commit, so that they could wait for each other's. Call it before any is taken.
    pub(in super::super) async fn lock_keys(&mut self, keys: &[(ApiClientId, &str)]) -> Result<(), Failure> {
        let hash = |(client_id, key): &(ApiClientId, &str)| {
            let [a, b, c, d, e, f, g, h, ..] = Digest::of(format!("{client_id} {key}")).0;
            i64::from_be_bytes([a, b, c, d, e, f, g, h])
        };
        // In one order for everybody. Two keys with one hash only follow one another needlessly.
        let hashes: BTreeSet<_> = keys.iter().map(hash).collect();
        // Whoever takes a single key waits for nobody afterwards.
        if !dialect::LOCKS_ROWS || hashes.len() < 2 {
            return Ok(());
        }
        let hashes = hashes.into_iter().map(|hash| json!({"r_hash": hash})).collect();
        let statements = self.statements();
        let lock = query(&statements.challenges.idempotency.lock_keys).bind(rows::to_parameter(HASHES, hashes));
        self.execute(lock).await.map(|_| ())
    }

    /// Takes the idempotency keys; returns what the ones stand for that were taken before.
    pub(super) async fn take_keys(
        &mut self,
        commands: &[&CreateChallenge],
    ) -> Result<HashMap<CommandId, StoredCreation>, Failure> {
        let keyed: Vec<_> = commands.iter().copied().filter(|command| command.idempotency.is_some()).collect();
        let Some(earliest) = keyed.iter().map(|command| command.stamp.at).min() else { return Ok(HashMap::new()) };
        let statements = self.statements();
        let statements = &statements.challenges.idempotency;
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
                stored.insert(command_id, creation(&columns, command.stamp.at)?);
            }
        }
        Ok(stored)
    }

    /// What the keys of challenges that ring nobody stand for: a repeat is told what the first reply said.
    pub(super) async fn replace_replies(&mut self, suppressed: &[&CreateChallenge]) -> Result<(), Failure> {
        let keyed: Vec<_> = suppressed.iter().copied().filter(|command| command.idempotency.is_some()).collect();
        if keyed.is_empty() {
            return Ok(());
        }
        let statements = self.statements();
        let replace = query(&statements.challenges.idempotency.replace_replies);
        self.execute(replace.bind(rows_with(&keyed, |key| &key.suppressed_reply))).await.map(|_| ())
    }

    /// Frees the keys of challenges that were not made.
    pub(super) async fn give_back_keys(&mut self, commands: &[&CreateChallenge]) -> Result<(), Failure> {
        if commands.is_empty() {
            return Ok(());
        }
        let statements = self.statements();
        let give_back = query(&statements.challenges.idempotency.give_back_keys).bind(key_rows(commands));
        self.execute(give_back).await.map(|_| ())
    }
}

fn key_rows(commands: &[&CreateChallenge]) -> String {
    rows_with(commands, |key| &key.reply)
}

fn rows_with(commands: &[&CreateChallenge], reply: fn(&Idempotency) -> &String) -> String {
    let row = |(command, key): (&CreateChallenge, &Idempotency)| {
        json!({
            "r_client_id": rows::id(command.facts.client_id),
            "r_key": key.key,
            "r_tenant_id": rows::id(command.stamp.tenant_id),
            "r_challenge_id": rows::id(command.facts.id),
            "r_body": rows::digest(key.body),
            "r_reply": reply(key),
            "r_expires_at": rows::time(key.expires_at),
            "r_command_id": rows::id(command.stamp.command_id),
        })
    };
    let keyed = commands.iter().filter_map(|command| Some((*command, command.idempotency.as_ref()?)));
    rows::to_parameter(KEYS, keyed.map(row).collect())
}

pub(super) async fn stored_creation(
    database: &Database,
    client_id: ApiClientId,
    key: &str,
    now: Timestamp,
) -> Result<Option<StoredCreation>, StoreError> {
    let stored_creation = query(
        "-- stored_creation
        SELECT idempotency_keys.client_id AS client_id, body, reply, number, status,
            challenges.expires_at AS expires_at
        FROM idempotency_keys LEFT JOIN challenges ON challenges.id = idempotency_keys.challenge_id
        WHERE idempotency_keys.client_id = $1 AND idempotency_keys.key = $2 AND idempotency_keys.expires_at > $3",
    );
    let stored_creation = stored_creation.bind(client_id.as_uuid()).bind(key).bind(now.as_millis());
    let row = database.fetch_optional(stored_creation).await?;
    row.as_ref().map(|row| creation(&Columns::new("idempotency_keys", row), now)).transpose()
}

/// What a row of `idempotency_keys` with its challenge says: the number only while it is of use.
fn creation(row: &Columns<'_>, now: Timestamp) -> Result<StoredCreation, StoreError> {
    let status: Option<ChallengeStatus> = row.optional_word("status")?;
    let expires_at = row.optional_time("expires_at")?;
    let is_pending =
        status.zip(expires_at).is_some_and(|(status, end)| status_at(status, end, now) == ChallengeStatus::Pending);
    Ok(StoredCreation {
        body: row.digest("body")?,
        reply: row.text("reply")?,
        number: row.optional_text("number")?.filter(|_| is_pending),
    })
}
