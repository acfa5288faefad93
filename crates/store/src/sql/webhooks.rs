//! Webhooks: their rows, and the messages to them.
//!
//! `queue`: messages are queued in the transaction of their event. `claim`, `finish`: the work on them. `messages`: what
//! administrators see of them, and what they send again. Here: the addresses themselves.
//! A message is not locked with anything else; who changes several does so in the order of their keys.

#[path = "webhooks/claim.rs"]
mod claim;
#[path = "webhooks/due.rs"]
mod due;
#[path = "webhooks/finish.rs"]
mod finish;
#[path = "webhooks/messages.rs"]
mod messages;
#[path = "webhooks/queue.rs"]
mod queue;
#[path = "webhooks/read.rs"]
mod read;

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    digest::Digest,
    event::{Event, EventKind, Subjects},
    ports::{
        PageRequest, StoreError,
        webhooks::{
            ChangeWebhook, ChangeWebhookOutcome, ClaimDeliveries, CreateWebhook, CreateWebhookOutcome, DeliveryRecord,
            DueWebhook, FinishDelivery, Health, LeasedDelivery, ReplayDeliveries, WebhookRecord, WebhookTarget,
            Webhooks,
        },
    },
    wake::WakeKey,
    webhook::{DeliveryStatus, WebhookStatus},
};
use countersign_proto::{
    ids::{TenantId, WebhookDeliveryId, WebhookId},
    timestamp::Timestamp,
};
use uuid::Uuid;

pub(super) use self::queue::parameter;
use super::{Columns, Database, Outcome, Plain, Tx, query};
use crate::{failure::Failure, rows, statement::Statement};

/// See the module.
pub(super) struct Statements {
    by_id: Statement,
    page: Statement,
    claim: claim::Statements,
    due: due::Statements,
    finish: finish::Statements,
    messages: messages::Statements,
    queue: queue::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        let select = |name: &str, which: &str| {
            Statement::new(format!(
                "-- {name}
                SELECT {} FROM webhooks WHERE tenant_id = $1 AND {which}",
                read::COLUMNS
            ))
        };
        Self {
            by_id: select("webhook", "id = $2"),
            page: select("webhooks", "id < $2 ORDER BY id DESC LIMIT $3"),
            claim: claim::Statements::new(),
            due: due::Statements::new(),
            finish: finish::Statements::new(),
            messages: messages::Statements::new(),
            queue: queue::Statements::new(),
        }
    }
}

const fn status_word(status: WebhookStatus) -> &'static str {
    match status {
        WebhookStatus::Enabled => "enabled",
        WebhookStatus::Disabled(_) => "disabled",
    }
}

const fn reason_word(status: WebhookStatus) -> Option<&'static str> {
    match status {
        WebhookStatus::Enabled => None,
        WebhookStatus::Disabled(reason) => Some(reason.as_str()),
    }
}

/// What the log says of a webhook.
fn event(stamp: &Stamp, kind: EventKind, id: WebhookId) -> Event {
    Event::new(stamp, kind, Subjects::default()).with("webhook_id", id.to_string())
}

/// Says in the log which row is the latest: the seal alone says only that it was one of ours.
fn seal_digest(seal: &str) -> String {
    Digest::of(seal).to_b64u()
}

#[async_trait]
impl Plain for CreateWebhook {
    type Reply = CreateWebhookOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<CreateWebhookOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        let count = "-- count_webhook
            UPDATE tenants SET webhook_count = webhook_count + 1
            WHERE id = $1 AND webhook_count < COALESCE(webhook_quota, $2)";
        let count = query(count).bind(tenant_id.as_uuid()).bind(i64::from(self.usual_limit));
        if tx.execute(count).await? == 0 {
            return Ok(Outcome::Rollback(CreateWebhookOutcome::QuotaExceeded { limit: limit(self, tx).await? }));
        }
        let insert = "-- create_webhook
            INSERT INTO webhooks (id, tenant_id, url, events, description, status, secret_id, previous_secrets,
                seal, created_at)
            VALUES ($1, $2, $3, $4, $5, 'enabled', $6, $7, $8, $9)";
        let WebhookTarget { url, events, secret_id, previous_secrets, seal } = &self.target;
        let insert = query(insert)
            .bind(self.id.as_uuid())
            .bind(tenant_id.as_uuid())
            .bind(url)
            .bind(events.to_string())
            .bind(&self.description)
            .bind(secret_id.as_uuid())
            .bind(rows::json(previous_secrets)?)
            .bind(seal)
            .bind(self.stamp.at.as_millis());
        tx.execute(insert).await?;
        // The first thing that it is told of, if it wants to be: that it is there.
        let event = event(&self.stamp, EventKind::WebhookCreated, self.id).with("seal_sha256", seal_digest(seal));
        tx.insert_events(vec![event]).await?;
        Ok(Outcome::Commit(CreateWebhookOutcome::Created(WebhookRecord {
            id: self.id,
            tenant_id,
            target: self.target.clone(),
            description: self.description.clone(),
            status: WebhookStatus::Enabled,
            failing_since: None,
            created_at: self.stamp.at,
            version: 1,
        })))
    }
}

/// How many its organisation may have.
async fn limit(command: &CreateWebhook, tx: &mut Tx<'_>) -> Result<u32, Failure> {
    let quota = "-- webhook_quota
        SELECT id, COALESCE(webhook_quota, $2) AS webhook_quota FROM tenants WHERE id = $1";
    let quota = query(quota).bind(command.stamp.tenant_id.as_uuid()).bind(i64::from(command.usual_limit));
    let row = tx.fetch_optional(quota).await?;
    Ok(row.map(|row| Columns::new("tenants", &row).count("webhook_quota")).transpose()?.unwrap_or(0))
}

#[async_trait]
impl Plain for ChangeWebhook {
    type Reply = ChangeWebhookOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ChangeWebhookOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        // An address that is told again, or is another, has not failed yet.
        let change = "-- change_webhook
            UPDATE webhooks SET
                failing_since = CASE WHEN url = $4 AND status = $7 THEN failing_since ELSE NULL END,
                url = $4, events = $5, description = $6, status = $7, disabled_reason = $8, secret_id = $9,
                previous_secrets = $10, seal = $11, version = version + 1
            WHERE id = $1 AND tenant_id = $2 AND version = $3";
        let WebhookTarget { url, events, secret_id, previous_secrets, seal } = &self.target;
        let change = query(change)
            .bind(self.id.as_uuid())
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(i64::from(self.expected_version))
            .bind(url)
            .bind(events.to_string())
            .bind(&self.description)
            .bind(status_word(self.status))
            .bind(reason_word(self.status))
            .bind(secret_id.as_uuid())
            .bind(rows::json(previous_secrets)?)
            .bind(seal);
        let is_changed = tx.execute(change).await? == 1;
        let Some(record) = find(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(ChangeWebhookOutcome::NotFound));
        };
        if !is_changed {
            return Ok(Outcome::Rollback(ChangeWebhookOutcome::Conflict));
        }
        let mut event = event(&self.stamp, self.kind, self.id).with("seal_sha256", seal_digest(seal));
        if !self.changed.is_empty() {
            event = event.with("changed", self.changed.clone());
        }
        if let WebhookStatus::Disabled(reason) = self.status {
            event = event.with("reason", reason.as_str());
        }
        tx.insert_events(vec![event]).await?;
        // What waited while it was told nothing goes on.
        tx.wake(WakeKey::Webhooks);
        Ok(Outcome::Commit(ChangeWebhookOutcome::Changed(record)))
    }
}

struct DeleteWebhook {
    stamp: Stamp,
    id: WebhookId,
}

#[async_trait]
impl Plain for DeleteWebhook {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id.as_uuid();
        // The tenant's row first, as everybody does.
        let count = "-- uncount_webhook
            UPDATE tenants SET webhook_count = webhook_count - 1 WHERE id = $1 AND webhook_count > 0";
        tx.execute(query(count).bind(tenant_id)).await?;
        // Its messages, of which there may be very many, are dropped a portion at a time.
        let delete = "-- delete_webhook
            DELETE FROM webhooks WHERE id = $1 AND tenant_id = $2";
        if tx.execute(query(delete).bind(self.id.as_uuid()).bind(tenant_id)).await? == 0 {
            return Ok(Outcome::Rollback(false));
        }
        tx.insert_events(vec![event(&self.stamp, EventKind::WebhookDeleted, self.id)]).await?;
        Ok(Outcome::Commit(true))
    }
}

async fn find(tx: &mut Tx<'_>, tenant_id: TenantId, id: WebhookId) -> Result<Option<WebhookRecord>, Failure> {
    let statements = tx.statements();
    let by_id = query(&statements.webhooks.by_id).bind(tenant_id.as_uuid()).bind(id.as_uuid());
    Ok(tx.fetch_optional(by_id).await?.as_ref().map(read::webhook).transpose()?)
}

#[async_trait]
impl Webhooks for Database {
    async fn create_webhook(&self, command: CreateWebhook) -> Result<CreateWebhookOutcome, StoreError> {
        self.write(command).await
    }

    async fn webhooks(
        &self,
        tenant_id: TenantId,
        page: PageRequest<WebhookId>,
    ) -> Result<Vec<WebhookRecord>, StoreError> {
        let before = page.before.map_or(Uuid::max(), WebhookId::as_uuid);
        let list = query(&self.statements.webhooks.page);
        let list = list.bind(tenant_id.as_uuid()).bind(before).bind(i64::from(page.limit));
        self.fetch_all(list).await?.iter().map(read::webhook).collect()
    }

    async fn webhook(&self, tenant_id: TenantId, id: WebhookId) -> Result<Option<WebhookRecord>, StoreError> {
        let by_id = query(&self.statements.webhooks.by_id).bind(tenant_id.as_uuid()).bind(id.as_uuid());
        self.fetch_optional(by_id).await?.as_ref().map(read::webhook).transpose()
    }

    async fn change_webhook(&self, command: ChangeWebhook) -> Result<ChangeWebhookOutcome, StoreError> {
        self.write(command).await
    }

    async fn delete_webhook(&self, stamp: Stamp, id: WebhookId) -> Result<bool, StoreError> {
        self.write(DeleteWebhook { stamp, id }).await
    }

    async fn test_webhook(&self, stamp: Stamp, id: WebhookId, test: WebhookDeliveryId) -> Result<bool, StoreError> {
        self.write(messages::TestWebhook { stamp, id, test }).await
    }

    async fn webhook_deliveries(
        &self,
        tenant_id: TenantId,
        webhook_id: WebhookId,
        status: Option<DeliveryStatus>,
        page: PageRequest<WebhookDeliveryId>,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        messages::list(self, tenant_id, webhook_id, status, page).await
    }

    async fn webhook_delivery(
        &self,
        tenant_id: TenantId,
        webhook_id: WebhookId,
        id: WebhookDeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        messages::one(self, tenant_id, webhook_id, id).await
    }

    async fn replay_webhook_delivery(
        &self,
        stamp: Stamp,
        webhook_id: WebhookId,
        id: WebhookDeliveryId,
    ) -> Result<bool, StoreError> {
        self.write(messages::ReplayDelivery { stamp, webhook_id, id }).await
    }

    async fn replay_webhook_deliveries(&self, command: ReplayDeliveries) -> Result<u64, StoreError> {
        self.write(command).await
    }

    async fn due_webhooks(
        &self,
        now: Timestamp,
        health: Health,
        after: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<DueWebhook>, StoreError> {
        due::webhooks(self, now, health, (after, limit)).await
    }

    async fn claim_webhook_deliveries(
        &self,
        command: ClaimDeliveries,
    ) -> Result<Vec<Result<LeasedDelivery, StoreError>>, StoreError> {
        self.write(command).await
    }

    async fn finish_webhook_deliveries(&self, commands: Vec<FinishDelivery>) -> Result<u64, StoreError> {
        self.write(finish::Finish(commands)).await
    }

    async fn drop_webhook_deliveries(&self, webhook_id: WebhookId, limit: u32) -> Result<u64, StoreError> {
        self.write(due::DropDeliveries { webhook_id, limit }).await
    }

    async fn forget_webhook_deliveries(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(due::ForgetDeliveries { now, limit }).await
    }

    async fn oldest_due_webhook_delivery(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        due::oldest(self, now).await
    }
}
