//! The live database against its own log: every event as an export would hold it, every tile, and every row that could
//! change a decision or its record, against what the log says.
//!
//! Changes nothing but positions, and believes nothing: a head that is not signed is a finding, and the rest is looked
//! through all the same. Rows that change while it runs are looked for in what the log has got meanwhile. To compare one
//! more table: its rows in core's `ports/audit.rs`, what the log says of it in `follow`, its comparison here.

mod rows;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use countersign_core::ports::StoreError;
use countersign_proto::{
    api::events::Event,
    audit::{
        Hash, TileId, Tiles,
        export::Footer,
        leaf_hash_of,
        verify::{Fault, Finding, Report, Verifier, to_line},
    },
    ids::{ChallengeId, DeviceId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, DeviceStatus},
};

use super::{
    Audit, AuditError, Head,
    export::{Export, Format, Options, unsigned_head},
};
use crate::decisions::Decisions;

/// Rows in one portion.
const PORTION: u32 = 200;
/// What two nodes' clocks may differ by.
const MOMENT_SECONDS: i64 = 2;
/// Events that may still come while the rows are read.
const NEWS: u32 = 1_000;

/// Looks through an organisation's database. `older` are checkpoints that were kept elsewhere.
///
/// # Errors
/// The database does not answer. Everything else is a finding.
pub async fn verify(
    audit: &Arc<Audit>,
    decisions: &Decisions,
    tenant_id: TenantId,
    older: &[String],
    now: Timestamp,
) -> Result<Report, AuditError> {
    match look_through(audit, decisions, tenant_id, older, now).await {
        // In what nothing else makes sense without: the head, a tile, a key.
        Err(AuditError::Store(StoreError::Corrupt { table, column, row })) => {
            let found = finding(Fault::Row, format!("{table} {row}: {column} cannot be read"));
            Ok(Report { findings: vec![found], ..Report::default() })
        }
        outcome => outcome,
    }
}

async fn look_through(
    audit: &Arc<Audit>,
    decisions: &Decisions,
    tenant_id: TenantId,
    older: &[String],
    now: Timestamp,
) -> Result<Report, AuditError> {
    let mut findings = Vec::new();
    let stored = audit.store.audit_head(tenant_id).await?;
    let head = match audit.head(tenant_id).await {
        Ok(head) => head,
        Err(AuditError::Store(error)) => return Err(error.into()),
        Err(error) => {
            findings.push(finding(Fault::Checkpoint, error.to_string()));
            let size = stored.map_or(0, |stored| stored.positioned.unsigned_abs());
            unsigned_head(audit.origin(tenant_id), size)
        }
    };
    let mut log = Log::default();
    let mut verifier = read_log(audit, tenant_id, &head, older, now, &mut log, &mut findings).await?;
    if !head.note.is_empty()
        && let Ok(line) = to_line(&Footer { checkpoint: head.note.clone() })
    {
        verifier.line(&line);
    }
    let mut suspicions = Vec::new();
    log.compare_challenges(audit, decisions, tenant_id, now, &mut suspicions).await?;
    log.compare_devices(audit, tenant_id, &mut suspicions).await?;
    let news = news(audit, tenant_id, head.checkpoint.size, &mut findings).await?;
    let is_old = |suspicion: &Suspicion| {
        !suspicion.about.challenge.is_some_and(|id| news.challenges.contains(&id))
            && !suspicion.about.device.is_some_and(|id| news.devices.contains(&id))
    };
    findings.extend(suspicions.into_iter().filter(is_old).map(|found| finding(Fault::Row, found.detail)));
    let mut report = verifier.finish();
    report.findings.extend(findings);
    Ok(report)
}

fn finding(fault: Fault, detail: String) -> Finding {
    Finding { position: None, fault, detail }
}

/// What a row is about, and why it is doubted.
struct Suspicion {
    about: About,
    detail: String,
}

#[derive(Clone, Copy, Default)]
struct About {
    challenge: Option<ChallengeId>,
    device: Option<DeviceId>,
}

impl Suspicion {
    fn of_challenge(id: ChallengeId, why: &str) -> Self {
        Self { about: About { challenge: Some(id), device: None }, detail: format!("challenges {id}: {why}") }
    }

    fn of_device(id: DeviceId, why: &str) -> Self {
        Self { about: About { challenge: None, device: Some(id) }, detail: format!("devices {id}: {why}") }
    }
}

/// What the log says of what there is.
#[derive(Default)]
struct Log {
    /// How each challenge ended; `None` while it waits.
    challenges: HashMap<ChallengeId, Option<End>>,
    /// What was remarkable about approves that were shown a code: what followed does not say it again.
    shown_flags: HashMap<ChallengeId, String>,
    devices: HashMap<DeviceId, Trace>,
    erased: HashSet<UserId>,
    tiles: Tiles,
    size: u64,
}

/// What the log says of how a challenge ended.
struct End {
    status: ChallengeStatus,
    at: Timestamp,
    device_id: Option<DeviceId>,
    reason: Option<String>,
    flags: Option<String>,
    /// By a code that was typed.
    is_by_code: bool,
}

/// What the log says of a device.
#[derive(Default)]
struct Trace {
    user_id: Option<UserId>,
    /// What its status became, and when: of what happened at the same moment either may have been the last.
    statuses: Vec<(Timestamp, DeviceStatus)>,
    /// Of the statement about its keys; `None` if the log is older than that.
    binding_sha256: Option<String>,
}

impl Trace {
    fn set(&mut self, at: Timestamp, status: DeviceStatus) {
        self.statuses
            .retain(|(before, old)| *old == DeviceStatus::Revoked || before.plus_seconds(MOMENT_SECONDS) >= at);
        self.statuses.push((at, status));
    }

    /// Whether it was ever more than an unconfirmed registration, which may be gone or revoked.
    fn was_active(&self) -> bool {
        self.user_id.is_some()
    }

    /// Nothing leads back from a revocation.
    fn may_be(&self, status: DeviceStatus) -> bool {
        let is_revoked = self.statuses.iter().any(|(_, status)| *status == DeviceStatus::Revoked);
        if is_revoked {
            status == DeviceStatus::Revoked
        } else {
            self.statuses.iter().any(|(_, known)| *known == status)
        }
    }
}

/// Goes through the events, and through the tiles as they are.
async fn read_log(
    audit: &Arc<Audit>,
    tenant_id: TenantId,
    head: &Head,
    older: &[String],
    now: Timestamp,
    log: &mut Log,
    findings: &mut Vec<Finding>,
) -> Result<Verifier, AuditError> {
    let options = Options { format: Format::Jsonl, from: 1, has_evidence: true };
    let mut export = Export::of(audit, tenant_id, options, head, now).await?;
    let unreadable = || audit.distrust(tenant_id, "audit_event");
    let header = to_line(&export.header().await?).map_err(|_| unreadable())?;
    let mut verifier = match Verifier::begin(&header, None, older) {
        Ok(verifier) => verifier,
        Err(error) => {
            findings.push(finding(Fault::OlderCheckpoint, error.to_string()));
            Verifier::begin(&header, None, &[]).map_err(|_| unreadable())?
        }
    };
    let mut changed = BTreeSet::new();
    loop {
        let entries = match export.entries().await {
            Ok(entries) => entries,
            // What this server never writes: the rest of the log cannot be read past it.
            Err(AuditError::Store(StoreError::Corrupt { table, column, row })) => {
                findings.push(finding(Fault::Row, format!("{table} {row}: {column} cannot be read")));
                break;
            }
            Err(error) => return Err(error),
        };
        if entries.is_empty() {
            break;
        }
        let mut leaves = Vec::with_capacity(entries.len());
        for (event, entry) in &entries {
            verifier.entry(entry);
            log.follow(event);
            leaves.extend(leaf_hash_of(&entry.event));
        }
        changed.extend(log.append(&leaves));
        if !head.note.is_empty() {
            log.compare_tiles(audit, tenant_id, &mut changed, false, findings).await?;
        }
    }
    if !head.note.is_empty() {
        log.compare_tiles(audit, tenant_id, &mut changed, true, findings).await?;
    }
    Ok(verifier)
}

/// Challenges and devices that something has happened to since the head; and events where there should be none.
async fn news(audit: &Audit, tenant_id: TenantId, size: u64, findings: &mut Vec<Finding>) -> Result<News, AuditError> {
    audit.store.position_events(tenant_id, NEWS).await?;
    let positioned = audit.store.audit_head(tenant_id).await?.map_or(0, |head| head.positioned);
    let after = i64::try_from(size).unwrap_or(i64::MAX);
    let events = match audit.store.events(tenant_id, after, NEWS).await {
        Ok(events) => events,
        Err(StoreError::Corrupt { table, column, row }) => {
            findings.push(finding(Fault::Row, format!("{table} {row}: {column} cannot be read")));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    for (event, position) in events.iter().zip(after.saturating_add(1)..) {
        if event.position != position {
            let detail = format!("event {} where {position} should be", event.position);
            findings.push(Finding { position: Some(position.unsigned_abs()), fault: Fault::Position, detail });
            break;
        }
    }
    let last = events.last().map_or(after, |event| event.position);
    if positioned < after || (positioned > last && events.len() < NEWS as usize) {
        findings.push(finding(Fault::Position, format!("audit_heads says {positioned}, the last event is {last}")));
    }
    Ok(News {
        challenges: events.iter().filter_map(|event| event.subjects.challenge_id).collect(),
        devices: events.iter().filter_map(|event| event.subjects.device_id).collect(),
    })
}

struct News {
    challenges: HashSet<ChallengeId>,
    devices: HashSet<DeviceId>,
}

impl Log {
    fn follow(&mut self, event: &Event) {
        let word = |name: &str| event.data.get(name).and_then(|word| word.as_str()).map(str::to_owned);
        if let Some(id) = event.challenge_id {
            let end = |status| {
                let (at, device_id) = (event.created_at.floor_to_second(), event.device_id);
                Some(End {
                    status,
                    at,
                    device_id,
                    reason: word("reason"),
                    flags: word("flags"),
                    is_by_code: word("code").is_some(),
                })
            };
            let end = match event.kind.as_str() {
                "challenge.approved" => end(ChallengeStatus::Approved),
                "challenge.denied" => end(ChallengeStatus::Denied),
                "challenge.expired" => end(ChallengeStatus::Expired),
                "challenge.cancelled" => end(ChallengeStatus::Cancelled),
                _ => None,
            };
            if event.kind == "challenge.code_shown" {
                self.shown_flags.extend(word("flags").map(|flags| (id, flags)));
            }
            let known = self.challenges.entry(id).or_default();
            if known.is_none() {
                *known = end;
            }
        }
        let binding = || word("binding_sha256");
        match (event.kind.as_str(), event.device_id) {
            ("device.added", Some(id)) => {
                let trace = self.devices.entry(id).or_default();
                (trace.user_id, trace.binding_sha256) = (event.user_id, binding());
                trace.set(event.created_at, DeviceStatus::Active);
            }
            ("device.key_changed", Some(id)) => {
                self.devices.entry(id).or_default().binding_sha256 = binding();
            }
            ("device.suspended", Some(id)) => {
                self.devices.entry(id).or_default().set(event.created_at, DeviceStatus::Suspended)
            }
            ("device.resumed", Some(id)) => {
                self.devices.entry(id).or_default().set(event.created_at, DeviceStatus::Active)
            }
            ("device.revoked" | "device.deregistered", Some(id)) => {
                self.devices.entry(id).or_default().set(event.created_at, DeviceStatus::Revoked);
            }
            ("user.erased", _) => self.erased.extend(event.user_id),
            _ => {}
        }
    }

    fn append(&mut self, leaves: &[Hash]) -> BTreeSet<TileId> {
        let changed = self.tiles.append(self.size, leaves).unwrap_or_default();
        self.size = self.size.saturating_add(leaves.len() as u64);
        changed
    }

    /// Full tiles are compared and forgotten; at the end the others, too.
    async fn compare_tiles(
        &mut self,
        audit: &Audit,
        tenant_id: TenantId,
        changed: &mut BTreeSet<TileId>,
        is_end: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), AuditError> {
        const FULL_BYTES: usize = 256 * 32;
        let due: Vec<_> =
            changed.iter().copied().filter(|id| is_end || self.tiles.bytes(*id).len() == FULL_BYTES).collect();
        if due.is_empty() {
            return Ok(());
        }
        let stored = audit.store.audit_tiles(tenant_id, &due).await?;
        let stored: HashMap<_, _> = stored.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
        for id in due {
            if stored.get(&id) != Some(&self.tiles.bytes(id)) {
                findings.push(finding(Fault::Tree, format!("audit_tiles level {} tile {}", id.level, id.index)));
            }
            changed.remove(&id);
            self.tiles.forget(id);
        }
        Ok(())
    }
}
