//! The lines of an export (JSONL): a header, one line for each event, a footer with the signed checkpoint.
//!
//! Each line is one JSON object. Without the footer an export is broken off, and proves nothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::merkle::Hash;
use crate::{evidence::Evidence, ids::TenantId, jose::Jwks, timestamp::Timestamp};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub countersign_audit_export: u32,
    /// Whose server.
    pub issuer: String,
    /// Whose events.
    pub tenant_id: TenantId,
    /// The log's key, as the server says. Believe it only if you have it from elsewhere too.
    pub log_key: String,
    /// The server's public keys, which verify challenges and bindings.
    pub jwks: Jwks,
    /// The position of the first event.
    pub from: u64,
    /// The roots of the perfect subtrees over all events before `from`, from the left.
    pub before: Vec<Hash>,
    /// Whether decisions come with their evidence.
    pub has_evidence: bool,
    /// Challenges that were made before this time may have been deleted; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<Timestamp>,
    /// A note that the log key has signed over the digest of all else in this line (see [`header_text`]).
    pub header_note: String,
}

/// A line with an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As `GET /v1/events` shows it.
    pub event: Value,
    /// What proves a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Why a decision's evidence is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_evidence: Option<Absence>,
}

/// Why there is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absence {
    /// The person was erased.
    Erased,
    /// Older than what is kept.
    Deleted,
    /// It should be there.
    Missing,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The signed checkpoint over all events up to the last one here.
    pub checkpoint: String,
}

/// What the log key signs about a header: no checkpoint, because the second line is no number.
pub fn header_text(origin: &str, header: &Value) -> Option<String> {
    let mut header = header.clone();
    header.as_object_mut()?.remove("header_note");
    let digest = crate::jose::sha256(super::canonical(&header).ok()?);
    Some(format!("{origin}\nexport\n{digest}\n"))
}
