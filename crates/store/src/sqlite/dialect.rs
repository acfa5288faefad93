//! SQLite's spelling of what the two databases say differently.

use countersign_core::wake::WakeKey;
use sqlx::migrate::Migrator;

use super::{Connection, Query};
use crate::{failure::Remedy, rows};

/// `IMMEDIATE`, always: a transaction that begins by reading and then wants to write fails as busy when somebody
/// else has written meanwhile, however long it would wait.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// The schema.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// A lock clause: none here. `BEGIN IMMEDIATE` holds the only write lock that there is.
pub(super) const fn locking(_clause: &'static str) -> &'static str {
    ""
}

/// Whether rows are locked at all.
pub(super) const LOCKS_ROWS: bool = false;

/// `columns`, read from the JSON array in the parameter `$number`, as a table named `r`.
pub(super) fn row_source(number: u8, columns: &rows::Columns) -> String {
    let column = |(name, column_type): &(&str, rows::Type)| match column_type {
        rows::Type::Id => format!("unhex(value->>'{name}') AS {name}"),
        // Without the leading `\x`.
        rows::Type::Bytes => format!("unhex(substr(value->>'{name}', 3)) AS {name}"),
        rows::Type::Text | rows::Type::Integer | rows::Type::Flag => format!("value->>'{name}' AS {name}"),
    };
    let columns: Vec<_> = columns.iter().map(column).collect();
    format!("(SELECT {} FROM json_each(${number})) AS r", columns.join(", "))
}

/// What to do about an error with this code (an extended result code in decimal).
pub(super) fn remedy(code: &str) -> Remedy {
    // The primary code is in the low byte. https://sqlite.org/rescode.html
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED
        Ok(5 | 6) => Remedy::Retry,
        // IOERR, CANTOPEN, PROTOCOL
        Ok(10 | 14 | 15) => Remedy::Reconnect,
        // PERM, NOMEM, READONLY, CORRUPT, FULL, NOTADB
        Ok(3 | 7 | 8 | 11 | 13 | 26) => Remedy::GiveUp,
        _ => Remedy::Isolate,
    }
}

/// Nobody else listens: other processes on the same file learn of a change by their pollers.
pub(super) fn notifications(_keys: &[WakeKey]) -> Vec<Query<'static>> {
    Vec::new()
}

/// Nothing to prepare.
pub(super) async fn prepare_writer(_connection: &mut Connection) -> Result<(), sqlx::Error> {
    Ok(())
}

/// Brings everything from the write-ahead log into the file and empties the log: what was overwritten stands in neither
/// any more (`secure_delete` has zeroed it in the file). Waits for readers, up to the busy timeout.
pub(super) async fn scrub(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("-- scrub\nPRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    // 0: nobody was in the way. https://sqlite.org/pragma.html#pragma_wal_checkpoint
    Ok(sqlx::Row::try_get::<i64, _>(&row, 0)? == 0)
}
