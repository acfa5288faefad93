//! An export: the log in a file that verifies without the server (docs/audit.md).
//!
//! Read in portions, so that memory is bounded however long the log is. Whatever fails on the way ends it without its last
//! line, and an export without its last line is none.

use std::{collections::HashMap, sync::Arc};

use countersign_core::{event::EventKind, ports::audit::KeptDecision};
use countersign_proto::{
    api::events::Event,
    audit::{
        Checkpoint, Hash,
        export::{Absence, Entry, Footer, Header, VERSION},
        verify::to_line,
    },
    ids::{ChallengeId, TenantId},
    timestamp::Timestamp,
};

use super::{Audit, AuditError, Head, csv, shown};

/// Events in one portion: with their evidence at most some megabytes.
const PORTION: u32 = 100;
/// An export may take its time, and what grows old meanwhile is deleted meanwhile.
const DELETES_MEANWHILE_SECONDS: i64 = 60 * 60;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object in each line; verifies offline.
    Jsonl,
    /// RFC 4180, for spreadsheets.
    Csv,
}

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How.
    pub format: Format,
    /// From this position on; 1 is the beginning.
    pub from: u64,
    /// Whether decisions come with what proves them.
    pub has_evidence: bool,
}

enum Stage {
    Header,
    Events,
    Footer,
    Done,
}

/// An export under way.
pub struct Export {
    audit: Arc<Audit>,
    tenant_id: TenantId,
    options: Options,
    origin: String,
    size: u64,
    note: String,
    next: u64,
    /// Challenges from before this time may have been deleted; `None`: none is.
    kept_since: Option<Timestamp>,
    stage: Stage,
}

impl Export {
    /// Of all that has happened until now.
    ///
    /// # Errors
    /// [`AuditError`]; [`AuditError::BeyondEnd`] if the log does not reach `from`.
    pub async fn begin(
        audit: &Arc<Audit>,
        tenant_id: TenantId,
        options: Options,
        now: Timestamp,
    ) -> Result<Self, AuditError> {
        let head = audit.newest(tenant_id, now).await?.ok_or(AuditError::BeyondEnd)?;
        if options.from == 0 || options.from > head.checkpoint.size {
            return Err(AuditError::BeyondEnd);
        }
        Self::of(audit, tenant_id, options, &head).await
    }

    /// Of what this head is over, believed or not.
    pub(super) async fn of(
        audit: &Arc<Audit>,
        tenant_id: TenantId,
        options: Options,
        head: &Head,
    ) -> Result<Self, AuditError> {
        // By what was deleted, not by what is set now: that may be more, or less.
        let forgotten_until = audit.forgotten_until(tenant_id).await?;
        let kept_since = forgotten_until.map(|until| until.plus_seconds(DELETES_MEANWHILE_SECONDS));
        Ok(Self {
            audit: Arc::clone(audit),
            tenant_id,
            options,
            origin: head.checkpoint.origin.clone(),
            size: head.checkpoint.size,
            note: head.note.clone(),
            next: options.from,
            kept_since,
            stage: Stage::Header,
        })
    }

    /// The next bytes; `None` after the last ones.
    ///
    /// # Errors
    /// [`AuditError`]: the export has broken off.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, AuditError> {
        let is_csv = self.options.format == Format::Csv;
        match self.stage {
            Stage::Header => {
                self.stage = Stage::Events;
                if is_csv { Ok(Some(csv::header())) } else { self.line(&self.header().await?).map(Some) }
            }
            Stage::Events => {
                let entries = self.entries().await?;
                if entries.is_empty() {
                    self.stage = Stage::Footer;
                    return Ok(Some(Vec::new()));
                }
                let mut bytes = Vec::new();
                for (event, entry) in &entries {
                    bytes.extend(if is_csv { csv::row(event) } else { self.line(entry)? });
                }
                Ok(Some(bytes))
            }
            Stage::Footer => {
                self.stage = Stage::Done;
                let footer = Footer { checkpoint: self.note.clone() };
                if is_csv { Ok(Some(csv::footer(self.size, &self.note))) } else { self.line(&footer).map(Some) }
            }
            Stage::Done => Ok(None),
        }
    }

    /// The first line.
    pub(super) async fn header(&self) -> Result<Header, AuditError> {
        let audit = &self.audit;
        let jwks = audit.keys.jwks();
        let before: Vec<Hash> = match self.options.from {
            1 => Vec::new(),
            from => audit.peaks(self.tenant_id, from.saturating_sub(1)).await?,
        };
        let mut header = Header {
            countersign_audit_export: VERSION,
            issuer: audit.keys.issuer().to_owned(),
            tenant_id: self.tenant_id,
            log_key: audit.key.verifier(&self.origin).to_string(),
            jwks,
            from: self.options.from,
            before,
            has_evidence: self.options.has_evidence,
            kept_since: self.kept_since,
            header_note: String::new(),
        };
        let note = serde_json::to_value(&header).ok().and_then(|header| audit.header_note(&self.origin, &header));
        header.header_note = note.ok_or_else(|| audit.distrust(self.tenant_id, "audit_header"))?;
        Ok(header)
    }

    /// The next events, oldest first; none after the last one.
    pub(super) async fn entries(&mut self) -> Result<Vec<(Event, Entry)>, AuditError> {
        let left = self.size.saturating_add(1).saturating_sub(self.next);
        let limit = u32::try_from(left).unwrap_or(PORTION).min(PORTION);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let after = i64::try_from(self.next.saturating_sub(1)).unwrap_or(i64::MAX);
        let mut events = self.audit.store.events(self.tenant_id, after, limit).await?;
        // Of a log with holes in it, not what comes after its end.
        events.retain(|event| event.position.unsigned_abs() <= self.size);
        let Some(last) = events.last().map(|event| event.position.unsigned_abs()) else { return Ok(Vec::new()) };
        self.next = last.saturating_add(1);
        let is_decision = |kind| matches!(kind, EventKind::ChallengeApproved | EventKind::ChallengeDenied);
        let decided = events.iter().filter(|event| is_decision(event.kind) && self.options.has_evidence);
        let ids: Vec<_> = decided.filter_map(|event| event.subjects.challenge_id).collect();
        let mut kept: HashMap<ChallengeId, KeptDecision> = HashMap::new();
        if !ids.is_empty() {
            let rows = self.audit.store.kept_decisions(self.tenant_id, &ids).await?;
            kept.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        self.is_not_overtaken(&ids, &kept).await?;
        let mut entries = Vec::with_capacity(events.len());
        for record in events {
            let decided =
                record.subjects.challenge_id.filter(|_| is_decision(record.kind) && self.options.has_evidence);
            let event = shown(record);
            let value = serde_json::to_value(&event).map_err(|_| self.audit.distrust(self.tenant_id, "audit_event"))?;
            let mut entry = Entry { event: value, evidence: None, without_evidence: None };
            if let Some(id) = decided {
                match self.proof_of(id, kept.get(&id)) {
                    Ok(evidence) => entry.evidence = Some(evidence),
                    Err(absence) => entry.without_evidence = Some(absence),
                }
            }
            entries.push((event, entry));
        }
        Ok(entries)
    }

    /// What is gone that should be kept by the first line may lawfully be gone all the same: somebody has made the
    /// retention shorter since. Then this export cannot say so any more.
    async fn is_not_overtaken(
        &self,
        ids: &[ChallengeId],
        kept: &HashMap<ChallengeId, KeptDecision>,
    ) -> Result<(), AuditError> {
        let gone = ids.iter().filter(|id| !kept.contains_key(id)).map(|id| id.made_at());
        let Some(oldest) = gone.filter(|at| self.kept_since.is_none_or(|since| *at >= since)).min() else {
            return Ok(());
        };
        match self.audit.forgotten_until(self.tenant_id).await? {
            Some(until) if oldest < until => Err(AuditError::Overtaken),
            _ => Ok(()),
        }
    }

    fn proof_of(
        &self,
        id: ChallengeId,
        kept: Option<&KeptDecision>,
    ) -> Result<countersign_proto::evidence::Evidence, Absence> {
        match kept {
            Some(KeptDecision { erased_at: Some(_), .. }) => Err(Absence::Erased),
            Some(kept) => kept.evidence.clone().ok_or(Absence::Missing),
            None if self.kept_since.is_some_and(|since| id.made_at() < since) => Err(Absence::Deleted),
            None => Err(Absence::Missing),
        }
    }

    fn line<T: serde::Serialize>(&self, line: &T) -> Result<Vec<u8>, AuditError> {
        to_line(line).map_err(|_| self.audit.distrust(self.tenant_id, "audit_event"))
    }
}

/// A head that nobody has signed, for looking at a log whose own is not to be believed.
pub(super) fn unsigned_head(origin: String, size: u64) -> Head {
    Head { checkpoint: Checkpoint { origin, size, root: Hash::of_nothing() }, note: String::new() }
}
