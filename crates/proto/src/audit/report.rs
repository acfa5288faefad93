//! What came of a verification: counts, and each thing that is wrong, by a fixed word.
//!
//! Never a text of a person: ids and words only. To add a fault: a variant with its word, its row in docs/audit.md.

use std::fmt;

use super::merkle::Hash;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is its word")]
pub enum Fault {
    Unreadable,
    Position,
    Tree,
    Checkpoint,
    OlderCheckpoint,
    BrokenOff,
    Keys,
    EvidenceMissing,
    EvidenceInvalid,
    Contradiction,
    UnknownBinding,
    DecidedTwice,
    NeverAsked,
    ErasedWithoutEvent,
    Row,
}

impl Fault {
    /// Every word.
    pub const ALL: [Self; 15] = [
        Self::Unreadable,
        Self::Position,
        Self::Tree,
        Self::Checkpoint,
        Self::OlderCheckpoint,
        Self::BrokenOff,
        Self::Keys,
        Self::EvidenceMissing,
        Self::EvidenceInvalid,
        Self::Contradiction,
        Self::UnknownBinding,
        Self::DecidedTwice,
        Self::NeverAsked,
        Self::ErasedWithoutEvent,
        Self::Row,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Position => "position",
            Self::Tree => "tree",
            Self::Checkpoint => "checkpoint",
            Self::OlderCheckpoint => "older_checkpoint",
            Self::BrokenOff => "broken_off",
            Self::Keys => "keys",
            Self::EvidenceMissing => "evidence_missing",
            Self::EvidenceInvalid => "evidence_invalid",
            Self::Contradiction => "contradiction",
            Self::UnknownBinding => "unknown_binding",
            Self::DecidedTwice => "decided_twice",
            Self::NeverAsked => "never_asked",
            Self::ErasedWithoutEvent => "erased_without_event",
            Self::Row => "row",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The event's position, if it is about one.
    pub position: Option<u64>,
    /// What.
    pub fault: Fault,
    /// Ids and fixed words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "position {position}: {}: {}", self.fault.as_str(), self.detail),
            None => write!(f, "{}: {}", self.fault.as_str(), self.detail),
        }
    }
}

/// What came of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Events.
    pub events: u64,
    /// Decisions whose evidence holds.
    pub verified: u64,
    /// Decisions whose evidence went with the person.
    pub erased: u64,
    /// Decisions whose evidence is no longer kept.
    pub deleted: u64,
    /// Decisions that came without evidence because none was exported: nothing says that they hold.
    pub unexamined: u64,
    /// The position of the first event; what was before it is not here.
    pub from: u64,
    /// The signed head that the events lead to.
    pub checkpoint: Option<(u64, Hash)>,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong with what is here.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether the whole log was here, with all that proves it.
    pub fn is_complete(&self) -> bool {
        self.from == 1 && self.unexamined == 0
    }
}
