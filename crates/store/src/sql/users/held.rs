//! What is held on a person, and what happened to one: for the export and the timeline (protocol 10.8).
//!
//! Read by keys that are there for others: no sign-in pays for an index of all that somebody ever did. To add what is
//! held: its columns here or in `kept.rs`, its member in the server's `http/users/export/`, the erasure's share in
//! `blank.rs`; a test that knows every column asks for all three (`tests/it/users/inventory.rs`).

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects},
    limits::EXPORTED_ROWS,
    ports::{
        PageRequest, StoreError,
        users::{Happened, HeldEnrollment, HeldKey, TimelineEntry},
    },
};
use countersign_proto::ids::{ChallengeId, DeviceId, EnrollmentId, EventId, TenantId, UserId};
use uuid::Uuid;

use super::super::{Columns, Database, Outcome, Plain, Row, Tx, devices::SIGN_INS, events, query};
use crate::{failure::Failure, statement::Statement};

/// See the module.
pub(super) struct Statements {
    timeline_events: Statement,
    first_position: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // Sign-ins are the challenges'. An event's id begins with its time.
            timeline_events: Statement::new(format!(
                "-- timeline_events
                SELECT id, kind, actor_kind, actor_id, device_id, enrollment_id, at, body FROM events
                WHERE tenant_id = $1 AND user_id = $2 AND kind NOT IN ({SIGN_INS}) AND at <= $3 AND id < $4
                ORDER BY at DESC, id DESC LIMIT $5"
            )),
            // What happened to one person's registrations: few events, and the first of all is among them.
            first_position: Statement::new(format!(
                "-- first_position
                SELECT MIN(position) AS position FROM events
                WHERE tenant_id = $1 AND user_id = $2 AND kind NOT IN ({SIGN_INS})"
            )),
        }
    }
}

/// Two lists that are sorted alike, merged: as much is read of each as one page holds.
pub(super) async fn timeline(
    database: &Database,
    tenant_id: TenantId,
    id: UserId,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<TimelineEntry>, StoreError> {
    let until = before.map_or(i64::MAX, |before| EventId::from_uuid(before).made_at().as_millis());
    let before = before.unwrap_or(Uuid::max());
    let happened = query(&database.statements.users.held.timeline_events)
        .bind(tenant_id.as_uuid())
        .bind(id.as_uuid())
        .bind(until)
        .bind(before)
        .bind(i64::from(limit));
    let challenges = query(
        "-- timeline_challenges
        SELECT id, status, reason, created_at, expires_at, decided_at, client_id, device_id FROM challenges
        WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $1 AND users.id = $2)
            AND id < $3 ORDER BY id DESC LIMIT $4",
    )
    .bind(tenant_id.as_uuid())
    .bind(id.as_uuid())
    .bind(before)
    .bind(i64::from(limit));
    let mut entries = Vec::new();
    for row in &database.fetch_all(happened).await? {
        entries.push(event(row)?);
    }
    for row in &database.fetch_all(challenges).await? {
        entries.push(challenge(row)?);
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
    entries.truncate(limit as usize);
    Ok(entries)
}

fn event(row: &Row) -> Result<TimelineEntry, StoreError> {
    let row = Columns::new("events", row);
    let id: EventId = row.id("id")?;
    Ok(TimelineEntry {
        id: id.as_uuid(),
        at: row.time("at")?,
        what: Happened::Event {
            kind: events::kind(&row)?,
            actor_kind: row.text("actor_kind")?,
            actor_id: row.optional_text("actor_id")?,
            device_id: row.optional_id("device_id")?,
            enrollment_id: row.optional_id("enrollment_id")?,
            body: row.json("body")?,
        },
    })
}

fn challenge(row: &Row) -> Result<TimelineEntry, StoreError> {
    let row = Columns::new("challenges", row);
    let id: ChallengeId = row.id("id")?;
    Ok(TimelineEntry {
        id: id.as_uuid(),
        at: row.time("created_at")?,
        what: Happened::Challenge {
            status: row.word("status")?,
            reason: row.optional_word("reason")?,
            expires_at: row.time("expires_at")?,
            decided_at: row.optional_time("decided_at")?,
            client_id: row.id("client_id")?,
            device_id: row.optional_id("device_id")?,
        },
    })
}

/// A person has few invitations: they are found by the user, and sorted.
pub(super) async fn enrollments(
    database: &Database,
    tenant_id: TenantId,
    id: UserId,
    page: PageRequest<EnrollmentId>,
) -> Result<Vec<HeldEnrollment>, StoreError> {
    let enrollments = query(
        "-- enrollments_of_user
        SELECT id, status, confirmation, purpose, device_id, device_name, device_platform, key_thumbprint,
            wrong_codes, approval_id, overridden, created_at, expires_at
        FROM enrollments
        WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $1 AND users.id = $2)
            AND id < $3 ORDER BY id DESC LIMIT $4",
    )
    .bind(tenant_id.as_uuid())
    .bind(id.as_uuid())
    .bind(page.before.map_or(Uuid::max(), EnrollmentId::as_uuid))
    .bind(i64::from(page.limit));
    let read = |row: &Row| {
        let row = Columns::new("enrollments", row);
        Ok(HeldEnrollment {
            id: row.id("id")?,
            status: row.word("status")?,
            confirmation: row.word("confirmation")?,
            purpose: row.word("purpose")?,
            device_id: row.optional_id("device_id")?,
            device_name: row.optional_text("device_name")?,
            device_platform: row.optional_word("device_platform")?,
            key_thumbprint: row.optional_text("key_thumbprint")?,
            wrong_codes: row.count("wrong_codes")?,
            approval_id: row.optional_id("approval_id")?,
            is_overridden: row.flag("overridden")?,
            created_at: row.time("created_at")?,
            expires_at: row.time("expires_at")?,
        })
    };
    database.fetch_all(enrollments).await?.iter().map(read).collect()
}

/// The keys of a device: so many of them, should somebody have made very many. Which is not asked: sorting would cost
/// more the more there are.
pub(super) async fn keys(database: &Database, tenant_id: TenantId, id: DeviceId) -> Result<Vec<HeldKey>, StoreError> {
    let keys = query(
        "-- keys_of_device
        SELECT thumbprint, device_id, role, public_key, created_at, retired_at FROM device_keys
        WHERE device_id = $1 AND tenant_id = $2 LIMIT $3",
    );
    let read = |row: &Row| {
        let row = Columns::new("device_keys", row);
        Ok(HeldKey {
            thumbprint: row.text("thumbprint")?,
            device_id: row.id("device_id")?,
            role: row.text("role")?,
            public_key: row.get("public_key")?,
            created_at: row.time("created_at")?,
            retired_at: row.optional_time("retired_at")?,
        })
    };
    let keys = keys.bind(id.as_uuid()).bind(tenant_id.as_uuid()).bind(i64::from(EXPORTED_ROWS));
    let rows = database.fetch_all(keys).await?;
    let mut keys: Vec<HeldKey> = rows.iter().map(read).collect::<Result<_, StoreError>>()?;
    keys.sort_by(|one, other| (one.created_at, &one.thumbprint).cmp(&(other.created_at, &other.thumbprint)));
    Ok(keys)
}

/// Where the log begins to be about this user.
pub(super) async fn first_position(database: &Database, tenant_id: TenantId, id: UserId) -> Result<i64, StoreError> {
    let first = query(&database.statements.users.held.first_position);
    let row = database.fetch_optional(first.bind(tenant_id.as_uuid()).bind(id.as_uuid())).await?;
    let Some(row) = row else { return Ok(0) };
    Ok(Columns::new("events", &row).get::<Option<i64>>("position")?.unwrap_or(0))
}

/// Notes an export.
pub(super) struct RecordExport {
    pub(super) stamp: Stamp,
    pub(super) id: UserId,
}

#[async_trait]
impl Plain for RecordExport {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        tx.require_actor(&self.stamp).await?;
        tx.lock_user(self.stamp.tenant_id, self.id).await?;
        if super::record(tx, self.stamp.tenant_id, self.id).await?.is_none() {
            return Ok(Outcome::Rollback(false));
        }
        let subjects = Subjects { user_id: Some(self.id), ..Subjects::default() };
        tx.insert_events(vec![Event::new(&self.stamp, EventKind::UserExported, subjects)]).await?;
        Ok(Outcome::Commit(true))
    }
}
