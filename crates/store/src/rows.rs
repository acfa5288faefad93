//! The rows that a set-based statement works on: one JSON array bound as text, read back by the dialect's row
//! source (`dialect::row_source`) as a table of typed columns.
//!
//! Column names begin with `r_`, so that they never collide with a table's own. Each row is a JSON object with
//! these names; an absent or null member is NULL.
//! To add a type: a variant of [`Type`], its spelling in both dialects, a function here that makes its cell.

use countersign_core::{digest::Digest, ports::StoreError};
use countersign_proto::{ids::Id, timestamp::Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// A column's type in the row source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// A UUID; see [`id`].
    Id,
    /// Bytes; see [`bytes`].
    Bytes,
    /// Text; any string.
    Text,
    /// 64 bits, signed; any number; a time by [`time`].
    Integer,
    /// True or false.
    Flag,
}

/// A row source's columns.
pub(crate) type Columns = [(&'static str, Type)];

/// An id's cell: 32 hexadecimal digits, which both databases read.
pub(crate) fn id<K>(id: Id<K>) -> Value {
    Value::String(id.as_uuid().simple().to_string())
}

/// A time's cell: unix milliseconds.
pub(crate) fn time(at: Timestamp) -> Value {
    at.as_millis().into()
}

/// Below all ids that were made at this time or later, above all that were made before: the time is in the first 48 bits
/// of a UUIDv7 (RFC 9562 section 5.7).
pub(crate) fn first_id_at(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::from(at.as_millis().max(0).unsigned_abs()) << 80)
}

/// A digest's cell; see [`bytes`].
pub(crate) fn digest(digest: Digest) -> Value {
    bytes(&digest.0)
}

/// The cell of bytes: `\x` and hexadecimal digits, as PostgreSQL reads them.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Value::String(text)
}

/// A value of ours as JSON text, for a column that holds it.
///
/// # Errors
/// Never for the types of this program; an error all the same, not a panic.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// The rows as the one parameter that a statement binds.
pub(crate) fn to_parameter(columns: &Columns, rows: Vec<Value>) -> String {
    debug_assert!(
        rows.iter().all(|row| row
            .as_object()
            .is_some_and(|row| { row.keys().all(|key| columns.iter().any(|(name, _)| name == key)) })),
        "a row has a member that is no column of {columns:?}"
    );
    Value::Array(rows).to_string()
}
