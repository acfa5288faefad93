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
    let code = code.parse::<u32>();
    // IOERR_SHMSIZE: the index of the write-ahead log finds no room.
    if code == Ok(4874) {
        return Remedy::MakeRoom;
    }
    // The primary code is in the low byte. https://sqlite.org/rescode.html
    match code.map(|code| code & 0xff) {
        // BUSY, LOCKED
        Ok(5 | 6) => Remedy::Retry,
        // IOERR, CANTOPEN, PROTOCOL
        Ok(10 | 14 | 15) => Remedy::Reconnect,
        // FULL
        Ok(13) => Remedy::MakeRoom,
        // PERM, NOMEM, READONLY, CORRUPT, NOTADB
        Ok(3 | 7 | 8 | 11 | 26) => Remedy::GiveUp,
        _ => Remedy::Isolate,
    }
}

/// Whether a COMMIT that failed in this way certainly did not happen. FULL: the write of a frame to the log failed, so the
/// last one, which makes it a commit, is not there. (IOERR_SHMSIZE comes after it is.)
pub(super) fn is_no_commit(code: &str) -> bool {
    code == "13"
}

/// Nobody else listens: other processes on the same file learn of a change by their pollers.
pub(super) fn notifications(_keys: &[WakeKey]) -> Vec<Query<'static>> {
    Vec::new()
}

/// Nothing to prepare.
pub(super) async fn prepare_writer(_connection: &mut Connection) -> Result<(), sqlx::Error> {
    Ok(())
}

/// A file up to this size is rewritten as a whole when something must not be found in it any more: some tenths of a
/// second, for which writes wait.
const REWRITTEN_BYTES: i64 = 32 * 1024 * 1024;

/// Removes from the files what was overwritten. `secure_delete` has zeroed it where it last was; but a page that was
/// balanced may hold another copy of a row that was moved, which only writing the page anew removes: so a small file is
/// written anew, and a large one belongs to whoever runs it (docs/operations.md). Then the write-ahead log goes into the
/// file and is emptied.
///
/// Whoever reads for long, a backup, keeps the log from being emptied; so that is tried first, and nothing is written
/// anew while it is of no use. Hardly waits: the writer does nothing else meanwhile, for any organisation.
pub(super) async fn scrub(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    if !empty_log(connection).await? {
        return Ok(false);
    }
    let mut bytes: i64 = 1;
    for factor in ["PRAGMA page_count", "PRAGMA page_size"] {
        let row = sqlx::query(factor).fetch_one(&mut *connection).await?;
        bytes = bytes.saturating_mul(sqlx::Row::try_get(&row, 0)?);
    }
    if bytes <= REWRITTEN_BYTES {
        // What is copied in between stays in memory.
        sqlx::query("PRAGMA temp_store = MEMORY").execute(&mut *connection).await?;
        sqlx::query("VACUUM").execute(&mut *connection).await?;
    }
    empty_log(connection).await
}

/// How long a reader's last statement is waited for.
const PATIENCE_MILLIS: i64 = 50;

/// Brings the write-ahead log into the file and empties it; `false` if somebody reads what only the log tells apart.
/// Whoever drops this in the middle drops the connection.
async fn empty_log(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    let patience = sqlx::query("PRAGMA busy_timeout").fetch_one(&mut *connection).await?;
    let patience: i64 = sqlx::Row::try_get(&patience, 0)?;
    // A number of ours: a pragma takes no parameters.
    let wait = |millis: i64| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {millis}"));
    sqlx::query(wait(PATIENCE_MILLIS)).execute(&mut *connection).await?;
    let row = sqlx::query("-- scrub\nPRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await?;
    sqlx::query(wait(patience)).execute(&mut *connection).await?;
    // 0: nobody was in the way. https://sqlite.org/pragma.html#pragma_wal_checkpoint
    Ok(sqlx::Row::try_get::<i64, _>(&row, 0)? == 0)
}
