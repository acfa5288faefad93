//! What the writer knows of work that it could not do: what the caller is told, and whether trying again could help.
//!
//! To tell one more kind of trouble apart: a constructor here, its remedy in `crate::failure` and the dialects.

use countersign_core::ports::StoreError;

use super::dialect;
use crate::failure::{Failure, Remedy, remedy, unavailable};

/// Why work was not done.
pub(super) struct Trouble {
    pub(super) error: StoreError,
    pub(super) remedy: Remedy,
    /// The COMMIT may have happened.
    pub(super) is_ambiguous: bool,
    /// The connection can be used again.
    pub(super) connection_is_clean: bool,
}

impl Trouble {
    /// The database is not there: trying at once again would not help.
    pub(super) fn unreachable(error: StoreError) -> Self {
        Self { error, remedy: Remedy::GiveUp, is_ambiguous: false, connection_is_clean: false }
    }

    /// The disk is full, and this is not what the reserve is for.
    pub(super) fn no_room() -> Self {
        let error = StoreError::Unavailable("the disk is full".to_owned());
        Self { error, remedy: Remedy::MakeRoom, is_ambiguous: false, connection_is_clean: true }
    }

    /// No connection came up.
    pub(super) fn not_open(error: &sqlx::Error) -> Self {
        match remedy(error, dialect::remedy) {
            Remedy::MakeRoom => Self { remedy: Remedy::MakeRoom, ..Self::unreachable(unavailable(error)) },
            _ => Self::unreachable(unavailable(error)),
        }
    }

    /// Before the COMMIT: nothing stays.
    pub(super) fn before_commit(failure: Failure, connection_is_clean: bool) -> Self {
        let remedy = match &failure {
            Failure::Database(error) => remedy(error, dialect::remedy),
            Failure::Store(_) => Remedy::Isolate,
        };
        Self { error: failure.into(), remedy, is_ambiguous: false, connection_is_clean }
    }

    /// During the COMMIT.
    pub(super) fn in_commit(error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let is_ambiguous = !code.is_some_and(|code| dialect::is_no_commit(&code));
        let remedy = match remedy(error, dialect::remedy) {
            Remedy::MakeRoom => Remedy::MakeRoom,
            _ => Remedy::Reconnect,
        };
        Self { error: unavailable(error), remedy, is_ambiguous, connection_is_clean: false }
    }
}
