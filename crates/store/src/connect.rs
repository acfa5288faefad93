//! Opening a store: which database, with which bounds.
//!
//! To add a setting: a field of [`Options`] with its default; to add a database: its module beside
//! `sqlite` and `postgres`, and its scheme in [`connect`].

use std::{sync::Arc, time::Duration};

use countersign_core::{ports::Store, wake::WakeSink};
use sqlx::migrate::MigrateError;

use crate::{failure::describe, postgres, sqlite};

/// The bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Connections for reads, besides the writer's own.
    pub read_connections: u32,
    /// Commands that may wait for the writer; beyond, they are refused as
    /// [`StoreError::Overloaded`](countersign_core::ports::StoreError::Overloaded).
    pub queue_length: usize,
    /// Commands that share a commit at most.
    pub max_batch: usize,
    /// Whether opening brings the schema up to date; otherwise a schema that is not exactly ours is refused.
    pub migrate: bool,
    /// Whether a PostgreSQL beyond loopback may be asked for less than `sslmode=verify-full`.
    pub allow_unverified_tls: bool,
    /// Bytes on the disk that SQLite keeps for taking access away when the disk is full (`sqlite/reserve.rs`); 0: none.
    pub reserve_bytes: u64,
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// How long the database may take for one transaction or read; half of it for one statement.
    pub transaction_timeout: Duration,
    /// How long a caller waits for its command's outcome, the time in the queue included.
    pub reply_timeout: Duration,
    /// Whether the text of every statement is traced, under `sqlx::query`; values never are. For tests.
    pub log_statements: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_connections: 8,
            queue_length: 4096,
            max_batch: 256,
            migrate: true,
            allow_unverified_tls: false,
            reserve_bytes: 0,
            connect_timeout: Duration::from_secs(5),
            transaction_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(15),
            log_statements: false,
        }
    }
}

/// Why a store cannot be opened. The texts are for an operator: one clear line, no secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither `sqlite://PATH` nor `postgres://…`, or not readable as such.
    #[error("database.url must be sqlite://PATH or postgres://USER@HOST/NAME ({0})")]
    Url(String),
    /// The file or folder cannot be made or locked.
    #[error("cannot prepare the database file {path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The database does not answer.
    #[error("cannot reach the database: {0}")]
    Unreachable(String),
    /// Somebody could stand between us and the database.
    #[error(
        "database.url asks for an sslmode that does not verify the database; beyond loopback it must be verify-full, \
         unless database.allow_unverified_tls is true"
    )]
    UnverifiedTls,
    /// It is not migrated, and we are not to do that.
    #[error(
        "the database lacks migration {version}, and database.migrate is false: run `countersign migrate` as the role \
         that owns the schema"
    )]
    Behind {
        /// The first migration that is missing.
        version: i64,
    },
    /// A newer program has migrated it.
    #[error(
        "the database is from the future: it has migration {version}, which this program does not know; run the newer program again"
    )]
    FromTheFuture {
        /// The first migration that this program does not know.
        version: i64,
    },
    /// A migration that was applied differs from the one this program has.
    #[error("migration {version} in the database is not the one that this program has")]
    Altered {
        /// Which.
        version: i64,
    },
    /// A migration failed; the database is as it was before.
    #[error("the database could not be migrated: {0}")]
    Migration(String),
}

impl From<MigrateError> for ConnectError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::FromTheFuture { version },
            MigrateError::VersionMismatch(version) => Self::Altered { version },
            MigrateError::Execute(error) => Self::Unreachable(describe(&error)),
            MigrateError::ExecuteMigration(error, version) => Self::Migration(format!("migration {version}: {error}")),
            other => Self::Migration(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Configuration(cause) => Self::Url(cause.to_string()),
            // For an operator at the start the database's own words are best: there are no callers' data yet.
            sqlx::Error::Database(error) => Self::Unreachable(error.message().to_owned()),
            sqlx::Error::Tls(error) => Self::Unreachable(format!("TLS with it failed: {error}")),
            error => Self::Unreachable(describe(&error)),
        }
    }
}

/// Opens the database at `url`, brings its schema up to date and starts the writer. `wake` is told after each
/// commit what has changed, on PostgreSQL also what other nodes have changed.
///
/// A missing SQLite file is made (with its folder, both closed to other users of the machine); the schema is
/// migrated under a lock, so that any number of processes may start at once.
///
/// # Errors
/// [`ConnectError`]; a database that does not answer within [`Options::connect_timeout`]. Migrations, one's own
/// and those of others that are waited for, take the time they need.
pub async fn connect(url: &str, options: Options, wake: Arc<dyn WakeSink>) -> Result<Arc<dyn Store>, ConnectError> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => Ok(Arc::new(sqlite::connect(url, options, wake).await?)),
        Some("postgres" | "postgresql") => Ok(Arc::new(postgres::connect(url, options, wake).await?)),
        _ => Err(ConnectError::Url("another scheme".to_owned())),
    }
}
