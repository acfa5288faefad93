//! What waits for a device, and what the node's poller and sweeper ask for.

use countersign_core::ports::{
    StoreError,
    challenges::{ChangedChallenge, DueChallenge, InboxEntry},
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, Id},
    timestamp::Timestamp,
    vocabulary::ChallengeStatus,
};
use serde_json::{Value, json};

use super::super::{
    Columns, Database, Row, dialect, query,
    reader::{Lookup, NUMBER},
};
use crate::{
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    inbox: Statement,
    changed: Statement,
    inboxes: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let ids = dialect::row_source(1, IDS);
        let asked = dialect::row_source(1, InboxOf::COLUMNS);
        Self {
            // By the user: of a user at most a handful of challenges is pending.
            inbox: Statement::new(format!(
                "-- inbox
                SELECT challenges.id AS id, r_number, jws, expires_at
                FROM {asked} CROSS JOIN devices CROSS JOIN challenges CROSS JOIN deliveries
                WHERE devices.id = r_id AND devices.status = 'active'
                  AND challenges.user_id = devices.user_id AND challenges.tenant_id = devices.tenant_id
                  AND challenges.status = 'pending' AND challenges.expires_at > r_now
                  AND deliveries.challenge_id = challenges.id AND deliveries.device_id = devices.id"
            )),
            changed: Statement::new(format!(
                "-- changed
                SELECT id, CAST(CASE WHEN status = 'pending' AND expires_at > $2 THEN 1 ELSE 0 END AS BIGINT)
                    AS is_awaiting_code
                FROM {ids} CROSS JOIN challenges
                WHERE id = r_id AND (status <> 'pending' OR expires_at <= $2 OR code IS NOT NULL)"
            )),
            // As above.
            inboxes: Statement::new(format!(
                "-- inboxes
                SELECT deliveries.device_id AS device_id, deliveries.challenge_id AS challenge_id
                FROM {ids} CROSS JOIN devices CROSS JOIN challenges CROSS JOIN deliveries
                WHERE devices.id = r_id AND devices.status = 'active'
                  AND challenges.user_id = devices.user_id AND challenges.tenant_id = devices.tenant_id
                  AND challenges.status = 'pending' AND challenges.expires_at > $2
                  AND deliveries.challenge_id = challenges.id AND deliveries.device_id = devices.id"
            )),
        }
    }
}

fn ids<K>(ids: &[Id<K>]) -> String {
    rows::to_parameter(IDS, ids.iter().map(|id| json!({"r_id": rows::id(*id)})).collect())
}

/// What waits for a device at a time, in the order of the challenges' ids.
pub(in super::super) struct InboxOf;

impl Lookup for InboxOf {
    type Key = (DeviceId, Timestamp);
    type Found = Vec<InboxEntry>;

    const COLUMNS: &'static rows::Columns = &[("r_id", Type::Id), ("r_now", Type::Integer), (NUMBER, Type::Integer)];

    const AT_ONCE: usize = 64;

    fn statement(statements: &super::super::Statements) -> &Statement {
        &statements.challenges.inbox.inbox
    }

    fn cells((device_id, now): &Self::Key) -> Value {
        json!({"r_id": rows::id(*device_id), "r_now": rows::time(*now)})
    }

    fn read(rows: &[Row]) -> Result<Vec<InboxEntry>, StoreError> {
        let entries = rows.iter().map(|row| entry_of(&Columns::new("challenges", row)));
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        entries.sort_by_key(|entry| entry.id);
        Ok(entries)
    }
}

pub(super) async fn entry(
    database: &Database,
    device_id: DeviceId,
    id: ChallengeId,
) -> Result<Option<(InboxEntry, ChallengeStatus)>, StoreError> {
    let entry = query(
        "-- inbox_entry
        SELECT challenges.id AS id, jws, expires_at, status
        FROM deliveries CROSS JOIN challenges
        WHERE deliveries.challenge_id = $1 AND deliveries.device_id = $2
          AND challenges.id = deliveries.challenge_id AND challenges.tenant_id = deliveries.tenant_id",
    );
    let read = |row: &Row| {
        let row = Columns::new("challenges", row);
        Ok((entry_of(&row)?, row.word("status")?))
    };
    database.fetch_optional(entry.bind(id.as_uuid()).bind(device_id.as_uuid())).await?.as_ref().map(read).transpose()
}

fn entry_of(row: &Columns<'_>) -> Result<InboxEntry, StoreError> {
    Ok(InboxEntry { id: row.id("id")?, jws: row.text("jws")?, expires_at: row.time("expires_at")? })
}

pub(super) async fn changed(
    database: &Database,
    asked: &[ChallengeId],
    now: Timestamp,
) -> Result<Vec<ChangedChallenge>, StoreError> {
    let changed = query(&database.statements.challenges.inbox.changed).bind(ids(asked)).bind(now.as_millis());
    let read = |row: &Row| {
        let row = Columns::new("challenges", row);
        Ok(ChangedChallenge { id: row.id("id")?, is_awaiting_code: row.flag("is_awaiting_code")? })
    };
    database.fetch_all(changed).await?.iter().map(read).collect()
}

pub(super) async fn inboxes(
    database: &Database,
    asked: &[DeviceId],
    now: Timestamp,
) -> Result<Vec<(DeviceId, ChallengeId)>, StoreError> {
    let inboxes = query(&database.statements.challenges.inbox.inboxes).bind(ids(asked)).bind(now.as_millis());
    let read = |row: &Row| {
        let row = Columns::new("deliveries", row);
        Ok((row.id("device_id")?, row.id("challenge_id")?))
    };
    database.fetch_all(inboxes).await?.iter().map(read).collect()
}

pub(super) async fn due(database: &Database, now: Timestamp, limit: u32) -> Result<Vec<DueChallenge>, StoreError> {
    let due = query(
        "-- due_challenges
        SELECT id, tenant_id, user_id FROM challenges
        WHERE status = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
    );
    let read = |row: &Row| {
        let row = Columns::new("challenges", row);
        Ok(DueChallenge { tenant_id: row.id("tenant_id")?, user_id: row.id("user_id")?, id: row.id("id")? })
    };
    database.fetch_all(due.bind(now.as_millis()).bind(i64::from(limit))).await?.iter().map(read).collect()
}
