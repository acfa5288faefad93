//! Exports, whole and touched: what the offline verifier says of them.

use serde_json::{Value, json};

use super::{
    super::{
        export::{Absence, Entry, Footer, Header, VERSION, header_text},
        verify::{Fault, NotAnExport, Report, Verifier, to_line},
        *,
    },
    leaf, log_key,
};
use crate::{jose::Jwks, timestamp::Timestamp};

const TENANT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const CHALLENGE: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

/// An export of events that need no evidence, made as the server makes it.
struct Export {
    header: Header,
    entries: Vec<Entry>,
    note: String,
}

fn event(position: u64, kind: &str) -> Value {
    json!({"id": format!("01890a5d-ac96-774b-bcce-{position:012x}"), "position": position, "type": kind,
        "actor": {"type": "system"}, "challenge_id": CHALLENGE, "request_id": "r",
        "created_at": Timestamp::from_seconds(1_800_000_000), "data": {}})
}

fn export(kinds: &[&str]) -> Export {
    let (key, origin) = (log_key(), format!("example.com/audit/{TENANT}"));
    let entries: Vec<_> = kinds
        .iter()
        .zip(1..)
        .map(|(kind, position)| Entry { event: event(position, kind), evidence: None, without_evidence: None })
        .collect();
    let mut tree = Frontier::default();
    entries.iter().for_each(|entry| tree.push(leaf_hash_of(&entry.event).unwrap()));
    let jwks = Jwks { keys: Vec::new() };
    let mut header = Header {
        countersign_audit_export: VERSION,
        issuer: "https://example.com".to_owned(),
        tenant_id: TENANT.parse().unwrap(),
        log_key: key.verifier(&origin).to_string(),
        jwks,
        from: 1,
        before: Vec::new(),
        has_evidence: true,
        kept_since: None,
        header_note: String::new(),
    };
    sign(&mut header);
    let note = Checkpoint { origin, size: tree.size(), root: tree.root() }.sign(&key);
    Export { header, entries, note }
}

fn sign(header: &mut Header) {
    let origin = format!("example.com/audit/{TENANT}");
    let text = header_text(&origin, &serde_json::to_value(&header).unwrap()).unwrap();
    header.header_note = sign_note(&text, &origin, &log_key());
}

impl Export {
    fn verify(&self, older: &[String]) -> Report {
        let mut verifier = Verifier::begin(&to_line(&self.header).unwrap(), None, older).unwrap();
        for entry in &self.entries {
            verifier.line(&to_line(entry).unwrap());
        }
        verifier.line(&to_line(&Footer { checkpoint: self.note.clone() }).unwrap());
        verifier.finish()
    }

    /// Signs what is here now.
    fn seal(&mut self) {
        let mut tree = Frontier::default();
        self.entries.iter().for_each(|entry| tree.push(leaf_hash_of(&entry.event).unwrap()));
        let origin = format!("example.com/audit/{TENANT}");
        self.note = Checkpoint { origin, size: tree.size(), root: tree.root() }.sign(&log_key());
        sign(&mut self.header);
    }

    fn faults(&self) -> Vec<Fault> {
        self.verify(&[]).findings.iter().map(|finding| finding.fault).collect()
    }
}

const ONE_CANCELLED: [&str; 3] = ["tenant.created", "challenge.created", "challenge.cancelled"];

#[test]
fn an_untouched_export_is_good_and_any_touch_is_named() {
    let good = export(&ONE_CANCELLED).verify(&[]);
    assert!(good.is_good(), "{:?}", good.findings);
    assert_eq!((good.events, good.checkpoint.map(|(size, _)| size)), (3, Some(3)));

    let mut edited = export(&ONE_CANCELLED);
    edited.entries[1].event["request_id"] = json!("s");
    assert_eq!(edited.faults(), [Fault::Tree]);
    let mut grown = export(&ONE_CANCELLED);
    grown.entries[1].event["unknown"] = json!("member");
    assert_eq!(grown.faults(), [Fault::Tree], "what no type knows is hashed, too");
    let mut shortened = export(&ONE_CANCELLED);
    shortened.entries.remove(0);
    assert_eq!(shortened.faults(), [Fault::Tree, Fault::Position, Fault::Position]);
    let mut longer = export(&ONE_CANCELLED);
    longer.entries.push(Entry { event: event(4, "user.created"), evidence: None, without_evidence: None });
    assert_eq!(longer.faults(), [Fault::Tree]);
    let mut keys = export(&ONE_CANCELLED);
    keys.header.jwks.keys.push(crate::jose::ServerJwk::of(&crate::jose::SigningKey::generate().unwrap().public_key()));
    assert_eq!(keys.faults(), [Fault::Keys]);
}

#[test]
fn an_export_that_is_broken_off_is_none() {
    let whole = export(&ONE_CANCELLED);
    let mut verifier = Verifier::begin(&to_line(&whole.header).unwrap(), None, &[]).unwrap();
    verifier.line(&to_line(&whole.entries[0]).unwrap());
    assert_eq!(verifier.finish().findings[0].fault, Fault::BrokenOff);
    let mut verifier = Verifier::begin(&to_line(&whole.header).unwrap(), None, &[]).unwrap();
    verifier.line(b"{\"event\": {\"a\"");
    assert!(verifier.finish().findings.iter().any(|finding| finding.fault == Fault::Unreadable));
    assert!(matches!(Verifier::begin(b"{}", None, &[]), Err(NotAnExport::Header)));
    let stranger = LogKey::from_seed(&[8; 32]).unwrap().verifier("example.com");
    let begun = Verifier::begin(&to_line(&whole.header).unwrap(), Some(&stranger), &[]);
    assert!(matches!(begun, Err(NotAnExport::Key)));
}

#[test]
fn a_checkpoint_that_was_kept_elsewhere_must_be_of_the_same_log() {
    let (old, now) = (export(&ONE_CANCELLED[..2]), export(&ONE_CANCELLED));
    assert!(now.verify(std::slice::from_ref(&old.note)).is_good());
    // The database was put back: the log is shorter than what was seen of it.
    let report = old.verify(std::slice::from_ref(&now.note));
    assert_eq!(report.findings[0].fault, Fault::OlderCheckpoint);
    // Or rewritten and sealed anew.
    let rewritten = export(&["tenant.created", "user.created", "user.erased"]);
    assert_eq!(rewritten.verify(&[old.note]).findings[0].fault, Fault::OlderCheckpoint);
}

#[test]
fn a_part_of_the_log_verifies_by_itself() {
    let mut part = export(&ONE_CANCELLED);
    let mut before = Frontier::default();
    part.entries.drain(..2).for_each(|entry| before.push(leaf_hash_of(&entry.event).unwrap()));
    (part.header.from, part.header.before) = (3, before.peaks().to_vec());
    assert_eq!(part.faults(), [Fault::Keys], "what is left out is signed, too");
    sign(&mut part.header);
    let report = part.verify(&[]);
    assert!(report.is_good() && !report.is_complete() && report.from == 3);
    part.header.before = vec![leaf(1)];
    sign(&mut part.header);
    assert_eq!(part.faults(), [Fault::Tree]);
}

#[test]
fn a_challenge_ends_once_after_it_was_asked_and_a_decision_has_evidence() {
    assert_eq!(export(&["challenge.cancelled"]).faults(), [Fault::NeverAsked]);
    let twice = ["challenge.created", "challenge.expired", "challenge.cancelled"];
    assert_eq!(export(&twice).faults(), [Fault::DecidedTwice]);
    // On another node, whose clock is behind.
    assert_eq!(export(&["challenge.expired", "challenge.created"]).faults(), []);
    let mut approved = export(&["challenge.created", "challenge.approved"]);
    assert_eq!(approved.faults(), [Fault::EvidenceMissing]);
    approved.entries[1].without_evidence = Some(Absence::Missing);
    assert_eq!(approved.faults(), [Fault::EvidenceMissing]);
    approved.entries[1].without_evidence = Some(Absence::Deleted);
    assert_eq!(approved.faults(), [Fault::EvidenceMissing], "nothing is deleted here");
}

/// An approval of a challenge that was made at `made`, written down at `at`, among events of these times.
fn absent(made: i64, at: i64, before: i64, absence: Absence) -> Export {
    let mut export = export(&["tenant.created", "challenge.created", "challenge.approved"]);
    let id = format!("{:08x}-{:04x}-774b-bcce-b302099a8058", (made * 1_000) >> 16, (made * 1_000) & 0xffff);
    for (entry, time) in export.entries.iter_mut().zip([before, at, at]) {
        entry.event["challenge_id"] = json!(id);
        entry.event["user_id"] = json!(TENANT);
        entry.event["created_at"] = json!(Timestamp::from_seconds(time));
    }
    export.entries[2].without_evidence = Some(absence);
    export.header.kept_since = Some(Timestamp::from_seconds(NOW - 90 * DAY));
    export.seal();
    export
}

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 60 * 60;

#[test]
fn a_decision_without_evidence_is_old_and_was_written_down_when_it_was_made() {
    let old = NOW - 91 * DAY;
    let report = absent(old, old + 5, old - 5, Absence::Deleted).verify(&[]);
    assert!(report.is_good(), "{:?}", report.findings);
    assert_eq!((report.deleted, report.is_complete()), (1, true));
    for (why, forged) in [
        ("slipped in today", absent(old, old + 5, NOW, Absence::Deleted)),
        ("with today's time", absent(old, NOW, NOW, Absence::Deleted)),
        ("of yesterday", absent(NOW - DAY, NOW - DAY, NOW - DAY, Absence::Deleted)),
        ("of nobody who was erased", absent(old, old, old, Absence::Erased)),
    ] {
        assert_eq!(forged.faults().len(), 1, "{why}: {:?}", forged.faults());
    }
}

#[test]
fn only_what_was_decided_before_somebody_was_erased_goes_with_them() {
    let with_erasure = |decided_at: i64, erased_at: i64, is_before: bool| {
        let mut export = absent(decided_at, decided_at, decided_at - 900, Absence::Erased);
        let mut erasure = Entry { event: event(4, "user.erased"), evidence: None, without_evidence: None };
        erasure.event["user_id"] = json!(TENANT);
        erasure.event["created_at"] = json!(Timestamp::from_seconds(erased_at));
        export.entries.insert(if is_before { 1 } else { 3 }, erasure);
        for (entry, position) in export.entries.iter_mut().zip(1..) {
            entry.event["position"] = json!(position);
        }
        export.seal();
        export
    };
    let good = with_erasure(NOW, NOW + 60, false).verify(&[]);
    assert!(good.is_good() && good.erased == 1, "{:?}", good.findings);
    assert_eq!(with_erasure(NOW, NOW - 1, true).faults(), [], "of the same moment");
    assert_eq!(with_erasure(NOW, NOW - 120, true).faults(), [Fault::ErasedWithoutEvent]);
}

#[test]
fn what_an_export_leaves_out_is_told() {
    let mut export = export(&["challenge.created", "challenge.approved"]);
    export.header.has_evidence = false;
    assert_eq!(export.faults(), [Fault::Keys], "nobody can say so but the log key");
    sign(&mut export.header);
    let report = export.verify(&[]);
    assert_eq!((report.is_good(), report.unexamined, report.is_complete()), (true, 1, false));
    let mut other = export;
    other.header.tenant_id = CHALLENGE.parse().unwrap();
    assert!(matches!(Verifier::begin(&to_line(&other.header).unwrap(), None, &[]), Err(NotAnExport::Header)));
}

#[test]
fn what_was_kept_is_good_after_a_move_to_another_public_url() {
    let export = export(&ONE_CANCELLED);
    let key = log_key();
    let former = format!("former.example:8443/audit/{TENANT}");
    let line = to_line(&export.header).unwrap();
    let mut tree = Frontier::default();
    tree.push(leaf_hash_of(&export.entries[0].event).unwrap());
    let kept = Checkpoint { origin: former.clone(), size: 1, root: tree.root() }.sign(&key);
    assert!(Verifier::begin(&line, Some(&key.verifier(&former)), std::slice::from_ref(&kept)).is_ok());
    assert!(export.verify(&[kept]).is_good());
    for other in [format!("former.example/audit/{CHALLENGE}"), "former.example".to_owned()] {
        let note = Checkpoint { origin: other.clone(), size: 1, root: tree.root() }.sign(&key);
        assert!(matches!(Verifier::begin(&line, Some(&key.verifier(&other)), &[]), Err(NotAnExport::Key)));
        assert!(matches!(Verifier::begin(&line, None, &[note]), Err(NotAnExport::Older(_))));
    }
}
