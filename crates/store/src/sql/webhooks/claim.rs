//! Leasing: so many messages of each webhook, never more, whoever else waits.
//!
//! A lease is a token and an end. Leasing moves `due_at` to the lease's end: a message whose worker died is due again by
//! itself. What it says is read here, in the same transaction; a challenge is read, and proven, when it is sent.

use std::collections::HashMap;

use async_trait::async_trait;
use countersign_core::{
    event::Subjects,
    ports::{
        StoreError,
        webhooks::{ChallengeState, ClaimDeliveries, Content, EventContent, LeasedDelivery},
    },
};
use countersign_proto::ids::{ChallengeId, EventId, WebhookDeliveryId, WebhookId};
use serde_json::{Value, json};

use super::{
    super::{Columns, Outcome, Plain, Row, Tx, dialect, query},
    read,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CLAIMED: &rows::Columns = &[("r_webhook_id", Type::Id), ("r_message_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    claim_webhook_deliveries: Statement,
    leased_webhook_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            claim_webhook_deliveries: Statement::new(format!(
                "-- claim_webhook_deliveries
                UPDATE webhook_deliveries SET lease = $1, leased_until = $2, due_at = $2, tries = tries + 1
                WHERE webhook_id = $4 AND message_id IN (
                    SELECT webhook_deliveries.message_id FROM webhook_deliveries
                    WHERE webhook_deliveries.webhook_id = $4 AND webhook_deliveries.status = 'pending'
                      AND webhook_deliveries.is_urgent = $6 AND webhook_deliveries.due_at <= $3
                    ORDER BY webhook_deliveries.due_at, webhook_deliveries.message_id LIMIT $5 {lock})
                  AND EXISTS (SELECT 1 FROM webhooks WHERE webhooks.id = $4 AND webhooks.status = 'enabled')
                RETURNING webhook_id, message_id",
                lock = dialect::locking("FOR UPDATE OF webhook_deliveries SKIP LOCKED"),
            )),
            leased_webhook_deliveries: Statement::new(format!(
                "-- leased_webhook_deliveries
                SELECT webhook_deliveries.message_id AS message_id, webhook_deliveries.kind AS kind,
                    webhook_deliveries.queued_at AS queued_at, webhook_deliveries.tries AS tries,
                    webhook_deliveries.attempts AS attempts, webhook_deliveries.leased_until AS leased_until,
                    {webhook},
                    tenants.disabled_at AS disabled_at,
                    events.id AS event_id, events.kind AS event_kind, events.actor_kind AS actor_kind,
                    events.actor_id AS actor_id, events.user_id AS user_id, events.device_id AS device_id,
                    events.challenge_id AS challenge_id, events.enrollment_id AS enrollment_id,
                    events.api_client_id AS api_client_id, events.request_id AS request_id, events.at AS at,
                    events.body AS body,
                    challenges.id AS found_challenge_id,
                    COALESCE(challenges.erased_at, users.erased_at) AS erased_at
                FROM {claimed} CROSS JOIN webhook_deliveries CROSS JOIN webhooks CROSS JOIN tenants
                LEFT JOIN events ON events.id = webhook_deliveries.message_id
                    AND events.tenant_id = webhook_deliveries.tenant_id
                LEFT JOIN challenges ON challenges.id = events.challenge_id
                    AND challenges.tenant_id = events.tenant_id
                LEFT JOIN users ON users.id = challenges.user_id
                WHERE webhook_deliveries.webhook_id = r_webhook_id AND webhook_deliveries.message_id = r_message_id
                  AND webhook_deliveries.lease = $2
                  AND webhooks.id = r_webhook_id AND webhooks.tenant_id = webhook_deliveries.tenant_id
                  AND tenants.id = webhooks.tenant_id",
                webhook = read::COLUMNS
                    .split(',')
                    .map(|column| format!("webhooks.{0} AS {0}", column.trim()))
                    .collect::<Vec<_>>()
                    .join(", "),
                claimed = dialect::row_source(1, CLAIMED),
            )),
        }
    }
}

#[async_trait]
impl Plain for ClaimDeliveries {
    type Reply = Vec<Result<LeasedDelivery, StoreError>>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<Self::Reply>, Failure> {
        let mut claimed = Vec::new();
        for share in &self.webhooks {
            let mut left = share.all;
            for (is_urgent, most) in [(true, share.urgent), (false, share.usual)] {
                let taken = claim(tx, self, share.webhook_id, (is_urgent, most.min(left))).await?;
                left = left.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
                claimed.extend(taken);
            }
        }
        if claimed.is_empty() {
            return Ok(Outcome::Rollback(Vec::new()));
        }
        let statements = tx.statements();
        let leased = query(&statements.webhooks.claim.leased_webhook_deliveries)
            .bind(rows::to_parameter(CLAIMED, claimed))
            .bind(self.lease.as_uuid());
        // Each row by itself: one that somebody has spoilt, or that a later version wrote, stays leased and is an error
        // of its own. The others are told.
        let (mut deliveries, mut unreadable) = (Vec::new(), Vec::new());
        for row in &tx.fetch_all(leased).await? {
            match delivery(&Columns::new("webhook_deliveries", row), self) {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => unreadable.push(Err(error)),
            }
        }
        in_turns(&mut deliveries);
        Ok(Outcome::Commit(deliveries.into_iter().map(Ok).chain(unreadable).collect()))
    }

    fn finds_itself(&self) -> bool {
        // What a lost COMMIT has leased comes back with the leases' end.
        true
    }
}

/// Leases messages of one sort; returns their keys, as the statement takes them that reads them.
async fn claim(
    tx: &mut Tx<'_>,
    command: &ClaimDeliveries,
    webhook_id: WebhookId,
    (is_urgent, limit): (bool, u32),
) -> Result<Vec<Value>, Failure> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let statements = tx.statements();
    let claim = query(&statements.webhooks.claim.claim_webhook_deliveries)
        .bind(command.lease.as_uuid())
        .bind(command.now.plus_seconds(command.lease_seconds).as_millis())
        .bind(command.now.as_millis())
        .bind(webhook_id.as_uuid())
        .bind(i64::from(limit))
        .bind(i64::from(is_urgent));
    let key = |row: &Row| {
        let row = Columns::new("webhook_deliveries", row);
        let (webhook_id, message_id): (WebhookId, WebhookDeliveryId) = (row.id("webhook_id")?, row.id("message_id")?);
        Ok(json!({"r_webhook_id": rows::id(webhook_id), "r_message_id": rows::id(message_id)}))
    };
    Ok(tx.fetch_all(claim).await?.iter().map(key).collect::<Result<_, StoreError>>()?)
}

/// The first of each webhook before the second of any.
fn in_turns(deliveries: &mut [LeasedDelivery]) {
    deliveries.sort_by_key(|delivery| (delivery.queued_at, delivery.id.as_uuid()));
    let mut seen: HashMap<WebhookId, u32> = HashMap::new();
    let turns: HashMap<_, _> = deliveries
        .iter()
        .map(|delivery| {
            let turn = seen.entry(delivery.webhook.id).or_default();
            *turn += 1;
            ((delivery.webhook.id, delivery.id), *turn)
        })
        .collect();
    deliveries.sort_by_key(|delivery| turns.get(&(delivery.webhook.id, delivery.id)).copied());
}

fn delivery(row: &Columns<'_>, command: &ClaimDeliveries) -> Result<LeasedDelivery, StoreError> {
    Ok(LeasedDelivery {
        id: row.id("message_id")?,
        webhook: read::webhook_of(row)?,
        content: content(row)?,
        queued_at: row.time("queued_at")?,
        tries: row.count("tries")?,
        attempts: row.json("attempts")?,
        lease: command.lease,
        leased_until: row.time("leased_until")?,
    })
}

fn content(row: &Columns<'_>) -> Result<Content, StoreError> {
    let Some(told) = read::kind(row, "kind")? else { return Ok(Content::Test) };
    let event_id: Option<EventId> = row.optional_id("event_id")?;
    let Some(id) = event_id else { return Ok(Content::Missing) };
    let kind = read::kind(row, "event_kind")?;
    // The kind says what an address may be told: a message that claims another one than its event is not ours.
    let Some(kind) = kind.filter(|kind| *kind == told) else { return Ok(Content::Missing) };
    let challenge_id: Option<ChallengeId> = row.optional_id("found_challenge_id")?;
    let is_disabled = row.optional_time("disabled_at")?.is_some();
    let is_erased = row.optional_time("erased_at")?.is_some();
    let challenge = match challenge_id.filter(|_| !is_erased) {
        None => ChallengeState::Gone,
        Some(_) if is_disabled => ChallengeState::TenantDisabled,
        Some(challenge_id) => ChallengeState::There(challenge_id),
    };
    let event = EventContent {
        id,
        kind,
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
    };
    Ok(Content::Event { event: Box::new(event), challenge })
}
