//! The live database against its own log: every event as an export would hold it, every tile, and every row that could
//! change a decision or its record, against what the log says.
//!
//! Changes nothing but positions, and believes nothing: a head that is not signed is a finding, and the rest is looked
//! through all the same. Rows that change while it runs are looked for in what the log has got meanwhile. To compare one
//! more table: its rows in core's `ports/audit.rs`, what the log says of it in `follow`, its comparison here.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use countersign_core::{
    challenge::ChallengeRecord,
    device::KeyRole,
    ports::{
        PageRequest, StoreError,
        audit::{AuditedDevice, AuditedKey},
        challenges::ChallengeFilter,
    },
    verify::Signer,
};
use countersign_proto::{
    api::events::Event,
    audit::{
        Hash, TileId, Tiles,
        export::Footer,
        leaf_hash_of,
        verify::{Fault, Finding, Report, Verifier, to_line},
    },
    ids::{ChallengeId, DeviceId, TenantId, UserId},
    jose::{PublicKey, sha256},
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, DeviceStatus, Word as _},
};

use super::{
    Audit, AuditError, Head,
    export::{Export, Format, Options, unsigned_head},
};
use crate::decisions::{Decisions, Viewer};

/// Rows in one portion.
const PORTION: u32 = 200;
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
    challenges: HashMap<ChallengeId, Option<ChallengeStatus>>,
    devices: HashMap<DeviceId, Trace>,
    erased: HashSet<UserId>,
    tiles: Tiles,
    size: u64,
}

/// What the log says of a device that became active.
struct Trace {
    user_id: Option<UserId>,
    status: DeviceStatus,
    /// Of the statement about its keys; `None` if the log is older than that.
    binding_sha256: Option<String>,
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
        if let Some(id) = event.challenge_id {
            let end = match event.kind.as_str() {
                "challenge.approved" => Some(ChallengeStatus::Approved),
                "challenge.denied" => Some(ChallengeStatus::Denied),
                "challenge.expired" => Some(ChallengeStatus::Expired),
                "challenge.cancelled" => Some(ChallengeStatus::Cancelled),
                _ => None,
            };
            let known = self.challenges.entry(id).or_default();
            *known = known.or(end);
        }
        let binding = || event.data.get("binding_sha256").and_then(|digest| digest.as_str()).map(str::to_owned);
        match (event.kind.as_str(), event.device_id) {
            ("device.added", Some(id)) => {
                let status = DeviceStatus::Active;
                let (user_id, binding_sha256) = (event.user_id, binding());
                self.devices.entry(id).or_insert(Trace { user_id, status, binding_sha256 });
            }
            ("device.key_changed", Some(id)) => {
                if let Some(trace) = self.devices.get_mut(&id) {
                    trace.binding_sha256 = binding();
                }
            }
            ("device.suspended", Some(id)) => self.set_status(id, DeviceStatus::Suspended),
            ("device.resumed", Some(id)) => self.set_status(id, DeviceStatus::Active),
            ("device.revoked" | "device.deregistered", Some(id)) => self.set_status(id, DeviceStatus::Revoked),
            ("user.erased", _) => self.erased.extend(event.user_id),
            _ => {}
        }
    }

    fn set_status(&mut self, id: DeviceId, status: DeviceStatus) {
        if let Some(trace) = self.devices.get_mut(&id)
            && trace.status != DeviceStatus::Revoked
        {
            trace.status = status;
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

    async fn compare_challenges(
        &self,
        audit: &Audit,
        decisions: &Decisions,
        tenant_id: TenantId,
        now: Timestamp,
        suspicions: &mut Vec<Suspicion>,
    ) -> Result<(), AuditError> {
        let mut before = None;
        loop {
            let page = PageRequest { before, limit: PORTION };
            let rows = match audit.store.challenges(tenant_id, ChallengeFilter::default(), page).await {
                Ok(rows) => rows,
                Err(StoreError::Corrupt { table, column, row }) => {
                    let detail = format!("{table} {row}: {column} cannot be read");
                    suspicions.push(Suspicion { about: About::default(), detail });
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            for row in &rows {
                if let Some(why) = self.doubt_challenge(decisions, row, now) {
                    suspicions.push(Suspicion::of_challenge(row.facts.id, &why));
                }
            }
            before = rows.last().map(|last| last.facts.id);
            if rows.len() < PORTION as usize {
                return Ok(());
            }
        }
    }

    fn doubt_challenge(&self, decisions: &Decisions, row: &ChallengeRecord, now: Timestamp) -> Option<String> {
        let Some(end) = self.challenges.get(&row.facts.id) else {
            return Some("no event tells of it".to_owned());
        };
        let said = end.unwrap_or(ChallengeStatus::Pending);
        if said != row.status {
            return Some(format!("it is {}, the log says {}", row.status.as_str(), said.as_str()));
        }
        if row.erased_at.is_some() {
            let is_erased = self.erased.contains(&row.facts.user.id);
            return (!is_erased).then(|| "erased, of a person who was not".to_owned());
        }
        decisions.show(row, Viewer::Auditor, false, now).err().map(|_| "it does not verify".to_owned())
    }

    async fn compare_devices(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        suspicions: &mut Vec<Suspicion>,
    ) -> Result<(), AuditError> {
        let mut unmet: HashSet<_> = self.devices.keys().copied().collect();
        let mut after = None;
        loop {
            let rows = match audit.store.audited_devices(tenant_id, after, PORTION).await {
                Ok(rows) => rows,
                Err(StoreError::Corrupt { table, column, row }) => {
                    let detail = format!("{table} {row}: {column} cannot be read");
                    suspicions.push(Suspicion { about: About::default(), detail });
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let mut keys: HashMap<DeviceId, Vec<AuditedKey>> = HashMap::new();
            for key in audit.store.audited_keys(&ids).await? {
                keys.entry(key.device_id).or_default().push(key);
            }
            for row in &rows {
                unmet.remove(&row.id);
                let keys = keys.remove(&row.id).unwrap_or_default();
                if let Some(why) = self.doubt_device(audit, tenant_id, row, &keys) {
                    suspicions.push(Suspicion::of_device(row.id, why));
                }
            }
            after = rows.last().map(|last| last.id);
            if rows.len() < PORTION as usize {
                break;
            }
        }
        let is_erased = |id: &DeviceId| {
            self.devices.get(id).and_then(|trace| trace.user_id).is_some_and(|user| self.erased.contains(&user))
        };
        unmet.retain(|id| !is_erased(id));
        suspicions.extend(unmet.into_iter().map(|id| Suspicion::of_device(id, "the log tells of it, and it is gone")));
        Ok(())
    }

    fn doubt_device(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        row: &AuditedDevice,
        keys: &[AuditedKey],
    ) -> Option<&'static str> {
        let Some(trace) = self.devices.get(&row.id) else {
            // Nobody has confirmed it yet, or ever did: it may do nothing.
            let may_do_nothing = matches!(row.status, DeviceStatus::PendingConfirmation | DeviceStatus::Revoked);
            return (!may_do_nothing).then_some("no event made it active");
        };
        if trace.user_id != Some(row.user_id) {
            return Some("it is another person's in the log");
        }
        if trace.status != row.status {
            return Some("its status is another one in the log");
        }
        if row.is_erased {
            return (!self.erased.contains(&row.user_id)).then_some("erased, of a person who was not");
        }
        let Some(binding) = &row.binding else { return Some("the statement about its keys is gone") };
        if trace.binding_sha256.as_ref().is_some_and(|digest| *digest != sha256(&binding.jws)) {
            return Some("the statement about its keys is another one in the log");
        }
        let current =
            [(Some(&row.key_thumbprint), KeyRole::Device), (row.uv_thumbprint.as_ref(), KeyRole::UserVerification)];
        for (thumbprint, role) in current {
            let Some(thumbprint) = thumbprint else { continue };
            let key = keys.iter().find(|key| key.thumbprint == thumbprint.as_str() && key.role == role.as_str());
            let Some(key) = key.filter(|key| key.tenant_id == tenant_id) else {
                return Some("a current key of it is gone, or another's");
            };
            let signer = Signer { device_id: row.id, tenant_id, user_id: row.user_id, role };
            let public_key = PublicKey::from_sec1(&key.public_key).ok();
            let Some(public_key) = public_key.filter(|key| key.thumbprint() == *thumbprint) else {
                return Some("a current key of it is not what its thumbprint says");
            };
            match audit.keys.binds(binding, &signer, &public_key) {
                None => return Some("the statement about its keys does not hold"),
                Some(claims) if claims.external_id != row.external_id => return Some("its person has another name"),
                Some(claims) if claims.uv_jwk.is_some() != row.uv_thumbprint.is_some() => {
                    return Some("it has a key more or less than stated");
                }
                Some(_) => {}
            }
        }
        let is_itself = |key: &AuditedKey| {
            PublicKey::from_sec1(&key.public_key).is_ok_and(|public| public.thumbprint().as_str() == key.thumbprint)
                && key.tenant_id == tenant_id
        };
        (!keys.iter().all(is_itself)).then_some("a former key of it is not what its thumbprint says")
    }
}
