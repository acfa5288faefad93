//! The append-only log. What is written here and concerns a user's registrations also rings their devices
//! (`events/ring.rs`).

#[path = "events/ring.rs"]
mod ring;

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind, Subjects},
    ports::{
        StoreError,
        events::{EventRecord, Events},
    },
};
use countersign_proto::ids::TenantId;
use serde_json::json;

use super::{Columns, Database, Outcome, Plain, Row, Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const EVENTS: &rows::Columns = &[
    ("r_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_kind", Type::Text),
    ("r_actor_kind", Type::Text),
    ("r_actor_id", Type::Text),
    ("r_user_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_challenge_id", Type::Id),
    ("r_enrollment_id", Type::Id),
    ("r_api_client_id", Type::Id),
    ("r_request_id", Type::Text),
    ("r_at", Type::Integer),
    ("r_body", Type::Text),
];

/// See the module.
pub(super) struct Statements {
    insert_events: Statement,
    lock_event_head: Statement,
    ring: ring::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        let insert_events = format!(
            "-- insert_events
            INSERT INTO events (id, tenant_id, kind, actor_kind, actor_id, user_id, device_id, challenge_id,
                enrollment_id, api_client_id, request_id, at, body)
            SELECT r_id, r_tenant_id, r_kind, r_actor_kind, r_actor_id, r_user_id, r_device_id, r_challenge_id,
                r_enrollment_id, r_api_client_id, r_request_id, r_at, r_body
            FROM {rows}",
            rows = dialect::row_source(1, EVENTS),
        );
        let lock_event_head = format!(
            "-- lock_event_head
            SELECT event_head FROM tenants WHERE id = $1 {}",
            dialect::locking("FOR NO KEY UPDATE"),
        );
        Self {
            insert_events: Statement::new(insert_events),
            lock_event_head: Statement::new(lock_event_head),
            ring: ring::Statements::new(),
        }
    }
}

impl Tx<'_> {
    /// Appends events, which get their positions after the commit, and queues the pushes of those that are notices.
    pub(super) async fn insert_events(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let notices = ring::notices(&events);
        let told = super::webhooks::parameter(&events);
        let row = |event: Event| {
            json!({
                "r_id": rows::id(event.id),
                "r_tenant_id": rows::id(event.tenant_id),
                "r_kind": event.kind.as_str(),
                "r_actor_kind": event.actor_kind,
                "r_actor_id": event.actor_id,
                "r_user_id": event.subjects.user_id.map(rows::id),
                "r_device_id": event.subjects.device_id.map(rows::id),
                "r_challenge_id": event.subjects.challenge_id.map(rows::id),
                "r_enrollment_id": event.subjects.enrollment_id.map(rows::id),
                "r_api_client_id": event.subjects.api_client_id.map(rows::id),
                "r_request_id": event.request_id,
                "r_at": rows::time(event.at),
                "r_body": serde_json::Value::Object(event.body).to_string(),
            })
        };
        let parameter = rows::to_parameter(EVENTS, events.into_iter().map(row).collect());
        let statements = self.statements();
        self.execute(query(&statements.events.insert_events).bind(parameter)).await?;
        self.queue_webhook_deliveries(told).await?;
        self.ring(&notices).await
    }
}

/// Gives positions to the events of a tenant that have none.
struct PositionEvents {
    tenant_id: TenantId,
    limit: u32,
}

#[async_trait]
impl Plain for PositionEvents {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        // Whoever gives positions holds the tenant's row until its commit: positions become visible in their
        // order. Only committed events are seen here, so none can slip in below a position already given.
        let statements = tx.statements();
        let head = query(&statements.events.lock_event_head).bind(self.tenant_id.as_uuid());
        let Some(head) = tx.fetch_optional(head).await? else {
            return Ok(Outcome::Rollback(0));
        };
        let head = Columns::new("tenants", &head).integer("event_head")?;
        let position = query(
            "-- position_events
            UPDATE events SET position = $2 + r_number
            FROM (SELECT id AS r_id, ROW_NUMBER() OVER (ORDER BY at, id) AS r_number
                  FROM events WHERE tenant_id = $1 AND position IS NULL
                  ORDER BY at, id LIMIT $3) AS r
            WHERE events.id = r_id",
        );
        let position = position.bind(self.tenant_id.as_uuid()).bind(head).bind(i64::from(self.limit));
        let count = tx.execute(position).await?;
        if count == 0 {
            // Nothing to write: a reader who polls costs no commit.
            return Ok(Outcome::Rollback(0));
        }
        let advance = query("-- advance_event_head\nUPDATE tenants SET event_head = $2 WHERE id = $1")
            .bind(self.tenant_id.as_uuid())
            .bind(head.saturating_add_unsigned(count));
        tx.execute(advance).await?;
        // What has a position waits to be sealed.
        let wait = "-- await_seal
            INSERT INTO audit_heads (tenant_id, positioned) VALUES ($1, $2)
            ON CONFLICT (tenant_id) DO UPDATE SET positioned = excluded.positioned";
        let wait = query(wait).bind(self.tenant_id.as_uuid()).bind(head.saturating_add_unsigned(count));
        tx.execute(wait).await?;
        Ok(Outcome::Commit(count))
    }
}

#[async_trait]
impl Events for Database {
    async fn position_events(&self, tenant_id: TenantId, limit: u32) -> Result<u64, StoreError> {
        self.write(PositionEvents { tenant_id, limit }).await
    }

    async fn unpositioned_tenants(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>, StoreError> {
        let rows = self
            .fetch_all(
                query(
                    // From one tenant to the next in the index, past however many events each has waiting.
                    "-- unpositioned_tenants
                    WITH RECURSIVE waiting (tenant_id) AS (
                        SELECT (SELECT events.tenant_id FROM events
                                WHERE events.position IS NULL AND events.tenant_id > $2
                                ORDER BY events.tenant_id LIMIT 1)
                        UNION ALL
                        SELECT (SELECT events.tenant_id FROM events
                                WHERE events.position IS NULL AND events.tenant_id > waiting.tenant_id
                                ORDER BY events.tenant_id LIMIT 1)
                        FROM waiting WHERE waiting.tenant_id IS NOT NULL)
                    SELECT tenant_id FROM waiting WHERE tenant_id IS NOT NULL LIMIT $1",
                )
                .bind(i64::from(limit))
                .bind(after.map_or(uuid::Uuid::nil(), TenantId::as_uuid)),
            )
            .await?;
        rows.iter().map(|row| Columns::new("events", row).id("tenant_id")).collect()
    }

    async fn events(&self, tenant_id: TenantId, after: i64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let rows = self
            .fetch_all(
                query(
                    "-- events
                    SELECT id, position, kind, actor_kind, actor_id, user_id, device_id, challenge_id,
                        enrollment_id, api_client_id, request_id, at, body
                    FROM events WHERE tenant_id = $1 AND position > $2 ORDER BY position LIMIT $3",
                )
                .bind(tenant_id.as_uuid())
                .bind(after)
                .bind(i64::from(limit)),
            )
            .await?;
        rows.iter().map(record).collect()
    }
}

/// An event with its position.
pub(super) fn record(row: &Row) -> Result<EventRecord, StoreError> {
    let row = Columns::new("events", row);
    Ok(EventRecord {
        id: row.id("id")?,
        position: row.integer("position")?,
        kind: kind(&row)?,
        actor_kind: row.text("actor_kind")?,
        actor_id: row.optional_text("actor_id")?,
        subjects: Subjects {
            user_id: row.optional_id("user_id")?,
            device_id: row.optional_id("device_id")?,
            challenge_id: row.optional_id("challenge_id")?,
            enrollment_id: row.optional_id("enrollment_id")?,
            api_client_id: row.optional_id("api_client_id")?,
        },
        request_id: row.text("request_id")?,
        at: row.time("at")?,
        body: row.json("body")?,
    })
}

/// The column `kind` of an event.
pub(super) fn kind(row: &Columns<'_>) -> Result<EventKind, StoreError> {
    let word = row.text("kind")?;
    let kind = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    kind.ok_or_else(|| row.corrupt("kind"))
}
