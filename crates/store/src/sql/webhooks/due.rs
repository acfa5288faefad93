//! Which webhooks have something to be told, and what is dropped.

use async_trait::async_trait;
use countersign_core::{
    ports::{
        StoreError,
        webhooks::{DueWebhook, Health},
    },
    webhook::FAILING_AFTER_SECONDS,
};
use countersign_proto::{ids::WebhookId, timestamp::Timestamp};
use uuid::Uuid;

use super::super::{Columns, Database, Outcome, Plain, Tx, query};
use crate::{failure::Failure, statement::Statement};

/// Webhooks with messages that wait, after the one that is the parameter: from one to the next in the index, past
/// however many messages each has.
fn waiting(after: &str) -> String {
    let next = |after: &str| {
        format!(
            "(SELECT webhook_deliveries.webhook_id FROM webhook_deliveries
              WHERE webhook_deliveries.status = 'pending' AND webhook_deliveries.webhook_id > {after}
              ORDER BY webhook_deliveries.webhook_id LIMIT 1)"
        )
    };
    format!(
        "WITH RECURSIVE waiting (webhook_id) AS (
            SELECT {} UNION ALL SELECT {} FROM waiting WHERE waiting.webhook_id IS NOT NULL)",
        next(after),
        next("waiting.webhook_id")
    )
}

/// 1 if the webhook has a message of this sort that is due, else 0.
fn has_due(is_urgent: u8) -> String {
    format!(
        "CAST(CASE WHEN (SELECT webhook_deliveries.due_at FROM webhook_deliveries
                    WHERE webhook_deliveries.webhook_id = waiting.webhook_id
                      AND webhook_deliveries.status = 'pending' AND webhook_deliveries.is_urgent = {is_urgent}
                    ORDER BY webhook_deliveries.due_at LIMIT 1) <= $1 THEN 1 ELSE 0 END AS BIGINT)"
    )
}

/// See the module.
pub(super) struct Statements {
    due_webhooks: Statement,
    oldest_due: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // In the order in which they are met: sorting would mean to meet all of them each time.
            due_webhooks: Statement::new(format!(
                "-- due_webhooks
                {waiting}
                SELECT webhook_id, tenant_id, has_urgent, has_usual FROM (
                    SELECT waiting.webhook_id AS webhook_id, webhooks.tenant_id AS tenant_id,
                        {urgent} AS has_urgent, {usual} AS has_usual
                    FROM waiting LEFT JOIN webhooks ON webhooks.id = waiting.webhook_id
                    WHERE waiting.webhook_id IS NOT NULL AND (webhooks.id IS NULL OR webhooks.status = 'enabled')
                      AND CASE WHEN webhooks.failing_since <= $4 THEN 1 ELSE 0 END = $5) AS due
                WHERE has_urgent = 1 OR has_usual = 1
                LIMIT $3",
                waiting = waiting("$2"),
                urgent = has_due(1),
                usual = has_due(0),
            )),
            oldest_due: Statement::new(format!(
                "-- oldest_due_webhook_delivery
                {waiting}
                SELECT MIN((SELECT webhook_deliveries.due_at FROM webhook_deliveries
                            WHERE webhook_deliveries.webhook_id = waiting.webhook_id
                              AND webhook_deliveries.status = 'pending'
                            ORDER BY webhook_deliveries.due_at LIMIT 1)) AS due_at
                FROM waiting CROSS JOIN webhooks
                WHERE webhooks.id = waiting.webhook_id AND webhooks.status = 'enabled'",
                waiting = waiting("$1"),
            )),
        }
    }
}

pub(super) async fn webhooks(
    database: &Database,
    now: Timestamp,
    health: Health,
    (after, limit): (Option<WebhookId>, u32),
) -> Result<Vec<DueWebhook>, StoreError> {
    let due = query(&database.statements.webhooks.due.due_webhooks)
        .bind(now.as_millis())
        .bind(after.map_or(Uuid::nil(), WebhookId::as_uuid))
        .bind(i64::from(limit))
        .bind(now.plus_seconds(-FAILING_AFTER_SECONDS).as_millis())
        .bind(i64::from(health == Health::Failing));
    let mut webhooks = Vec::new();
    for row in &database.fetch_all(due).await? {
        let row = Columns::new("webhook_deliveries", row);
        webhooks.push(DueWebhook {
            id: row.id("webhook_id")?,
            tenant_id: row.optional_id("tenant_id")?,
            has_urgent: row.flag("has_urgent")?,
            has_usual: row.flag("has_usual")?,
        });
    }
    Ok(webhooks)
}

pub(super) async fn oldest(database: &Database, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let oldest = query(&database.statements.webhooks.due.oldest_due).bind(Uuid::nil());
    let Some(row) = database.fetch_optional(oldest).await? else { return Ok(None) };
    let due_at = Columns::new("webhook_deliveries", &row).optional_time("due_at")?;
    Ok(due_at.filter(|due_at| *due_at <= now))
}

/// Drops messages that nobody will be told: the webhook has been deleted.
pub(super) struct DropDeliveries {
    pub(super) webhook_id: WebhookId,
    pub(super) limit: u32,
}

#[async_trait]
impl Plain for DropDeliveries {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        let delete = "-- drop_webhook_deliveries
            DELETE FROM webhook_deliveries WHERE webhook_id = $1
              AND message_id IN (SELECT webhook_deliveries.message_id FROM webhook_deliveries
                                 WHERE webhook_deliveries.webhook_id = $1 ORDER BY message_id LIMIT $2)
              AND NOT EXISTS (SELECT 1 FROM webhooks WHERE webhooks.id = $1)";
        let delete = query(delete).bind(self.webhook_id.as_uuid()).bind(i64::from(self.limit));
        Ok(ended(tx.execute(delete).await?))
    }
}

/// Deletes what has been kept for long enough.
pub(super) struct ForgetDeliveries {
    pub(super) now: Timestamp,
    pub(super) limit: u32,
}

#[async_trait]
impl Plain for ForgetDeliveries {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        // Never one that is on its way: its lease ends within seconds, and then it goes, also if nobody gave it back.
        let delete = "-- forget_webhook_deliveries
            DELETE FROM webhook_deliveries WHERE (webhook_id, message_id) IN
                (SELECT webhook_id, message_id FROM webhook_deliveries
                 WHERE kept_until <= $1 AND (lease IS NULL OR leased_until <= $1) ORDER BY kept_until LIMIT $2)";
        let delete = query(delete).bind(self.now.as_millis()).bind(i64::from(self.limit));
        Ok(ended(tx.execute(delete).await?))
    }
}

/// Nothing to write costs no commit.
fn ended(count: u64) -> Outcome<u64> {
    match count {
        0 => Outcome::Rollback(0),
        count => Outcome::Commit(count),
    }
}
