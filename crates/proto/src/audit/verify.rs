//! Verifies an export, line by line, without the server: in memory that grows with the number of open questions, not with
//! the size of the texts.
//!
//! Two questions: is this what the server signed (tree, checkpoints), and does each decision in it hold (evidence). A
//! fault never ends the verification: all of them are reported, each with its position.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    absence::Absences,
    decisions::{ENDS, compare, is_decision, word},
    export::{Absence, Entry, Footer, Header, VERSION, header_text},
    merkle::{Frontier, Hash},
    note::{Checkpoint, NoteError, VerifierKey, open_note, origin_of_note},
};
use crate::{
    api::events::Event,
    evidence::{self, Evidence},
    ids::{ChallengeId, DeviceId},
    jose, json,
};

pub use super::report::{Fault, Finding, Report};

/// Why an export cannot even be begun to verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnExport {
    /// The first line is no header of this version.
    #[error("the first line is not the header of an audit export")]
    Header,
    /// The log key is none, or not the one that is trusted.
    #[error("the export names another log key than the one that you trust")]
    Key,
    /// An older checkpoint is not signed by the log key.
    #[error("an older checkpoint: {0}")]
    Older(NoteError),
}

/// A verification under way.
pub struct Verifier {
    key: VerifierKey,
    header: Header,
    tree: Frontier,
    /// Roots that must come by, by size.
    older: BTreeMap<u64, Hash>,
    /// Asked, and not yet ended: the digest of the challenge, if the event has it.
    asked: HashMap<ChallengeId, Option<String>>,
    /// Ended before it was asked: clocks of several nodes differ by a moment. With its position and challenge's digest.
    early: HashMap<ChallengeId, (u64, Option<String>)>,
    ended: HashSet<ChallengeId>,
    /// The digests of a device's bindings; `None` if an event of it has none: then nothing is known.
    bindings: HashMap<DeviceId, Option<Vec<String>>>,
    /// Decisions under a binding that the log had not told of by then: position, device, digest.
    unbound: Vec<(u64, DeviceId, String)>,
    absences: Absences,
    is_closed: bool,
    report: Report,
}

impl Verifier {
    /// Begins with the first line. Under `trusted`, or else under the key that the export itself names, which proves that
    /// the export is consistent, not whose it is. `older` are checkpoints that were kept elsewhere.
    ///
    /// # Errors
    /// [`NotAnExport`].
    pub fn begin(line: &[u8], trusted: Option<&VerifierKey>, older: &[String]) -> Result<Self, NotAnExport> {
        let value = json::parse(line).map_err(|_| NotAnExport::Header)?;
        let header: Header = serde_json::from_value(value.clone()).map_err(|_| NotAnExport::Header)?;
        if header.countersign_audit_export != VERSION {
            return Err(NotAnExport::Header);
        }
        let key: VerifierKey = header.log_key.parse().map_err(|_| NotAnExport::Key)?;
        if trusted.is_some_and(|trusted| trusted.of_same_log(key.name()).as_ref() != Some(&key)) {
            return Err(NotAnExport::Key);
        }
        if !key.name().ends_with(&format!("/audit/{}", header.tenant_id)) {
            return Err(NotAnExport::Header);
        }
        let first = header.from.checked_sub(1).ok_or(NotAnExport::Header)?;
        let tree = Frontier::new(first, header.before.clone()).ok_or(NotAnExport::Header)?;
        let mut report = Report { from: header.from, ..Report::default() };
        let known = read_older(older, &key, first, &mut report)?;
        let signed = header_text(key.name(), &value);
        if signed.is_none() || open_note(&header.header_note, &key).ok() != signed.as_deref() {
            let detail = "the header, with the server's public keys, is not signed by the log key".to_owned();
            report.findings.push(Finding { position: None, fault: Fault::Keys, detail });
        }
        let mut verifier = Self {
            key,
            absences: Absences::new(header.kept_since),
            header,
            tree,
            older: known,
            asked: HashMap::new(),
            early: HashMap::new(),
            ended: HashSet::new(),
            bindings: HashMap::new(),
            unbound: Vec::new(),
            is_closed: false,
            report,
        };
        verifier.compare_older();
        Ok(verifier)
    }

    /// One more line.
    pub fn line(&mut self, line: &[u8]) {
        if self.is_closed {
            return self.find(None, Fault::Unreadable, "a line after the checkpoint");
        }
        let Ok(value) = json::parse(line) else {
            return self.find(Some(self.tree.size() + 1), Fault::Unreadable, "not JSON");
        };
        if value.get("checkpoint").is_some() {
            return match serde_json::from_value::<Footer>(value) {
                Ok(footer) => self.close(&footer.checkpoint),
                Err(_) => self.find(None, Fault::Unreadable, "the last line"),
            };
        }
        match serde_json::from_value::<Entry>(value) {
            Ok(entry) => self.entry(&entry),
            Err(_) => self.find(Some(self.tree.size() + 1), Fault::Unreadable, "no event"),
        }
    }

    /// One more event, as a line holds it.
    pub fn entry(&mut self, entry: &Entry) {
        let place = self.tree.size() + 1;
        let Ok(leaf) = super::leaf_hash_of(&entry.event) else {
            return self.find(Some(place), Fault::Unreadable, "not canonical");
        };
        self.tree.push(leaf);
        self.report.events += 1;
        self.compare_older();
        let Ok(event) = serde_json::from_value::<Event>(entry.event.clone()) else {
            return self.find(Some(place), Fault::Unreadable, "not an event");
        };
        if event.position != place {
            self.find(Some(place), Fault::Position, &format!("the event says {}", event.position));
        }
        self.follow(&event, entry);
        if is_decision(&event) {
            if self.header.has_evidence {
                self.decision(&event, entry);
            } else {
                self.report.unexamined += 1;
            }
        }
        self.absences.follow(&event);
    }

    /// The end: what came of it.
    pub fn finish(mut self) -> Report {
        if !self.is_closed {
            self.find(None, Fault::BrokenOff, "the export has no checkpoint at its end");
        }
        for (size, _) in std::mem::take(&mut self.older) {
            self.find(None, Fault::OlderCheckpoint, &format!("of size {size}: the log is shorter now"));
        }
        for (id, (position, _)) in std::mem::take(&mut self.early) {
            if self.header.from == 1 {
                self.find(Some(position), Fault::NeverAsked, &format!("challenge {id}"));
            }
        }
        for (position, device, digest) in std::mem::take(&mut self.unbound) {
            let is_known = match self.bindings.get(&device) {
                Some(Some(known)) => known.contains(&digest),
                // An event from before digests were kept.
                Some(None) => true,
                None => self.header.from > 1,
            };
            if !is_known {
                self.find(Some(position), Fault::UnknownBinding, &format!("device {device}"));
            }
        }
        for (position, user) in self.absences.unfounded() {
            self.find(Some(position), Fault::ErasedWithoutEvent, &format!("user {user}"));
        }
        self.report.findings.sort_by_key(|finding| (finding.position, finding.fault));
        self.report
    }

    /// Whether the log says that this challenge has ended: for whoever compares it with rows.
    pub fn has_ended(&self, id: ChallengeId) -> bool {
        self.ended.contains(&id)
    }

    fn find(&mut self, position: Option<u64>, fault: Fault, detail: &str) {
        self.report.findings.push(Finding { position, fault, detail: detail.to_owned() });
    }

    fn compare_older(&mut self) {
        let size = self.tree.size();
        if let Some(root) = self.older.remove(&size)
            && root != self.tree.root()
        {
            self.find(None, Fault::OlderCheckpoint, &format!("of size {size}: the events up to it were others"));
        }
    }

    fn close(&mut self, note: &str) {
        self.is_closed = true;
        let (size, root) = (self.tree.size(), self.tree.root());
        match Checkpoint::open(note, &self.key) {
            Err(error) => self.find(None, Fault::Checkpoint, &error.to_string()),
            Ok(signed) if signed.size != size => {
                self.find(None, Fault::Tree, &format!("{} events are signed, {size} are here", signed.size));
            }
            Ok(signed) if signed.root != root => {
                self.find(None, Fault::Tree, "the events are not those that were signed");
            }
            Ok(_) => self.report.checkpoint = Some((size, root)),
        }
    }

    /// What the log says of challenges, bindings and persons, to compare with what comes.
    fn follow(&mut self, event: &Event, entry: &Entry) {
        let digest = |name: &str| word(event, name).map(str::to_owned);
        match (event.kind.as_str(), event.challenge_id, event.device_id) {
            ("challenge.created", Some(id), _) => self.ask(event.position, id, digest("challenge_sha256")),
            (kind, Some(id), _) if ENDS.contains(&kind) => {
                let challenge = entry.evidence.as_ref().map(|evidence| jose::sha256(&evidence.challenge));
                self.end(event.position, id, challenge);
            }
            ("device.added" | "device.key_changed", _, Some(id)) => {
                let known = self.bindings.entry(id).or_insert_with(|| Some(Vec::new()));
                match (digest("binding_sha256"), known.as_mut()) {
                    (Some(binding), Some(known)) => known.push(binding),
                    (None, _) => *known = None,
                    (Some(_), None) => {}
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, position: u64, id: ChallengeId, digest: Option<String>) {
        if let Some((_, answered)) = self.early.remove(&id) {
            self.compare_challenge(position, id, digest.as_deref(), answered.as_deref());
        } else if self.ended.contains(&id) || self.asked.insert(id, digest).is_some() {
            self.find(Some(position), Fault::DecidedTwice, &format!("challenge {id} is asked again"));
        }
    }

    fn end(&mut self, position: u64, id: ChallengeId, answered: Option<String>) {
        if !self.ended.insert(id) {
            return self.find(Some(position), Fault::DecidedTwice, &format!("challenge {id}"));
        }
        match self.asked.remove(&id) {
            Some(asked) => self.compare_challenge(position, id, asked.as_deref(), answered.as_deref()),
            None => _ = self.early.insert(id, (position, answered)),
        }
    }

    fn compare_challenge(&mut self, position: u64, id: ChallengeId, asked: Option<&str>, answered: Option<&str>) {
        if let (Some(asked), Some(answered)) = (asked, answered)
            && asked != answered
        {
            self.find(Some(position), Fault::Contradiction, &format!("challenge {id}: another text was asked"));
        }
    }

    fn decision(&mut self, event: &Event, entry: &Entry) {
        let position = Some(event.position);
        let id = event.challenge_id.map(|id| id.to_string()).unwrap_or_default();
        match (&entry.evidence, entry.without_evidence) {
            (Some(evidence), None) => match self.prove(event, evidence) {
                Ok(()) => self.report.verified += 1,
                Err((fault, why)) => self.find(position, fault, &format!("challenge {id}: {why}")),
            },
            (None, Some(absence)) => match self.absences.judge(event, absence) {
                Ok(()) if absence == Absence::Deleted => self.report.deleted += 1,
                Ok(()) => self.report.erased += 1,
                Err(why) => self.find(position, Fault::EvidenceMissing, &format!("challenge {id}: {why}")),
            },
            _ => self.find(position, Fault::EvidenceMissing, &format!("challenge {id}")),
        }
    }

    fn prove(&mut self, event: &Event, evidence: &Evidence) -> Result<(), (Fault, String)> {
        let jwks = &self.header.jwks;
        let proven = evidence::verify(evidence, &|thumbprint| jwks.find(thumbprint))
            .map_err(|error| (Fault::EvidenceInvalid, error.to_string()))?;
        let tenant = self.header.tenant_id.to_string();
        compare(event, evidence, &proven, &tenant)
            .map_err(|what| (Fault::Contradiction, format!("event and evidence differ in: {what}")))?;
        let digest = jose::sha256(&evidence.binding);
        if let Some(id) = event.device_id
            && !self.bindings.get(&id).and_then(Option::as_ref).is_some_and(|known| known.contains(&digest))
        {
            // Of the same moment, `device.added` may come later: judged at the end.
            self.unbound.push((event.position, id, digest));
        }
        Ok(())
    }
}

/// Roots that were kept elsewhere, by size.
fn read_older(
    notes: &[String],
    key: &VerifierKey,
    first: u64,
    report: &mut Report,
) -> Result<BTreeMap<u64, Hash>, NotAnExport> {
    let mut known = BTreeMap::new();
    for note in notes {
        // Also one from when the server had another public URL.
        let key = origin_of_note(note).and_then(|origin| key.of_same_log(origin));
        let checkpoint = key.ok_or(NoteError::Signature).and_then(|key| Checkpoint::open(note, &key));
        let checkpoint = checkpoint.map_err(NotAnExport::Older)?;
        let size = checkpoint.size;
        let detail = if size < first {
            format!("of size {size}, before the first event of this export")
        } else if known.insert(size, checkpoint.root).is_some_and(|root| root != checkpoint.root) {
            format!("two of size {size} with different roots")
        } else {
            continue;
        };
        report.findings.push(Finding { position: None, fault: Fault::OlderCheckpoint, detail });
    }
    Ok(known)
}

/// The header's own line, and each other line, as bytes without the line's end.
///
/// # Errors
/// It has no JSON form: never for these types.
pub fn to_line<T: serde::Serialize>(line: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}
