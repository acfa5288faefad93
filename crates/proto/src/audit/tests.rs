use serde_json::{Value, json};

use super::{
    export::{Absence, Entry, Footer, Header, VERSION, header_text},
    verify::{Fault, NotAnExport, Report, Verifier, to_line},
    *,
};
use crate::{jose::Jwks, timestamp::Timestamp};

/// The leaves and roots with which Certificate Transparency's reference implementation tests its tree.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn leaf(number: u64) -> Hash {
    leaf_hash(&number.to_be_bytes())
}

/// The tree as RFC 6962 section 2.1 defines it, by nothing but its definition.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_nothing(),
        [one] => *one,
        _ => {
            let mut middle = 1;
            while middle * 2 < leaves.len() {
                middle *= 2;
            }
            node_hash(&defined(&leaves[..middle]), &defined(&leaves[middle..]))
        }
    }
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let mut tree = Frontier::default();
    assert_eq!(tree.root().0.to_vec(), bytes("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for (entry, root) in LEAVES.iter().zip(ROOTS) {
        tree.push(leaf_hash(&bytes(entry)));
        assert_eq!(tree.root().0.to_vec(), bytes(root));
    }
}

#[test]
fn every_proof_of_a_small_tree_holds_and_no_other_one_does() {
    let leaves: Vec<_> = (0..40).map(leaf).collect();
    for size in 1..=40_u64 {
        let here = &leaves[..usize::try_from(size).unwrap()];
        let root = defined(here);
        let hash = |range: &std::ops::Range<u64>| {
            defined(&here[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()])
        };
        for index in 0..size {
            let proof: Vec<_> = inclusion_path(index, size).iter().map(hash).collect();
            let leaf = here[usize::try_from(index).unwrap()];
            assert!(verify_inclusion(leaf, index, size, &proof, root), "{index} of {size}");
            assert!(!verify_inclusion(leaf, index, size, &proof, leaf_hash(b"another")));
            assert!(!verify_inclusion(leaf_hash(b"another"), index, size, &proof, root));
            assert!(size == 1 || !verify_inclusion(leaf, (index + 1) % size, size, &proof, root));
            let longer = [proof.clone(), vec![root]].concat();
            assert!(!verify_inclusion(leaf, index, size, &longer, root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!verify_inclusion(leaf, index, size, shorter, root));
            }
        }
        for old in 1..=size {
            let old_root = defined(&here[..usize::try_from(old).unwrap()]);
            let proof: Vec<_> = consistency_path(old, size).iter().map(hash).collect();
            assert!(verify_consistency(old, old_root, size, root, &proof), "{old} to {size}");
            assert!(!verify_consistency(old, leaf_hash(b"another"), size, root, &proof));
            assert!(!verify_consistency(old, old_root, size, leaf_hash(b"another"), &proof));
            let longer = [proof.clone(), vec![root]].concat();
            assert!(!verify_consistency(old, old_root, size, root, &longer));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!verify_consistency(old, old_root, size, root, shorter));
            }
        }
        assert!(verify_consistency(0, Hash::of_nothing(), size, root, &[]));
        assert!(!verify_consistency(size + 1, root, size, root, &[]));
    }
}

/// A database with tiles.
#[derive(Default)]
struct Shelf(std::collections::HashMap<TileId, Vec<u8>>);

impl Shelf {
    fn read(&self, ids: impl IntoIterator<Item = TileId>) -> Tiles {
        let mut tiles = Tiles::default();
        for id in ids {
            if let Some(bytes) = self.0.get(&id) {
                assert!(tiles.insert(id, bytes));
            }
        }
        tiles
    }

    fn append(&mut self, size: u64, leaves: &[Hash]) -> usize {
        let mut tiles = self.read(Tiles::edge(size));
        let changed = tiles.append(size, leaves).unwrap();
        for id in &changed {
            self.0.insert(*id, tiles.bytes(*id));
        }
        changed.len()
    }

    fn hash(&self, range: std::ops::Range<u64>) -> Option<Hash> {
        self.read(Tiles::needed(std::slice::from_ref(&range))).hash_over(range)
    }
}

#[test]
fn a_tree_in_tiles_is_the_same_tree_and_an_append_touches_few_of_them() {
    let leaves: Vec<_> = (0..70_000).map(leaf).collect();
    let (mut shelf, mut tree, mut size) = (Shelf::default(), Frontier::default(), 0_u64);
    for count in [1, 1, 253, 1, 1, 255, 256, 257, 700, 10, 65_000 - 1_735, 700, 3, 1] {
        let at = usize::try_from(size).unwrap();
        let touched = shelf.append(size, &leaves[at..at + count]);
        assert!(touched <= count / 256 + count / 65_536 + 6, "{touched} for {count}");
        leaves[at..at + count].iter().for_each(|leaf| tree.push(*leaf));
        size += count as u64;
        assert_eq!((shelf.hash(0..size), tree.size()), (Some(tree.root()), size));
        let edge = shelf.read(Tiles::edge(size));
        assert_eq!(edge.hash_over(0..size), Some(tree.root()), "the edge is enough for the root of {size}");
        assert_eq!(Frontier::new(size, edge.peaks(size).unwrap()), Some(tree.clone()));
    }
    assert_eq!(tree.root(), defined(&leaves[..usize::try_from(size).unwrap()]));
    for (index, old) in [(0, 1), (255, 256), (256, 257), (511, 513), (40_000, 65_536), (65_537, 65_600)] {
        let hashes = |path: Vec<std::ops::Range<u64>>| -> Vec<_> {
            let tiles = shelf.read(Tiles::needed(&path));
            path.into_iter().map(|range| tiles.hash_over(range).unwrap()).collect()
        };
        let proof = hashes(inclusion_path(index, size));
        assert!(verify_inclusion(leaf(index), index, size, &proof, tree.root()));
        let proof = hashes(consistency_path(old, size));
        assert!(verify_consistency(old, shelf.hash(0..old).unwrap(), size, tree.root(), &proof));
        assert_eq!(shelf.hash(0..old), Some(defined(&leaves[..usize::try_from(old).unwrap()])));
    }
}

#[test]
fn tiles_that_are_no_tiles_or_not_of_this_size_are_refused() {
    let id = TileId { level: 0, index: 0 };
    for bytes in [vec![], vec![0; 31], vec![0; 33], vec![0; 257 * 32]] {
        assert!(!Tiles::default().insert(id, &bytes));
    }
    assert_eq!(Tiles::default().append(3, &[leaf(3)]), None, "three leaves are missing");
    assert_eq!(Tiles::default().hash_over(0..3), None);
    // What somebody appended who then lost is not kept.
    let mut tiles = Tiles::default();
    tiles.append(0, &[leaf(0), leaf(7), leaf(8)]).unwrap();
    tiles.append(1, &[leaf(1)]).unwrap();
    assert_eq!(tiles.hash_over(0..2), Some(defined(&[leaf(0), leaf(1)])));
}

#[test]
fn a_published_note_verifies_and_is_signed_alike() {
    // From the documentation of golang.org/x/mod/sumdb/note.
    let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let note = format!(
        "{text}\n\u{2014} PeterNeumann \
         x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    assert_eq!(open_note(&note, &key), Ok(text));
    assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    assert!("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8".parse::<VerifierKey>().is_ok());
    for wrong in
        ["sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8", "a+b", "", "a b+00000000+AQ=="]
    {
        assert_eq!(wrong.parse::<VerifierKey>(), Err(NoteError::Key), "{wrong}");
    }
}

fn log_key() -> LogKey {
    LogKey::from_seed(&[7; 32]).unwrap()
}

#[test]
fn a_checkpoint_is_believed_under_its_own_key_and_name_only() {
    let key = log_key();
    let checkpoint = Checkpoint { origin: "example.com/audit/1".to_owned(), size: 3, root: leaf(3) };
    let note = checkpoint.sign(&key);
    let verifier = key.verifier("example.com/audit/1");
    assert_eq!(Checkpoint::open(&note, &verifier), Ok(checkpoint.clone()));
    // A witness adds its line; nobody has to know it.
    let cosigned = format!("{note}\u{2014} witness.example AAAAAAAAAAAA\n");
    assert_eq!(Checkpoint::open(&cosigned, &verifier), Ok(checkpoint.clone()));
    let stranger = LogKey::from_seed(&[8; 32]).unwrap();
    for note in [
        note.replace("\n3\n", "\n4\n"),
        checkpoint.sign(&stranger),
        sign_note(&checkpoint.text(), "another", &key),
        note.replace("example.com", "example.org"),
    ] {
        assert_eq!(Checkpoint::open(&note, &verifier), Err(NoteError::Signature), "{note}");
    }
    let other_origin = sign_note("other\n3\n\n", "example.com/audit/1", &key);
    assert!(Checkpoint::open(&other_origin, &verifier).is_err());
    for text in ["", "x", "a\n3\n", "a\n03\nAA==\n\n"] {
        assert!(Checkpoint::open(text, &verifier).is_err(), "{text}");
    }
    assert_eq!(Checkpoint::open(&note.replace("\n\n", "\n\r\n"), &verifier), Err(NoteError::Malformed));
    assert!(!format!("{key:?}").contains('7'));
}

#[test]
fn an_event_has_one_spelling() {
    let text = "\u{1}\u{8}\t\n\u{c}\r\"\\/é\u{7f}\u{2028}😀";
    let value = json!({"b": [1, true, null, -5], "a": {"z": text, "y": ""}, "A": u64::MAX});
    let spelled = canonical(&value).unwrap();
    assert_eq!(
        spelled,
        "{\"A\":18446744073709551615,\"a\":{\"y\":\"\",\"z\":\"\\u0001\\b\\t\\n\\f\\r\\\"\\\\/é\u{7f}\u{2028}😀\"},\
         \"b\":[1,true,null,-5]}"
    );
    assert_eq!(serde_json::from_str::<Value>(&spelled).unwrap(), value);
    assert_eq!(canonical(&json!({"a": 1.5})), Err(NotCanonical));
}

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
