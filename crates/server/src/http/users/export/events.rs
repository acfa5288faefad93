//! The person's part of the log in an export: all of it, sign-ins too, with the messages about it to webhooks.
//!
//! No index leads from a person to their sign-ins, because no sign-in pays for one: so the log is gone through from where
//! it begins to be about the person, a portion at a time. That is long in a long log, and harms nobody: each portion is
//! one range of an index, and between two of them a blank tells whoever waits that it goes on.

use std::io;

use countersign_core::{
    limits::MAX_PAGE,
    ports::{
        audit::{AuditFilter, AuditPortion},
        events::EventRecord,
        users::Kept,
    },
};
use serde_json::Value;

use super::{Entries, Export, PAGE, broken, challenges::by};
use crate::audit::shown;

/// Positions in a portion. Also the most that get their positions together, in the order of the nodes' clocks: what is
/// about the person may stand so far before the first event of all.
const LOOKED_THROUGH: u32 = 1_000;

/// Writes the member `events`.
pub(super) async fn write(export: &Export) -> io::Result<()> {
    let mut entries = export.open("events").await?;
    let (store, tenant_id, user_id) = (&export.app.store, export.tenant_id, export.user.name.id);
    // As `GET /v1/events`: what is committed by now is in it.
    while store.position_events(tenant_id, MAX_PAGE).await.map_err(broken)? >= u64::from(MAX_PAGE) {}
    let end = store.audit_head(tenant_id).await.map_err(broken)?.map_or(0, |head| head.positioned);
    let first = store.first_position(tenant_id, user_id).await.map_err(broken)?;
    let mut after = first.saturating_sub(i64::from(LOOKED_THROUGH)).max(0);
    while after < end {
        let through = after.saturating_add(i64::from(LOOKED_THROUGH)).min(end);
        let portion = AuditPortion { after, through, limit: LOOKED_THROUGH };
        let filter = AuditFilter { user_id: Some(user_id), ..AuditFilter::default() };
        let records = store.audit_events(tenant_id, filter, portion).await.map_err(broken)?;
        export.may_go_on().await?;
        // Also how it is found out that nobody reads any more.
        export.send(" ".to_owned()).await?;
        for few in records.chunks(PAGE as usize) {
            add(export, &mut entries, few).await?;
        }
        after = through;
    }
    entries.close().await
}

async fn add(export: &Export, entries: &mut Entries<'_>, records: &[EventRecord]) -> io::Result<()> {
    let ids = records.iter().map(|record| record.id).collect();
    let mut messages = by("event_id", export.kept(Kept::WebhookMessages(ids)).await?);
    for record in records {
        let mut event = serde_json::to_value(shown(record.clone()))?;
        let messages = messages.remove(&record.id.to_string()).unwrap_or_default();
        if let Value::Object(members) = &mut event {
            members.insert("webhook_messages".to_owned(), messages.into_iter().map(Value::Object).collect());
        }
        entries.add(&event).await?;
    }
    Ok(())
}
