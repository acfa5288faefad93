//! What administrators see of messages, and what they send again.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    ports::{
        PageRequest, StoreError,
        webhooks::{DeliveryRecord, ReplayDeliveries},
    },
    wake::WakeKey,
    webhook::{DeliveryStatus, TEST_KIND, WAITING_KEPT_SECONDS},
};
use countersign_proto::ids::{TenantId, WebhookDeliveryId, WebhookId};
use serde_json::json;
use uuid::Uuid;

use super::{
    super::{Columns, Database, Outcome, Plain, Row, Tx, dialect, query},
    read,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const TEST: &rows::Columns = &[
    ("r_message_id", Type::Id),
    ("r_webhook_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_kind", Type::Text),
    ("r_at", Type::Integer),
    ("r_kept_until", Type::Integer),
];

/// See the module.
pub(super) struct Statements {
    one: Statement,
    all: Statement,
    in_status: Statement,
    test: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let select = |name: &str, which: &str| {
            Statement::new(format!(
                "-- {name}
                SELECT message_id, kind, status, due_at, queued_at, attempts FROM webhook_deliveries
                WHERE webhook_id = $1 AND tenant_id = $2 AND {which}"
            ))
        };
        Self {
            one: select("webhook_delivery", "message_id = $3"),
            all: select("webhook_deliveries", "message_id < $3 ORDER BY message_id DESC LIMIT $4"),
            in_status: select(
                "webhook_deliveries_in_status",
                "status = $5 AND message_id < $3 ORDER BY message_id DESC LIMIT $4",
            ),
            test: Statement::new(format!(
                "-- test_webhook
                INSERT INTO webhook_deliveries (webhook_id, message_id, tenant_id, kind, status, due_at, queued_at,
                    tries, attempts, kept_until)
                SELECT webhooks.id, r_message_id, webhooks.tenant_id, r_kind, 'pending', r_at, r_at, 0, '[]',
                    r_kept_until
                FROM {test} CROSS JOIN webhooks
                WHERE webhooks.id = r_webhook_id AND webhooks.tenant_id = r_tenant_id
                ON CONFLICT (webhook_id, message_id) DO NOTHING",
                test = dialect::row_source(1, TEST),
            )),
        }
    }
}

fn delivery(row: &Row) -> Result<DeliveryRecord, StoreError> {
    let row = Columns::new("webhook_deliveries", row);
    let status = read::delivery_status(&row)?;
    let due_at = row.time("due_at")?;
    Ok(DeliveryRecord {
        id: row.id("message_id")?,
        kind: read::kind(&row, "kind")?,
        status,
        due_at: (status == DeliveryStatus::Pending).then_some(due_at),
        queued_at: row.time("queued_at")?,
        attempts: row.json("attempts")?,
    })
}

pub(super) async fn one(
    database: &Database,
    tenant_id: TenantId,
    webhook_id: WebhookId,
    id: WebhookDeliveryId,
) -> Result<Option<DeliveryRecord>, StoreError> {
    let one = query(&database.statements.webhooks.messages.one);
    let one = one.bind(webhook_id.as_uuid()).bind(tenant_id.as_uuid()).bind(id.as_uuid());
    database.fetch_optional(one).await?.as_ref().map(delivery).transpose()
}

pub(super) async fn list(
    database: &Database,
    tenant_id: TenantId,
    webhook_id: WebhookId,
    status: Option<DeliveryStatus>,
    page: PageRequest<WebhookDeliveryId>,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let statements = &database.statements.webhooks.messages;
    let list = if status.is_some() { query(&statements.in_status) } else { query(&statements.all) };
    let before = page.before.map_or(Uuid::max(), WebhookDeliveryId::as_uuid);
    let list = list.bind(webhook_id.as_uuid()).bind(tenant_id.as_uuid()).bind(before).bind(i64::from(page.limit));
    let list = match status {
        Some(status) => list.bind(status.as_str()),
        None => list,
    };
    database.fetch_all(list).await?.iter().map(delivery).collect()
}

/// Queues a test.
pub(super) struct TestWebhook {
    pub(super) stamp: Stamp,
    pub(super) id: WebhookId,
    pub(super) test: WebhookDeliveryId,
}

#[async_trait]
impl Plain for TestWebhook {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let test = json!({
            "r_message_id": rows::id(self.test),
            "r_webhook_id": rows::id(self.id),
            "r_tenant_id": rows::id(self.stamp.tenant_id),
            "r_kind": TEST_KIND,
            "r_at": rows::time(self.stamp.at),
            "r_kept_until": rows::time(self.stamp.at.plus_seconds(WAITING_KEPT_SECONDS)),
        });
        let statements = tx.statements();
        let insert = query(&statements.webhooks.messages.test).bind(rows::to_parameter(TEST, vec![test]));
        if tx.execute(insert).await? == 0 {
            return Ok(Outcome::Rollback(false));
        }
        tx.wake(WakeKey::Webhooks);
        Ok(Outcome::Commit(true))
    }
}

/// Sends one message again.
pub(super) struct ReplayDelivery {
    pub(super) stamp: Stamp,
    pub(super) webhook_id: WebhookId,
    pub(super) id: WebhookDeliveryId,
}

#[async_trait]
impl Plain for ReplayDelivery {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let (webhook_id, tenant_id) = (self.webhook_id.as_uuid(), self.stamp.tenant_id.as_uuid());
        // One that is on its way has a lease: whoever holds it says what becomes of it. One whose sender died has a lease
        // that is over, and at a disabled address nobody would lease it again.
        let replay = "-- replay_webhook_delivery
            UPDATE webhook_deliveries SET status = 'pending', due_at = $4, queued_at = $4, tries = 0, kept_until = $5,
                lease = NULL, leased_until = NULL
            WHERE webhook_id = $1 AND message_id = $2 AND tenant_id = $3
              AND (lease IS NULL OR leased_until <= $4)";
        let replay = query(replay)
            .bind(webhook_id)
            .bind(self.id.as_uuid())
            .bind(tenant_id)
            .bind(self.stamp.at.as_millis())
            .bind(self.stamp.at.plus_seconds(WAITING_KEPT_SECONDS).as_millis());
        if tx.execute(replay).await? == 1 {
            tx.wake(WakeKey::Webhooks);
            return Ok(Outcome::Commit(true));
        }
        let statements = tx.statements();
        let one = query(&statements.webhooks.messages.one).bind(webhook_id).bind(tenant_id).bind(self.id.as_uuid());
        Ok(Outcome::Rollback(tx.fetch_optional(one).await?.is_some()))
    }
}

#[async_trait]
impl Plain for ReplayDeliveries {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let replay = "-- replay_webhook_deliveries
            UPDATE webhook_deliveries SET status = 'pending', due_at = $6, queued_at = $6, tries = 0, kept_until = $7
            WHERE webhook_id = $1 AND tenant_id = $2 AND status = $3 AND message_id IN (
                SELECT webhook_deliveries.message_id FROM webhook_deliveries
                WHERE webhook_deliveries.webhook_id = $1 AND webhook_deliveries.status = $3
                  AND webhook_deliveries.message_id >= $4 AND webhook_deliveries.message_id < $5
                ORDER BY webhook_deliveries.message_id LIMIT $8)";
        let replay = query(replay)
            .bind(self.webhook_id.as_uuid())
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(self.status.as_str())
            .bind(rows::first_id_at(self.from))
            .bind(rows::first_id_at(self.to))
            .bind(self.stamp.at.as_millis())
            .bind(self.stamp.at.plus_seconds(WAITING_KEPT_SECONDS).as_millis())
            .bind(i64::from(self.limit));
        match tx.execute(replay).await? {
            0 => Ok(Outcome::Rollback(0)),
            count => {
                tx.wake(WakeKey::Webhooks);
                Ok(Outcome::Commit(count))
            }
        }
    }
}
