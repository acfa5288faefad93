//! Queueing: one message per event and address, in the transaction of the event.
//!
//! One statement for all events of a transaction: for each a look at its organisation's few webhooks, by key. Whoever
//! has none pays for that look and nothing else. Never a second message for the same event and address: a command that
//! is run again finds the first.

use countersign_core::{
    event::Event,
    wake::WakeKey,
    webhook::{WAITING_KEPT_SECONDS, group, is_urgent},
};
use serde_json::json;

use super::super::{Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const EVENTS: &rows::Columns = &[
    ("r_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_kind", Type::Text),
    ("r_word", Type::Text),
    ("r_group", Type::Text),
    ("r_at", Type::Integer),
    ("r_kept_until", Type::Integer),
    ("r_is_urgent", Type::Integer),
];

/// See the module.
pub(super) struct Statements {
    queue_webhook_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // `replace` says on both databases whether a text holds another, byte for byte.
            queue_webhook_deliveries: Statement::new(format!(
                "-- queue_webhook_deliveries
                INSERT INTO webhook_deliveries (webhook_id, message_id, tenant_id, kind, status, due_at, queued_at,
                    tries, attempts, kept_until, is_urgent)
                SELECT webhooks.id, r_id, r_tenant_id, r_kind, 'pending', r_at, r_at, 0, '[]', r_kept_until, r_is_urgent
                FROM {events} CROSS JOIN webhooks
                WHERE webhooks.tenant_id = r_tenant_id AND webhooks.status = 'enabled'
                  AND (webhooks.events = ' * ' OR replace(webhooks.events, r_word, '') <> webhooks.events
                       OR replace(webhooks.events, r_group, '') <> webhooks.events)
                ON CONFLICT (webhook_id, message_id) DO NOTHING",
                events = dialect::row_source(1, EVENTS),
            )),
        }
    }
}

/// The rows that [`Tx::queue_webhook_deliveries`] takes.
pub(in super::super) fn parameter(events: &[Event]) -> String {
    let row = |event: &Event| {
        json!({
            "r_id": rows::id(event.id),
            "r_tenant_id": rows::id(event.tenant_id),
            "r_kind": event.kind.as_str(),
            "r_word": format!(" {} ", event.kind.as_str()),
            "r_group": format!(" {} ", group(event.kind)),
            "r_at": rows::time(event.at),
            "r_kept_until": rows::time(event.at.plus_seconds(WAITING_KEPT_SECONDS)),
            "r_is_urgent": i64::from(is_urgent(event.kind)),
        })
    };
    rows::to_parameter(EVENTS, events.iter().map(row).collect())
}

impl Tx<'_> {
    /// Queues a message to each webhook that wants to be told of one of these events, and wakes this node's sender after
    /// the commit.
    pub(in super::super) async fn queue_webhook_deliveries(&mut self, events: String) -> Result<(), Failure> {
        let statements = self.statements();
        let queued = self.execute(query(&statements.webhooks.queue.queue_webhook_deliveries).bind(events)).await?;
        if queued > 0 {
            self.wake(WakeKey::Webhooks);
        }
        Ok(())
    }
}
