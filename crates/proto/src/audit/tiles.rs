//! The tree in tiles of 256 hashes (C2SP tlog-tiles): what is kept, so that appending and proving cost the same however
//! large the tree is.
//!
//! Tile `(level, index)` holds the roots of the perfect subtrees of `256^level` leaves, from the `256 · index`th on.
//! Tiles are read from a database that may have been rewritten: whoever uses them compares a root with a signed one.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use super::merkle::{Hash, Node, fold, node_hash, peaks};

/// Levels of the tree in one tile.
const HEIGHT: u32 = 8;
/// Hashes in a full tile.
const WIDTH: u64 = 1 << HEIGHT;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 for leaves.
    pub level: u32,
    /// From the left.
    pub index: u64,
}

/// Some tiles of a tree.
#[derive(Debug, Clone, Default)]
pub struct Tiles(HashMap<TileId, Vec<Hash>>);

impl Tiles {
    /// The tiles on the right edge of a tree of `size` leaves: all that appending needs, and its root.
    pub fn edge(size: u64) -> Vec<TileId> {
        let mut edge = Vec::new();
        let (mut level, mut count) = (0, size);
        while count > 0 {
            if count % WIDTH > 0 {
                edge.push(TileId { level, index: count / WIDTH });
            }
            (level, count) = (level + 1, count / WIDTH);
        }
        edge
    }

    /// The tiles that the hashes over these ranges, of an inclusion or consistency path or `0..size`, are made from.
    pub fn needed(ranges: &[Range<u64>]) -> BTreeSet<TileId> {
        ranges.iter().flat_map(|range| peaks(range.clone())).map(|node| place(node).0).collect()
    }

    /// Takes a tile as it is kept: hashes one after the other. `false` if the bytes are no tile.
    pub fn insert(&mut self, id: TileId, bytes: &[u8]) -> bool {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let is_tile = rest.is_empty() && !hashes.is_empty() && hashes.len() as u64 <= WIDTH;
        if is_tile {
            self.0.insert(id, hashes.iter().map(|hash| Hash(*hash)).collect());
        }
        is_tile
    }

    /// The bytes of a tile, to be kept.
    pub fn bytes(&self, id: TileId) -> Vec<u8> {
        self.0.get(&id).into_iter().flatten().flat_map(|hash| hash.0).collect()
    }

    /// Forgets a tile that is full and will not be asked for: what is appended needs those on the edge only.
    pub fn forget(&mut self, id: TileId) {
        self.0.remove(&id);
    }

    /// The hash over these leaves; `None` if a tile is missing or too short.
    pub fn hash_over(&self, range: Range<u64>) -> Option<Hash> {
        let hashes = peaks(range).into_iter().map(|node| self.node(node)).collect::<Option<Vec<_>>>()?;
        Some(fold(&hashes))
    }

    /// The hashes of the perfect subtrees of a tree of `size` leaves.
    pub fn peaks(&self, size: u64) -> Option<Vec<Hash>> {
        peaks(0..size).into_iter().map(|node| self.node(node)).collect()
    }

    /// Appends leaves to the tree of `size` leaves whose edge this is; the tiles that have changed. `None` if the edge is
    /// not that of this size.
    pub fn append(&mut self, size: u64, leaves: &[Hash]) -> Option<BTreeSet<TileId>> {
        let mut changed = BTreeSet::new();
        for (place, leaf) in (size..).zip(leaves) {
            let (mut level, mut index, mut hash) = (0, place, *leaf);
            loop {
                let id = TileId { level, index: index / WIDTH };
                let tile = self.0.entry(id).or_default();
                // Longer than this size: written by whoever lost against another, or forged. What counts is the front.
                tile.truncate(usize::try_from(index % WIDTH).ok()?);
                if tile.len() as u64 != index % WIDTH {
                    return None;
                }
                tile.push(hash);
                changed.insert(id);
                if tile.len() as u64 != WIDTH {
                    break;
                }
                hash = perfect(tile);
                (level, index) = (level + 1, index / WIDTH);
            }
        }
        Some(changed)
    }

    fn node(&self, node: Node) -> Option<Hash> {
        let (id, entries) = place(node);
        self.0.get(&id)?.get(entries).map(perfect)
    }
}

/// The tile that a perfect subtree is computed from, and of which of its hashes.
fn place(node: Node) -> (TileId, Range<usize>) {
    let (level, height) = (node.level / HEIGHT, node.level % HEIGHT);
    let first = node.index << height;
    // Below 256, both.
    let start = usize::try_from(first % WIDTH).unwrap_or_default();
    (TileId { level, index: first / WIDTH }, start..start + (1 << height))
}

/// The root of a perfect subtree: of 1, 2, 4 … hashes.
fn perfect(hashes: &[Hash]) -> Hash {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect(left), &perfect(right))
        }
    }
}
