//! The audit: an organisation's events as a Merkle tree, its signed checkpoints, and how anybody verifies an export.
//!
//! What it proves: the events of an export are those over which the server signed, in that order, none left out, and
//! each decision among them is one that its device signed (docs/audit.md has the formats, exact enough to write another
//! verifier from). This module never looks anything up and never believes what no signature carries.
//! To add a check on events: a method of [`verify::Verifier`], its word in [`verify::Fault`], its row in docs/audit.md.

mod absence;
mod canonical;
mod decisions;
pub mod export;
mod merkle;
mod note;
mod report;
mod tiles;
pub mod verify;

pub use self::{
    canonical::{NotCanonical, canonical, leaf_hash_of},
    decisions::{Disagreement, compare as compare_decision},
    merkle::{
        Frontier, Hash, consistency_path, inclusion_path, leaf_hash, node_hash, verify_consistency, verify_inclusion,
    },
    note::{Checkpoint, LogKey, NoteError, VerifierKey, open_note, origin_of_note, sign_note},
    tiles::{TileId, Tiles},
};

#[cfg(test)]
mod tests;
