//! Webhooks against the log: where an organisation is told what, and that nothing is missing which it was to be told.
//!
//! Whoever rewrites a webhook breaks its seal, and nothing is sent there; who puts a former row back, enables one that
//! was disabled, or removes messages, breaks none, and is found here. A message is missed for as long as one is kept
//! whatever becomes of it, and not around a change of its webhook: the log does not say which of the two was first. What
//! became of a message is only what the database says. To compare one more thing: a line in `follow` and in `doubt`.

use std::collections::{HashMap, HashSet, VecDeque};

use countersign_core::{
    digest::Digest,
    event::EventKind,
    ports::{PageRequest, webhooks::WebhookRecord},
    webhook::{DELIVERED_KEPT_SECONDS, WebhookStatus},
};
use countersign_proto::{
    api::events::Event,
    ids::{EventId, TenantId, WebhookId},
    timestamp::Timestamp,
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    super::{Audit, AuditError},
    PORTION,
    rules::Latest,
    word,
};
use crate::signing::Sealed;

/// Messages in one portion.
const MESSAGES: u32 = 1_000;
/// No message is deleted before: the one that arrives at once is kept for so long from then. An hour less, for the time
/// that looking takes.
const KEPT_SECONDS: i64 = DELIVERED_KEPT_SECONDS - 60 * 60;
/// What happens so soon after a change of a webhook may have been committed before it: nobody waits longer for a commit.
const COMMITTING_SECONDS: i64 = 60;

/// What the log says.
#[derive(Default)]
pub(super) struct Webhooks {
    by_id: HashMap<WebhookId, Traced>,
    /// What has happened lately, whoever wants to be told.
    lately: VecDeque<Happened>,
    newest: Option<Timestamp>,
}

#[derive(Default)]
struct Traced {
    is_made: bool,
    is_deleted: bool,
    is_enabled: Latest<bool>,
    /// Digests of its seal; an older log has none.
    seals: Latest<String>,
    /// When it was last changed.
    changed_at: Option<Timestamp>,
}

struct Happened {
    id: EventId,
    kind: EventKind,
    at: Timestamp,
}

impl Webhooks {
    pub(super) fn follow(&mut self, event: &Event) {
        let at = event.created_at;
        if let Some(kind) = EventKind::ALL.into_iter().find(|kind| kind.as_str() == event.kind) {
            self.lately.push_back(Happened { id: event.id, kind, at });
        }
        self.newest = self.newest.max(Some(at));
        let is_old =
            |it: &Happened| self.newest.is_some_and(|newest| it.at.plus_seconds(DELIVERED_KEPT_SECONDS) < newest);
        while self.lately.front().is_some_and(is_old) {
            self.lately.pop_front();
        }
        if let Some(id) = word(event, "webhook_id").and_then(|id| id.parse().ok()) {
            self.by_id.entry(id).or_default().follow(event);
        }
    }

    /// What is in doubt, each in one line.
    pub(super) async fn compare(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        now: Timestamp,
    ) -> Result<Vec<String>, AuditError> {
        let mut doubts = Vec::new();
        let living = self.by_id.iter().filter(|(_, traced)| traced.is_made && !traced.is_deleted);
        let mut unmet: HashMap<_, _> = living.collect();
        let mut before = None;
        loop {
            let rows = audit.store.webhooks(tenant_id, PageRequest { before, limit: PORTION }).await?;
            for row in &rows {
                let why = match unmet.remove(&row.id) {
                    None => Some("no event made it, or one tells that it was deleted".to_owned()),
                    Some(traced) => match traced.doubt(audit, row) {
                        Some(why) => Some(why.to_owned()),
                        None => self.miss(audit, traced, row, now).await?,
                    },
                };
                doubts.extend(why.map(|why| format!("webhooks {}: {why}", row.id)));
            }
            before = rows.last().map(|last| last.id);
            if rows.len() < PORTION as usize {
                break;
            }
        }
        doubts.extend(unmet.keys().map(|id| format!("webhooks {id}: the log tells of it, and it is gone")));
        Ok(doubts)
    }

    /// Messages that are not there, though the webhook wanted them.
    async fn miss(
        &self,
        audit: &Audit,
        traced: &Traced,
        row: &WebhookRecord,
        now: Timestamp,
    ) -> Result<Option<String>, AuditError> {
        if row.status != WebhookStatus::Enabled {
            return Ok(None);
        }
        let kept_since = now.plus_seconds(-KEPT_SECONDS);
        let since = traced.changed_at.map(|at| at.plus_seconds(COMMITTING_SECONDS)).max(Some(kept_since));
        let wanted = self.lately.iter().filter(|it| Some(it.at) > since && row.target.events.wants(it.kind));
        let mut unmet: HashSet<Uuid> = wanted.map(|it| it.id.as_uuid()).collect();
        let count = unmet.len();
        let mut before = None;
        while !unmet.is_empty() {
            let page = PageRequest { before, limit: MESSAGES };
            let messages = audit.store.webhook_deliveries(row.tenant_id, row.id, None, page).await?;
            for message in &messages {
                unmet.remove(&message.id.as_uuid());
            }
            before = messages.last().map(|last| last.id);
            if messages.len() < MESSAGES as usize {
                break;
            }
        }
        let gone = unmet.len();
        Ok((gone > 0).then(|| format!("of {count} messages of the last days {gone} are gone")))
    }
}

impl Traced {
    fn follow(&mut self, event: &Event) {
        let at = event.created_at;
        self.changed_at = self.changed_at.max(Some(at));
        if let Some(digest) = word(event, "seal_sha256") {
            self.seals.set(at, digest);
        }
        match event.kind.as_str() {
            "webhook.created" => self.is_made = true,
            "webhook.deleted" => self.is_deleted = true,
            "webhook.disabled" => self.is_enabled.set(at, false),
            // Disabling has an event of its own.
            "webhook.changed" if has_changed(event, "enabled") => self.is_enabled.set(at, true),
            _ => {}
        }
    }

    fn doubt(&self, audit: &Audit, row: &WebhookRecord) -> Option<&'static str> {
        let content = Sealed::Webhook { webhook_id: row.id, tenant_id: row.tenant_id, target: &row.target };
        if !audit.keys.seals().holds(&row.target.seal, &content) {
            return Some("where it is told what is not what this server sealed: it is told nothing");
        }
        let seal = Digest::of(&row.target.seal).to_b64u();
        if !self.seals.may_be(&seal, &seal) {
            return Some("where it is told what, or its secret, is another in the log: a former one was put back");
        }
        let is_enabled = row.status == WebhookStatus::Enabled;
        (!self.is_enabled.may_be(&is_enabled, &true)).then_some("whether it is told anything is another in the log")
    }
}

fn has_changed(event: &Event, member: &str) -> bool {
    event.data.get("changed").and_then(Value::as_array).is_some_and(|members| members.iter().any(|it| it == member))
}
