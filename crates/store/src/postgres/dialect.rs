//! PostgreSQL's spelling of what the two databases say differently.

use countersign_core::wake::WakeKey;
use sqlx::migrate::Migrator;

use super::{Connection, Query, wakes};
use crate::{failure::Remedy, rows};

/// READ COMMITTED: each statement sees what was committed before it began, so a statement after a lock sees what
/// the lock's former holder did.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The schema. The migrator takes an advisory lock.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// A lock clause.
pub(super) const fn locking(clause: &'static str) -> &'static str {
    clause
}

/// Whether rows are locked at all.
pub(super) const LOCKS_ROWS: bool = true;

/// `columns`, read from the JSON array in the parameter `$number`, as a table named `r`.
pub(super) fn row_source(number: u8, columns: &rows::Columns) -> String {
    let column = |(name, column_type): &(&str, rows::Type)| {
        let column_type = match column_type {
            rows::Type::Id => "uuid",
            rows::Type::Bytes => "bytea",
            rows::Type::Text => "text",
            rows::Type::Integer => "bigint",
            rows::Type::Flag => "boolean",
        };
        format!("{name} {column_type}")
    };
    let columns: Vec<_> = columns.iter().map(column).collect();
    format!("jsonb_to_recordset(CAST(${number} AS jsonb)) AS r({})", columns.join(", "))
}

/// Whether a COMMIT that failed in this way certainly did not happen: of none is that said here.
pub(super) fn is_no_commit(_code: &str) -> bool {
    false
}

/// What to do about an error with this SQLSTATE.
pub(super) fn remedy(code: &str) -> Remedy {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03" => Remedy::Retry,
        // read_only_sql_transaction: after a failover the old address may lead to a standby.
        // too_many_connections, idle_in_transaction_session_timeout
        "25006" | "53300" | "25P03" => Remedy::Reconnect,
        // connection exceptions; admin_shutdown, crash_shutdown, cannot_connect_now …
        code if code.starts_with("08") || code.starts_with("57P") => Remedy::Reconnect,
        // query_canceled (the statement's time is up); insufficient resources, system errors
        "57014" => Remedy::GiveUp,
        code if code.starts_with("53") || code.starts_with("58") => Remedy::GiveUp,
        _ => Remedy::Isolate,
    }
}

/// What tells the other nodes, inside the transaction, of these changes.
pub(super) fn notifications(keys: &[WakeKey]) -> Vec<Query<'static>> {
    let notify = |payload| sqlx::query("-- notify\nSELECT pg_notify('countersign', $1)").bind(payload);
    wakes::payloads(keys).into_iter().map(notify).collect()
}

/// Acknowledged means durable: a server that is set to answer before its log is on disk is told otherwise for
/// this session. Any stronger setting stays.
pub(super) async fn prepare_writer(connection: &mut Connection) -> Result<(), sqlx::Error> {
    let query: Query<'static> = sqlx::query(
        "-- prepare_writer
        SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    );
    query.execute(connection).await.map(|_| ())
}

/// Nothing: what was overwritten stays in the files until the database's own housekeeping, which belongs to whoever runs
/// it (docs/security.md).
pub(super) async fn scrub(_connection: &mut Connection) -> Result<bool, sqlx::Error> {
    Ok(true)
}
