//! The Merkle tree of RFC 6962 section 2.1, and its proofs (RFC 9162 sections 2.1.3 and 2.1.4).
//!
//! Knows hashes only, not what they are of and not where they are kept.

use std::{fmt, ops::Range, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jose;

/// A SHA-256 hash of the tree. Its text is base64 with padding, as in checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The root of a tree without leaves.
    pub fn of_nothing() -> Self {
        Self(jose::digest(&[]))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not base64 of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of 32 bytes")]
pub struct NotAHash;

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let bytes = STANDARD.decode(text).map_err(|_| NotAHash)?;
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The hash of a leaf.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(jose::digest(&[&[0], entry].concat()))
}

/// The hash of a node over its two children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    let (_, children) = bytes.split_at_mut(1);
    let (to_left, to_right) = children.split_at_mut(32);
    to_left.copy_from_slice(&left.0);
    to_right.copy_from_slice(&right.0);
    Hash(jose::digest(&bytes))
}

/// A perfect subtree: over the leaves from `index << level` on, `1 << level` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) level: u32,
    pub(super) index: u64,
}

/// The perfect subtrees that leaves `range` of a split of the tree are made of, from the left.
pub(super) fn peaks(range: Range<u64>) -> Vec<Node> {
    let mut peaks = Vec::new();
    let Range { mut start, end } = range;
    while start < end {
        let level = (end - start).ilog2();
        peaks.push(Node { level, index: start >> level });
        start += 1 << level;
    }
    peaks
}

/// The hash over subtrees that follow each other, the larger ones first.
pub(super) fn fold(hashes: &[Hash]) -> Hash {
    let mut from_right = hashes.iter().rev();
    let Some(last) = from_right.next() else { return Hash::of_nothing() };
    from_right.fold(*last, |right, left| node_hash(left, &right))
}

/// Where a tree of `size` leaves, more than one, is split: the largest power of two below it.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The leaves that each hash of the inclusion proof of leaf `index` in a tree of `size` is over, in the proof's order.
pub fn inclusion_path(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    let mut range = 0..size;
    while index < range.end && range.end - range.start > 1 {
        let middle = range.start + split(range.end - range.start);
        if index < middle {
            path.push(middle..range.end);
            range.end = middle;
        } else {
            path.push(range.start..middle);
            range.start = middle;
        }
    }
    path.reverse();
    path
}

/// The same for the consistency proof between the trees of `old` and of `size` leaves.
pub fn consistency_path(old: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    if old == 0 || old >= size {
        return path;
    }
    let mut range = 0..size;
    // Until the rest is exactly what the old tree ends with.
    while range.end != old {
        let middle = range.start + split(range.end - range.start);
        if old <= middle {
            path.push(middle..range.end);
            range.end = middle;
        } else {
            path.push(range.start..middle);
            range.start = middle;
        }
    }
    // Whoever verifies has the old root already, if that is all of it.
    if range.start > 0 {
        path.push(range);
    }
    path.reverse();
    path
}

/// Whether leaf `index` of the tree with this `root` has this hash (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether the tree of `size` leaves begins with that of `old` leaves (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(old: u64, old_root: Hash, size: u64, root: Hash, proof: &[Hash]) -> bool {
    if old == 0 || old > size {
        return old == 0 && proof.is_empty() && old_root == Hash::of_nothing();
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    let (mut node, mut last) = (old - 1, size - 1);
    while node % 2 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let mut hashes = proof.iter();
    let first = if node == 0 && old.is_power_of_two() { Some(&old_root) } else { hashes.next() };
    let Some(first) = first else { return false };
    let (mut of_old, mut of_new) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            of_old = node_hash(sibling, &of_old);
            of_new = node_hash(sibling, &of_new);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            of_new = node_hash(&of_new, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && of_old == old_root && of_new == root
}

/// A tree of which only the hashes on its right edge are kept: it grows, and knows its root, in a few hundred bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Of the perfect subtrees, from the left, the larger first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The tree of `size` leaves with these perfect subtrees; `None` if there would have to be more or fewer.
    pub fn new(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves it has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of its perfect subtrees.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// One more leaf.
    pub fn push(&mut self, leaf: Hash) {
        // As a binary counter carries: each trailing one of the size is a subtree that is now as large as its neighbour.
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}
