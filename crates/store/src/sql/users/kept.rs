//! What is kept of a person beside their records, as rows for an export (protocol 10.8).
//!
//! A row is told column by column: what is not named here is not told, and what is named is told as it is stored. Never
//! named: tokens, numbers and codes, MACs, and what kept replies say (some hold a code that waits). Read by keys that are
//! there for others, as in `held.rs`, and bounded. To add a column: its name and [`As`] here.

use countersign_core::{
    limits::{EXPORTED_ROWS, REPLAY_SECONDS},
    ports::{
        StoreError,
        users::{Kept, KeptRow},
    },
};
use countersign_proto::{
    ids::{Id, TenantId},
    jose::base64url,
    timestamp::Timestamp,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    super::{Columns, Database, Query, Row, dialect, query},
    blank::KEY_LIVES_MILLIS,
};
use crate::{
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];

/// How a column is told.
#[derive(Clone, Copy)]
enum As {
    /// As on the wire.
    Id,
    /// As it is.
    Text,
    /// As it is.
    Number,
    /// `true`, or nothing.
    Flag,
    /// As on the wire.
    Time,
    /// Several, separated by blanks.
    Times,
    /// Bytes in base64url.
    Bytes,
    /// As it is.
    Json,
    /// Of a JSON object only the names of its members.
    Names,
}

/// Columns and how they are told.
type Shape = [(&'static str, As)];

const GUARDS: &Shape = &[
    ("locked_until", As::Time),
    ("consecutive_failures", As::Number),
    ("consecutive_denials", As::Number),
    ("recent_pushes", As::Times),
    ("pushes_since_approval", As::Number),
    ("pushes_stopped_until", As::Time),
    ("devices_version", As::Number),
];
const REPLIES: &Shape =
    &[("artefact_sha256", As::Bytes), ("says", As::Names), ("kept_since", As::Time), ("kept_until", As::Time)];
const DEVICE: &Shape = &[("binding_id", As::Id), ("keys_changed_at", As::Time), ("push_undeliverable_at", As::Time)];
const QUEUED_PUSHES: &Shape = &[
    ("id", As::Id),
    ("kind", As::Text),
    ("channel", As::Text),
    ("challenge_id", As::Id),
    ("due_at", As::Time),
    ("expires_at", As::Time),
    ("attempts", As::Number),
    ("leased_until", As::Time),
];
const TEST_PUSHES: &Shape = &[
    ("id", As::Id),
    ("channel", As::Text),
    ("state", As::Text),
    ("attempts", As::Number),
    ("last_error", As::Text),
    ("created_at", As::Time),
    ("updated_at", As::Time),
];
const SPENT_IDS: &Shape = &[("jti", As::Text), ("kept_until", As::Time)];
const CHALLENGES: &Shape = &[
    ("challenge_id", As::Id),
    ("api_client_id", As::Id),
    ("device_id", As::Id),
    ("wrong_codes", As::Number),
    ("signed_challenge", As::Text),
    ("signed_response", As::Text),
    ("signed_binding", As::Text),
];
const REQUEST_KEYS: &Shape = &[
    ("challenge_id", As::Id),
    ("api_client_id", As::Id),
    ("idempotency_key", As::Text),
    ("request_sha256", As::Bytes),
    ("kept_until", As::Time),
];
const WEBHOOK_MESSAGES: &Shape = &[
    ("event_id", As::Id),
    ("webhook_id", As::Id),
    ("status", As::Text),
    ("queued_at", As::Time),
    ("due_at", As::Time),
    ("tries", As::Number),
    ("attempts", As::Json),
    ("is_put_off", As::Flag),
    ("leased_until", As::Time),
    ("kept_until", As::Time),
];

/// See the module.
pub(super) struct Statements {
    challenges: Statement,
    request_keys: Statement,
    webhook_messages: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let ids = dialect::row_source(1, IDS);
        Self {
            // The text of one that waits has the choices in it, of which one is the number.
            challenges: Statement::new(format!(
                "-- kept_challenges
                SELECT challenges.id AS challenge_id, client_id AS api_client_id, device_id, wrong_codes,
                    CASE WHEN status = 'pending' THEN NULL ELSE jws END AS signed_challenge,
                    response AS signed_response, binding AS signed_binding
                FROM {ids} CROSS JOIN challenges WHERE challenges.id = r_id AND challenges.tenant_id = $2"
            )),
            // As the erasure finds them: by their time.
            request_keys: Statement::new(format!(
                "-- kept_request_keys
                SELECT known.challenge_id AS challenge_id, known.client_id AS api_client_id,
                    known.key AS idempotency_key, known.body AS request_sha256, known.expires_at AS kept_until
                FROM {ids} CROSS JOIN challenges CROSS JOIN idempotency_keys AS known
                WHERE challenges.id = r_id AND challenges.tenant_id = $2 AND challenges.created_at > $3
                  AND known.expires_at > challenges.created_at + $4
                  AND known.expires_at < challenges.created_at + $5 AND known.challenge_id = challenges.id"
            )),
            webhook_messages: Statement::new(format!(
                "-- kept_webhook_messages
                SELECT message_id AS event_id, webhook_id, webhook_deliveries.status AS status, queued_at, due_at,
                    tries, attempts, is_put_off, leased_until, kept_until
                FROM {ids} CROSS JOIN webhooks CROSS JOIN webhook_deliveries
                WHERE webhooks.tenant_id = $2 AND webhook_deliveries.webhook_id = webhooks.id AND message_id = r_id"
            )),
        }
    }
}

const OF_USER: &str = "-- kept_guards
    SELECT id, locked_until, consecutive_failures, consecutive_denials, recent_pushes, pushes_since_approval,
        pushes_stopped_until, devices_version
    FROM users WHERE id = $1 AND tenant_id = $2 AND erased_at IS NULL LIMIT $3";
const OF_DEVICE: &str = "-- kept_device
    SELECT id, binding_id, keys_changed_at, push_undeliverable_at FROM devices
    WHERE id = $1 AND tenant_id = $2 LIMIT $3";
const QUEUED_TO_DEVICE: &str = "-- kept_queued_pushes
    SELECT id, kind, channel, challenge_id, due_at, expires_at, attempts, leased_until FROM notifications
    WHERE device_id = $1 AND tenant_id = $2 LIMIT $3";
const TESTS_OF_DEVICE: &str = "-- kept_test_pushes
    SELECT id, channel, state, attempts, last_error, created_at, updated_at FROM test_pushes
    WHERE device_id = $1 AND tenant_id = $2 LIMIT $3";
const SPENT_BY_DEVICE: &str = "-- kept_spent_ids
    SELECT device_id, jti, expires_at AS kept_until FROM push_update_jtis
    WHERE device_id = $1 AND tenant_id = $2 LIMIT $3";
const REPLIES_TO_USER: &str = "-- kept_replies
    SELECT artefact AS artefact_sha256, body AS says, expires_at - $4 AS kept_since, expires_at AS kept_until
    FROM replies WHERE user_id = $1 AND tenant_id = $2 LIMIT $3";

/// The rows of `what`.
pub(super) async fn kept(database: &Database, tenant_id: TenantId, what: Kept) -> Result<Vec<KeptRow>, StoreError> {
    let tenant = tenant_id.as_uuid();
    let one = |text: &'static str, id: Uuid| query(text).bind(id).bind(tenant).bind(i64::from(EXPORTED_ROWS));
    let statements = &database.statements.users.kept;
    let (asked, table, shape): (Query<'_>, _, _) = match what {
        Kept::Guards(id) => (one(OF_USER, id.as_uuid()), "users", GUARDS),
        Kept::Replies(id) => (one(REPLIES_TO_USER, id.as_uuid()).bind(REPLAY_SECONDS * 1_000), "replies", REPLIES),
        Kept::Device(id) => (one(OF_DEVICE, id.as_uuid()), "devices", DEVICE),
        Kept::QueuedPushes(id) => (one(QUEUED_TO_DEVICE, id.as_uuid()), "notifications", QUEUED_PUSHES),
        Kept::TestPushes(id) => (one(TESTS_OF_DEVICE, id.as_uuid()), "test_pushes", TEST_PUSHES),
        Kept::SpentIds(id) => (one(SPENT_BY_DEVICE, id.as_uuid()), "push_update_jtis", SPENT_IDS),
        Kept::Challenges(ids) => {
            (query(&statements.challenges).bind(parameter(&ids)).bind(tenant), "challenges", CHALLENGES)
        }
        Kept::RequestKeys(ids, now) => {
            let keys = query(&statements.request_keys).bind(parameter(&ids)).bind(tenant);
            let [least, most] = KEY_LIVES_MILLIS;
            (keys.bind(now.as_millis() - most).bind(least).bind(most), "idempotency_keys", REQUEST_KEYS)
        }
        Kept::WebhookMessages(ids) => {
            let messages = query(&statements.webhook_messages).bind(parameter(&ids)).bind(tenant);
            (messages, "webhook_deliveries", WEBHOOK_MESSAGES)
        }
    };
    let rows = database.fetch_all(asked).await?;
    rows.iter().map(|row| told(row, table, shape)).collect()
}

fn parameter<K>(ids: &[Id<K>]) -> String {
    rows::to_parameter(IDS, ids.iter().map(|id| json!({"r_id": rows::id(*id)})).collect())
}

fn told(row: &Row, table: &'static str, shape: &Shape) -> Result<KeptRow, StoreError> {
    let row = Columns::new(table, row);
    let mut told = Map::new();
    for (name, way) in shape {
        if let Some(value) = cell(&row, name, *way)? {
            told.insert((*name).to_owned(), value);
        }
    }
    Ok(told)
}

fn cell(row: &Columns<'_>, name: &'static str, way: As) -> Result<Option<Value>, StoreError> {
    let time = |at: Timestamp| Value::String(at.to_string());
    Ok(match way {
        As::Id => row.get::<Option<Uuid>>(name)?.map(|id| Value::String(id.to_string())),
        As::Text => row.optional_text(name)?.map(Value::String),
        As::Number => Some(row.integer(name)?.into()),
        As::Flag => row.flag(name)?.then_some(Value::Bool(true)),
        As::Time => row.optional_time(name)?.map(time),
        As::Times => {
            let text = row.text(name)?;
            let at = |millis: &str| millis.parse().map(|millis| time(Timestamp::from_millis(millis)));
            Some(text.split_whitespace().map(at).collect::<Result<_, _>>().map_err(|_| row.corrupt(name))?)
        }
        As::Bytes => Some(Value::String(base64url::encode(row.get::<Vec<u8>>(name)?))),
        As::Json => Some(row.json(name)?),
        As::Names => {
            let members: Map<String, Value> = row.json(name)?;
            Some(members.into_iter().map(|(member, _)| Value::String(member)).collect())
        }
    })
}
