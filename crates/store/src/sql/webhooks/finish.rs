//! Storing what attempts came to: in the message, and in the address.
//!
//! A verdict counts only while its lease stands in the row. The messages first, then the webhooks, each in the order of
//! their keys. An address that answers again gets what waits for later now, some of it each minute: after days of silence
//! nothing waits for another day. Not what it refuses while it takes the rest: that keeps its own pauses.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use countersign_core::{
    event::EventKind,
    ports::webhooks::{DeliveryVerdict, FinishDelivery},
    wake::WakeKey,
    webhook::{DELIVERED_KEPT_SECONDS, DeliveryStatus, FAILED_KEPT_SECONDS, with_attempt},
};
use countersign_proto::{
    ids::{WebhookDeliveryId, WebhookId},
    timestamp::Timestamp,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    super::{Columns, Outcome, Plain, Tx, dialect, query},
    event,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const VERDICTS: &rows::Columns = &[
    ("r_webhook_id", Type::Id),
    ("r_message_id", Type::Id),
    ("r_lease", Type::Id),
    ("r_status", Type::Text),
    ("r_due_at", Type::Integer),
    ("r_is_put_off", Type::Integer),
    ("r_tries", Type::Integer),
    ("r_attempts", Type::Text),
    ("r_kept_until", Type::Integer),
];
const HEALTH: &rows::Columns = &[("r_id", Type::Id), ("r_failing_since", Type::Integer)];

/// Messages that are brought forward at once.
const BROUGHT_FORWARD: u32 = 100;
/// And how long until the next are.
const BRINGING_SECONDS: i64 = 60;

/// See the module.
pub(super) struct Statements {
    finish_webhook_deliveries: Statement,
    webhook_health: Statement,
    catch_up: Statement,
    bring_forward: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            finish_webhook_deliveries: Statement::new(format!(
                "-- finish_webhook_deliveries
                UPDATE webhook_deliveries SET lease = NULL, leased_until = NULL, status = r_status, due_at = r_due_at,
                    is_put_off = r_is_put_off, tries = r_tries, attempts = r_attempts,
                    kept_until = COALESCE(r_kept_until, kept_until)
                FROM {verdicts}
                WHERE webhook_deliveries.webhook_id = r_webhook_id AND webhook_deliveries.message_id = r_message_id
                  AND webhook_deliveries.lease = r_lease
                RETURNING webhook_id, message_id",
                verdicts = dialect::row_source(1, VERDICTS),
            )),
            // Since when it fails stays as it is while it goes on failing.
            webhook_health: Statement::new(format!(
                "-- webhook_health
                UPDATE webhooks SET failing_since =
                    CASE WHEN r_failing_since IS NULL THEN NULL ELSE COALESCE(failing_since, r_failing_since) END
                FROM {health} WHERE webhooks.id = r_id",
                health = dialect::row_source(1, HEALTH),
            )),
            // Of all that arrives in a minute one brings others forward.
            catch_up: Statement::new(
                "-- webhook_catches_up
                UPDATE webhooks SET brought_forward_at = $2
                WHERE id = $1 AND (brought_forward_at IS NULL OR brought_forward_at <= $3)"
                    .to_owned(),
            ),
            bring_forward: Statement::new(format!(
                "-- bring_webhook_deliveries_forward
                UPDATE webhook_deliveries SET due_at = $2
                WHERE webhook_id = $1 AND status = 'pending' AND lease IS NULL AND message_id IN (
                    SELECT webhook_deliveries.message_id FROM webhook_deliveries
                    WHERE webhook_deliveries.webhook_id = $1 AND webhook_deliveries.status = 'pending'
                      AND webhook_deliveries.due_at > $2 AND webhook_deliveries.lease IS NULL
                      AND webhook_deliveries.is_put_off = 0
                    ORDER BY webhook_deliveries.due_at LIMIT $3 {lock})",
                lock = dialect::locking("FOR UPDATE OF webhook_deliveries SKIP LOCKED"),
            )),
        }
    }
}

/// What several attempts came to, each of another message.
pub(super) struct Finish(pub(super) Vec<FinishDelivery>);

#[async_trait]
impl Plain for Finish {
    type Reply = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<u64>, Failure> {
        let finished = self.store(tx).await?;
        if finished.is_empty() {
            return Ok(Outcome::Rollback(0));
        }
        let is_finished =
            |command: &&FinishDelivery| finished.contains(&(command.leased.webhook.id, command.leased.id));
        let commands: Vec<_> = self.0.iter().filter(is_finished).collect();
        note_health(tx, &commands).await?;
        for command in &commands {
            disable(tx, command).await?;
        }
        Ok(Outcome::Commit(u64::try_from(finished.len()).unwrap_or(u64::MAX)))
    }

    fn finds_itself(&self) -> bool {
        // Run again after a COMMIT that did happen it finds no lease, and changes nothing.
        true
    }
}

impl Finish {
    /// The messages whose leases held.
    async fn store(&self, tx: &mut Tx<'_>) -> Result<BTreeSet<(WebhookId, WebhookDeliveryId)>, Failure> {
        let mut verdicts = Vec::with_capacity(self.0.len());
        for FinishDelivery { leased, attempt, verdict, at, .. } in &self.0 {
            let (status, due_at, kept_seconds) = match verdict {
                DeliveryVerdict::Delivered => (DeliveryStatus::Delivered, *at, Some(DELIVERED_KEPT_SECONDS)),
                DeliveryVerdict::RetryAt(due_at)
                | DeliveryVerdict::NotBefore(due_at)
                | DeliveryVerdict::NotTried(due_at) => (DeliveryStatus::Pending, *due_at, None),
                DeliveryVerdict::Failed => (DeliveryStatus::Failed, *at, Some(FAILED_KEPT_SECONDS)),
            };
            let was_tried = !matches!(verdict, DeliveryVerdict::NotTried(_));
            let attempts = leased.attempts.clone();
            let attempts = if was_tried { with_attempt(attempts, attempt.clone()) } else { attempts };
            verdicts.push(json!({
                "r_webhook_id": rows::id(leased.webhook.id),
                "r_message_id": rows::id(leased.id),
                "r_lease": rows::id(leased.lease),
                "r_status": status.as_str(),
                "r_due_at": rows::time(due_at),
                "r_is_put_off": i64::from(matches!(verdict, DeliveryVerdict::NotBefore(_))),
                "r_tries": leased.tries.saturating_sub(u32::from(!was_tried)),
                "r_attempts": rows::json(&attempts)?,
                "r_kept_until": kept_seconds.map(|seconds| rows::time(at.plus_seconds(seconds))),
            }));
        }
        let statements = tx.statements();
        let finish = query(&statements.webhooks.finish.finish_webhook_deliveries);
        let mut finished = BTreeSet::new();
        for row in &tx.fetch_all(finish.bind(rows::to_parameter(VERDICTS, verdicts))).await? {
            let row = Columns::new("webhook_deliveries", row);
            finished.insert((row.id("webhook_id")?, row.id("message_id")?));
        }
        Ok(finished)
    }
}

/// What the attempts say of the addresses: one that took something is well, whatever else failed there.
async fn note_health(tx: &mut Tx<'_>, commands: &[&FinishDelivery]) -> Result<(), Failure> {
    let mut health: BTreeMap<Uuid, Option<Timestamp>> = BTreeMap::new();
    let mut recovered: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
    for FinishDelivery { leased, verdict, at, .. } in commands.iter().filter(|command| command.was_sent) {
        let (id, was_failing) = (leased.webhook.id.as_uuid(), leased.webhook.failing_since.is_some());
        if *verdict == DeliveryVerdict::Delivered {
            if was_failing || health.contains_key(&id) {
                health.insert(id, None);
            }
            if was_failing || leased.tries > 1 {
                recovered.insert(id, *at);
            }
        } else if !was_failing {
            health.entry(id).or_insert(Some(*at));
        }
    }
    let statements = tx.statements();
    if !health.is_empty() {
        let row = |(id, since): (&Uuid, &Option<Timestamp>)| json!({"r_id": id.simple().to_string(), "r_failing_since": since.map(rows::time)});
        let parameter = rows::to_parameter(HEALTH, health.iter().map(row).collect());
        tx.execute(query(&statements.webhooks.finish.webhook_health).bind(parameter)).await?;
    }
    for (id, at) in recovered {
        let catch_up = query(&statements.webhooks.finish.catch_up).bind(id).bind(at.as_millis());
        if tx.execute(catch_up.bind(at.plus_seconds(-BRINGING_SECONDS).as_millis())).await? == 0 {
            continue;
        }
        let bring = query(&statements.webhooks.finish.bring_forward);
        if tx.execute(bring.bind(id).bind(at.as_millis()).bind(i64::from(BROUGHT_FORWARD))).await? > 0 {
            tx.wake(WakeKey::Webhooks);
        }
    }
    Ok(())
}

/// Disables the address that said so itself: not another one that an administrator has meanwhile put in its place.
async fn disable(tx: &mut Tx<'_>, command: &FinishDelivery) -> Result<(), Failure> {
    let Some((stamp, reason)) = &command.disable else { return Ok(()) };
    let webhook = &command.leased.webhook;
    let disable = "-- disable_webhook
        UPDATE webhooks SET status = 'disabled', disabled_reason = $4, version = version + 1
        WHERE id = $1 AND tenant_id = $2 AND url = $3 AND status = 'enabled'";
    let disable = query(disable)
        .bind(webhook.id.as_uuid())
        .bind(webhook.tenant_id.as_uuid())
        .bind(&webhook.target.url)
        .bind(reason.as_str());
    if tx.execute(disable).await? == 1 {
        let event = event(stamp, EventKind::WebhookDisabled, webhook.id).with("reason", reason.as_str());
        tx.insert_events(vec![event]).await?;
    }
    Ok(())
}
