//! The store on SQLite: one file, one process that serves, any number of command-line calls beside it.
//!
//! WAL with `synchronous=FULL`: what was acknowledged survives a power cut. One connection writes; reads have a
//! pool of read-only connections and never wait for the writer.
#![expect(clippy::duplicate_mod, reason = "one text for two databases: see the crate's documentation")]

mod backup;
mod dialect;
mod file;
mod reserve;
mod statistics;
mod vacuum;

#[path = "sql/api_clients.rs"]
mod api_clients;
#[path = "sql/audit.rs"]
mod audit;
#[path = "sql/batch.rs"]
mod batch;
#[path = "sql/challenges.rs"]
mod challenges;
#[path = "sql/columns.rs"]
mod columns;
#[path = "sql/database.rs"]
mod database;
#[path = "sql/devices.rs"]
mod devices;
#[path = "sql/enrollments.rs"]
mod enrollments;
#[path = "sql/events.rs"]
mod events;
#[path = "sql/leases.rs"]
mod leases;
#[path = "sql/lent.rs"]
mod lent;
#[path = "sql/locks.rs"]
mod locks;
#[path = "sql/notifications.rs"]
mod notifications;
#[path = "sql/reader.rs"]
mod reader;
#[path = "sql/retention.rs"]
mod retention;
#[path = "sql/schema.rs"]
mod schema;
#[path = "sql/statements.rs"]
mod statements;
#[path = "sql/system.rs"]
mod system;
#[path = "sql/tenants.rs"]
mod tenants;
#[path = "sql/test_pushes.rs"]
mod test_pushes;
#[path = "sql/transaction.rs"]
mod transaction;
#[path = "sql/trouble.rs"]
mod trouble;
#[path = "sql/users.rs"]
mod users;
#[path = "sql/webhooks.rs"]
mod webhooks;
#[path = "sql/writer.rs"]
mod writer;

use std::sync::Arc;

use countersign_core::wake::WakeSink;
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use self::{
    backup::{Backup, BackupError, backup},
    vacuum::vacuum,
};
use self::{
    columns::Columns,
    database::{Database, query},
    reserve::Reserve,
    statements::Statements,
    transaction::{Outcome, Plain, Room, Tx},
};
use crate::{
    connect::{ConnectError, Options},
    failure::{Remedy, remedy},
};

type Db = sqlx::Sqlite;
type Connection = sqlx::SqliteConnection;
type ConnectOptions = SqliteConnectOptions;
type Pool = sqlx::SqlitePool;
type Row = sqlx::sqlite::SqliteRow;
type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// Opens the file at `url` (`sqlite://PATH`), making it if need be.
pub(crate) async fn connect(url: &str, options: Options, wake: Arc<dyn WakeSink>) -> Result<Database, ConnectError> {
    let path = file::of_url(url)?;
    let base = SqliteConnectOptions::new().filename(&path);
    let base = if options.log_statements { base } else { base.disable_statement_logging() };
    let base = base.busy_timeout(options.connect_timeout).foreign_keys(true);
    // What is deleted or overwritten is zeroed in the file: an erased person is not found in its free space.
    let base = base.pragma("secure_delete", "ON");
    let writing =
        base.clone().create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);

    // sqlx's migrator takes no lock on SQLite: of concurrent starters some would fail.
    let lock = file::lock_for_migration(&path).await?;
    let mut reserve = Reserve::beside(&path, options.reserve_bytes).await;
    let mut connection = connect_writing(&writing, &mut reserve).await?;
    schema::prepare(&mut connection, options.migrate).await?;
    statistics::set(&mut connection).await?;
    connection.close().await?;
    drop(lock);

    let readers = SqlitePoolOptions::new()
        .max_connections(options.read_connections)
        .acquire_timeout(options.connect_timeout)
        .test_before_acquire(false)
        // The log's index is there as long as somebody has the file open: on a full disk it could not be made again.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(base.read_only(true));
    // Where there is no room for it the server starts all the same, and takes access away with what there is.
    reserve.is_whole().await;
    let (database, _) = Database::start(readers, writing, options, reserve, wake);
    Ok(database)
}

/// On a full disk even that needs room, for the index of the write-ahead log.
async fn connect_writing(
    writing: &SqliteConnectOptions,
    reserve: &mut Reserve,
) -> Result<sqlx::SqliteConnection, sqlx::Error> {
    // As many pieces as one command may have: where they free nothing, what is left is for others.
    for _ in 0..writer::PIECES {
        match writing.connect().await {
            Err(error) if remedy(&error, dialect::remedy) == Remedy::MakeRoom => {
                if !reserve.give_up_a_piece(Room::Last).await {
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
    }
    writing.connect().await
}
