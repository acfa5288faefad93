//! From rows to records.

use countersign_core::{
    event::EventKind,
    ports::{
        StoreError,
        webhooks::{WebhookRecord, WebhookTarget},
    },
    webhook::{DeliveryStatus, DisabledReason, TEST_KIND, WebhookStatus},
};

use super::super::{Columns, Row};

/// A webhook's.
pub(super) const COLUMNS: &str = "id, tenant_id, url, events, description, status, disabled_reason, secret_id,
    previous_secrets, seal, failing_since, created_at, version";

pub(super) fn webhook(row: &Row) -> Result<WebhookRecord, StoreError> {
    webhook_of(&Columns::new("webhooks", row))
}

/// The webhook, from a row that has its columns beside others.
pub(super) fn webhook_of(row: &Columns<'_>) -> Result<WebhookRecord, StoreError> {
    Ok(WebhookRecord {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        target: WebhookTarget {
            url: row.text("url")?,
            events: row.word("events")?,
            secret_id: row.id("secret_id")?,
            previous_secrets: row.json("previous_secrets")?,
            seal: row.text("seal")?,
        },
        description: row.optional_text("description")?,
        status: status(row)?,
        failing_since: row.optional_time("failing_since")?,
        created_at: row.time("created_at")?,
        version: row.count("version")?,
    })
}

fn status(row: &Columns<'_>) -> Result<WebhookStatus, StoreError> {
    match row.text("status")?.as_str() {
        "enabled" => Ok(WebhookStatus::Enabled),
        "disabled" => {
            let word = row.text("disabled_reason")?;
            let reason = DisabledReason::ALL.into_iter().find(|reason| reason.as_str() == word);
            reason.map(WebhookStatus::Disabled).ok_or_else(|| row.corrupt("disabled_reason"))
        }
        _ => Err(row.corrupt("status")),
    }
}

/// The kind of the event; `None` for a test.
pub(super) fn kind(row: &Columns<'_>, column: &'static str) -> Result<Option<EventKind>, StoreError> {
    let word = row.text(column)?;
    if word == TEST_KIND {
        return Ok(None);
    }
    let kind = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    kind.map(Some).ok_or_else(|| row.corrupt(column))
}

pub(super) fn delivery_status(row: &Columns<'_>) -> Result<DeliveryStatus, StoreError> {
    let word = row.text("status")?;
    let status = DeliveryStatus::ALL.into_iter().find(|status| status.as_str() == word);
    status.ok_or_else(|| row.corrupt("status"))
}
