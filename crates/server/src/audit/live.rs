//! The live database against its own log: every event as an export would hold it, every tile, and every row that could
//! change a decision or its record, against what the log says.
//!
//! Changes nothing but positions, and believes nothing: a head that is not signed is a finding, and the rest is looked
//! through all the same. The log goes on while it runs: a row that is doubted is looked at again with what the log says
//! by then, and only what is still doubted counts. That an event merely names the row explains nothing. To compare one
//! more table: its rows in core's `ports/audit.rs`, what the log says of it in a `follow` and its comparison beside that
//! (`rows.rs`: challenges and devices; `rules.rs`: what the organisation asks for; `callers.rs`: API clients;
//! `people.rs`: users and invitations; `webhooks.rs`: addresses, and what they were to be told).

mod callers;
mod news;
mod people;
mod rows;
mod rules;
mod webhooks;

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

use self::news::News;
use super::{
    Audit, AuditError, Head,
    export::{Export, Format, Options, unsigned_head},
};
use crate::decisions::Decisions;

/// Rows in one portion.
const PORTION: u32 = 200;
/// What two nodes' clocks may differ by.
const MOMENT_SECONDS: i64 = 2;
/// Looks at a row that is doubted: one that changed between the log and the look agrees at the next.
const LOOKS: usize = 3;

/// What an operator is told of a log that has no head: it may be too young, and it may have been beheaded.
const NOTHING_SEALED: &str = "nothing is sealed. Of a server that was first started a moment ago: run `countersign audit \
                              checkpoint` and verify again. Else the head of this log was removed: compare with the \
                              checkpoints that you keep elsewhere";

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
    let mut outcome = look_through(audit, decisions, tenant_id, older, now).await;
    for _ in 1..LOOKS {
        // Somebody has made the retention shorter while the log was read.
        if !matches!(outcome, Err(AuditError::Overtaken)) {
            break;
        }
        outcome = look_through(audit, decisions, tenant_id, older, now).await;
    }
    match outcome {
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
            let detail = match error {
                AuditError::BeyondEnd => NOTHING_SEALED.to_owned(),
                error => error.to_string(),
            };
            findings.push(finding(Fault::Checkpoint, detail));
            let size = stored.map_or(0, |stored| stored.positioned.unsigned_abs());
            unsigned_head(audit.origin(tenant_id), size)
        }
    };
    let mut log = Log::default();
    let mut verifier = read_log(audit, tenant_id, &head, older, &mut log, &mut findings).await?;
    if !head.note.is_empty()
        && let Ok(line) = to_line(&Footer { checkpoint: head.note.clone() })
    {
        verifier.line(&line);
    }
    let mut suspicions = Vec::new();
    log.compare_challenges(audit, decisions, tenant_id, now, &mut suspicions).await?;
    log.compare_devices(audit, tenant_id, &mut suspicions).await?;
    for part in Part::ALL {
        suspicions.extend(log.compare_part(audit, tenant_id, part, now).await?);
    }
    let mut news = News::since(head.checkpoint.size);
    for _ in 0..LOOKS {
        news.follow(audit, tenant_id, &mut log, &mut findings).await?;
        if suspicions.is_empty() {
            break;
        }
        suspicions = log.look_again(audit, decisions, tenant_id, now, suspicions).await?;
    }
    news.judge(audit, tenant_id, &mut findings).await?;
    findings.extend(suspicions.into_iter().map(|found| finding(Fault::Row, found.detail)));
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

#[derive(Clone, Copy, PartialEq)]
enum About {
    Challenge(ChallengeId),
    Device(DeviceId),
    Part(Part),
    /// What cannot be read does not say what it is about.
    Unreadable,
}

/// What is looked at again as a whole.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Rules,
    Callers,
    People,
    Webhooks,
}

impl Part {
    const ALL: [Self; 4] = [Self::Rules, Self::Callers, Self::People, Self::Webhooks];
}

impl Suspicion {
    fn of_challenge(id: ChallengeId, why: &str) -> Self {
        Self { about: About::Challenge(id), detail: format!("challenges {id}: {why}") }
    }

    fn of_device(id: DeviceId, why: &str) -> Self {
        Self { about: About::Device(id), detail: format!("devices {id}: {why}") }
    }
}

/// A particular of an event.
fn word(event: &Event, name: &str) -> Option<String> {
    event.data.get(name).and_then(|word| word.as_str()).map(str::to_owned)
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
    rules: rules::Rules,
    callers: callers::Callers,
    people: people::People,
    webhooks: webhooks::Webhooks,
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
    /// Of the statements about its keys, and when, as above; `None` of an event that is older than these digests.
    bindings: Vec<(Timestamp, Option<String>)>,
}

impl Trace {
    fn set(&mut self, at: Timestamp, status: DeviceStatus) {
        self.statuses
            .retain(|(before, old)| *old == DeviceStatus::Revoked || before.plus_seconds(MOMENT_SECONDS) >= at);
        self.statuses.push((at, status));
    }

    fn bind(&mut self, at: Timestamp, digest: Option<String>) {
        self.bindings.retain(|(before, _)| before.plus_seconds(MOMENT_SECONDS) >= at);
        self.bindings.push((at, digest));
    }

    fn may_have(&self, digest: &str) -> bool {
        self.bindings.is_empty()
            || self.bindings.iter().any(|(_, known)| known.as_deref().is_none_or(|known| known == digest))
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
    log: &mut Log,
    findings: &mut Vec<Finding>,
) -> Result<Verifier, AuditError> {
    let options = Options { format: Format::Jsonl, from: 1, has_evidence: true };
    let mut export = Export::of(audit, tenant_id, options, head).await?;
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

impl Log {
    fn follow(&mut self, event: &Event) {
        self.rules.follow(event);
        self.callers.follow(event);
        self.people.follow(event);
        self.webhooks.follow(event);
        let word = |name| word(event, name);
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
                trace.user_id = event.user_id;
                trace.bind(event.created_at, binding());
                trace.set(event.created_at, DeviceStatus::Active);
            }
            ("device.key_changed", Some(id)) => {
                self.devices.entry(id).or_default().bind(event.created_at, binding());
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
        // What was sealed since has made the last tiles longer.
        let has_grown = is_end && audit.store.audit_head(tenant_id).await?.is_some_and(|head| head.size > self.size);
        for id in due {
            let known = self.tiles.bytes(id);
            let is_longer =
                |stored: &Vec<u8>| has_grown && stored.starts_with(&known) && stored.len().is_multiple_of(32);
            if !stored.get(&id).is_some_and(|stored| *stored == known || is_longer(stored)) {
                findings.push(finding(Fault::Tree, format!("audit_tiles level {} tile {}", id.level, id.index)));
            }
            changed.remove(&id);
            self.tiles.forget(id);
        }
        Ok(())
    }
}
