//! What goes wrong inside a transaction, and what follows: try again, reconnect, or tell the caller.
//!
//! Texts never quote what the database says about values: it may quote a caller's data.

use countersign_core::ports::StoreError;

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database said so.
    Database(sqlx::Error),
    /// We said so: nothing of the transaction stays.
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => unavailable(&error),
            Failure::Store(error) => error,
        }
    }
}

/// What the writer does about an error of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Somebody else was in the way (deadlock, serialization, lock timeout): run the transaction again.
    Retry,
    /// The connection is gone or useless: run the transaction again on a new one.
    Reconnect,
    /// The disk is full, and nothing of the transaction stays: again, once there is room.
    MakeRoom,
    /// The database cannot now, whatever it is asked: tell the callers.
    GiveUp,
    /// What was asked cannot be done: of several commands perhaps one is at fault.
    Isolate,
}

/// The remedy for `error`; `by_code` knows the database's own codes.
pub(crate) fn remedy(error: &sqlx::Error, by_code: impl FnOnce(&str) -> Remedy) -> Remedy {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(Remedy::Isolate, |code| by_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Remedy::Reconnect,
        _ => Remedy::Isolate,
    }
}

/// The error as callers see it.
pub(crate) fn unavailable(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(describe(error))
}

/// The error without the database's own text, which may quote values.
pub(crate) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // A mistake in a statement (class 42; on SQLite 1) is told with names of columns, never with values.
            let is_about_the_statement = code.starts_with("42") || code == "1";
            match error.constraint() {
                Some(constraint) => format!("database error {code} ({constraint})"),
                None if is_about_the_statement => format!("database error {code}: {}", error.message()),
                None => format!("database error {code}"),
            }
        }
        sqlx::Error::ColumnDecode { index, .. } => format!("unreadable column {index}"),
        other => other.to_string(),
    }
}
