//! The tree, its proofs, tiles and notes against published ones; what is exported is in `exports`.

mod exports;

use serde_json::{Value, json};

use super::*;

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
