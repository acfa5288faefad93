//! Test pushes: a record beside the outbox, so that an administrator sees what came of one.
//!
//! The record has the notification's id, and ends with it: by a verdict, by its time, or with its device.

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind, Subjects},
    ports::{
        StoreError,
        notifications::NotificationKind,
        test_pushes::{CreateTestPush, CreateTestPushOutcome, TestPushRecord, TestPushes},
    },
};
use countersign_proto::{
    ids::{DeviceId, NotificationId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::{DeliveryState, DeviceStatus, PushChannel, Word as _},
};
use serde_json::json;

use super::{
    Columns, Database, Outcome, Plain, Row, Tx, dialect,
    notifications::{LAST_ERROR, NewNotification},
    query,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CHANGES: &rows::Columns = &[
    ("r_id", Type::Id),
    ("r_state", Type::Text),
    ("r_attempts", Type::Integer),
    ("r_error", Type::Text),
    ("r_now", Type::Integer),
];

/// See the module.
pub(super) struct Statements {
    update_test_pushes: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            update_test_pushes: Statement::new(format!(
                "-- update_test_pushes
                UPDATE test_pushes SET state = r_state, attempts = r_attempts, {LAST_ERROR}, updated_at = r_now
                FROM {changes} WHERE test_pushes.id = r_id",
                changes = dialect::row_source(1, CHANGES),
            )),
        }
    }
}

/// What a finished or expired notification makes of its record.
pub(super) struct TestPushChange {
    pub(super) id: NotificationId,
    pub(super) state: DeliveryState,
    pub(super) attempts: i64,
    pub(super) error: Option<String>,
    pub(super) at: Timestamp,
}

impl Tx<'_> {
    /// Writes what came of test pushes, each named once.
    pub(super) async fn update_test_pushes(&mut self, changes: &[TestPushChange]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let row = |change: &TestPushChange| {
            json!({"r_id": rows::id(change.id), "r_state": change.state.as_str(), "r_attempts": change.attempts,
                "r_error": change.error, "r_now": rows::time(change.at)})
        };
        let parameter = rows::to_parameter(CHANGES, changes.iter().map(row).collect());
        let statements = self.statements();
        self.execute(query(&statements.test_pushes.update_test_pushes).bind(parameter)).await.map(|_| ())
    }
}

#[async_trait]
impl Plain for CreateTestPush {
    type Reply = CreateTestPushOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<CreateTestPushOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        // Held until the commit: of two tests at once the second sees the first, and nobody turns the device off
        // in between.
        tx.lock_device(self.stamp.tenant_id, self.device_id).await?;
        let Some(target) = target(self, tx).await? else {
            return Ok(Outcome::Rollback(CreateTestPushOutcome::NotFound));
        };
        let refusal = match target {
            Target { status, .. } if status != DeviceStatus::Active => Some(CreateTestPushOutcome::NotActive(status)),
            Target { channel: PushChannel::None, .. } | Target { is_token_gone: true, .. } => {
                Some(CreateTestPushOutcome::NoChannel)
            }
            _ if is_too_soon(self, tx).await? => Some(CreateTestPushOutcome::TooSoon),
            _ => None,
        };
        match refusal {
            Some(refusal) => Ok(Outcome::Rollback(refusal)),
            None => Ok(Outcome::Commit(CreateTestPushOutcome::Queued(queue(self, tx, &target).await?))),
        }
    }
}

struct Target {
    user_id: UserId,
    status: DeviceStatus,
    channel: PushChannel,
    is_token_gone: bool,
}

async fn target(command: &CreateTestPush, tx: &mut Tx<'_>) -> Result<Option<Target>, Failure> {
    let target = "-- test_push_target
        SELECT id, user_id, status, push_channel, push_token_gone FROM devices WHERE id = $1 AND tenant_id = $2";
    let target = query(target).bind(command.device_id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    let Some(row) = tx.fetch_optional(target).await? else { return Ok(None) };
    let row = Columns::new("devices", &row);
    Ok(Some(Target {
        user_id: row.id("user_id")?,
        status: row.word("status")?,
        channel: row.word("push_channel")?,
        is_token_gone: row.flag("push_token_gone")?,
    }))
}

async fn is_too_soon(command: &CreateTestPush, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let recent = "-- recent_test_push
        SELECT id FROM test_pushes WHERE device_id = $1 AND tenant_id = $2 AND created_at >= $3 LIMIT 1";
    let recent = query(recent)
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.not_after_another_since.as_millis());
    Ok(tx.fetch_optional(recent).await?.is_some())
}

async fn queue(command: &CreateTestPush, tx: &mut Tx<'_>, target: &Target) -> Result<TestPushRecord, Failure> {
    let (stamp, at) = (&command.stamp, command.stamp.at);
    let insert = "-- insert_test_push
        INSERT INTO test_pushes (id, tenant_id, device_id, channel, state, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6)";
    let insert = query(insert)
        .bind(command.id.as_uuid())
        .bind(stamp.tenant_id.as_uuid())
        .bind(command.device_id.as_uuid())
        .bind(target.channel.as_str())
        .bind(DeliveryState::Queued.as_str())
        .bind(at.as_millis());
    tx.execute(insert).await?;
    let notification = NewNotification {
        id: command.id,
        tenant_id: stamp.tenant_id,
        kind: NotificationKind::Test,
        device_id: command.device_id,
        challenge_id: None,
        due_at: at,
        expires_at: command.expires_at,
    };
    tx.insert_notifications(vec![notification]).await?;
    let subjects =
        Subjects { user_id: Some(target.user_id), device_id: Some(command.device_id), ..Subjects::default() };
    let event = Event::new(stamp, EventKind::DevicePushTested, subjects).with("test_push", command.id.to_string());
    tx.insert_events(vec![event]).await?;
    Ok(TestPushRecord {
        id: command.id,
        device_id: command.device_id,
        channel: target.channel,
        state: DeliveryState::Queued,
        attempts: 0,
        last_error: None,
        created_at: at,
        updated_at: at,
    })
}

#[async_trait]
impl TestPushes for Database {
    async fn create_test_push(&self, command: CreateTestPush) -> Result<CreateTestPushOutcome, StoreError> {
        self.write(command).await
    }

    async fn test_push(
        &self,
        tenant_id: TenantId,
        device_id: DeviceId,
        id: NotificationId,
    ) -> Result<Option<TestPushRecord>, StoreError> {
        let by_id = "-- test_push
            SELECT id, device_id, channel, state, attempts, last_error, created_at, updated_at
            FROM test_pushes WHERE id = $1 AND device_id = $2 AND tenant_id = $3";
        let by_id = query(by_id).bind(id.as_uuid()).bind(device_id.as_uuid()).bind(tenant_id.as_uuid());
        self.fetch_optional(by_id).await?.as_ref().map(record).transpose()
    }
}

fn record(row: &Row) -> Result<TestPushRecord, StoreError> {
    let row = Columns::new("test_pushes", row);
    Ok(TestPushRecord {
        id: row.id("id")?,
        device_id: row.id("device_id")?,
        channel: row.word("channel")?,
        state: row.word("state")?,
        attempts: row.count("attempts")?,
        last_error: row.optional_text("last_error")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
