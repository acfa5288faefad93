//! The store on PostgreSQL: any number of nodes over one database.
//!
//! READ COMMITTED with row locks where two nodes could meet; wake-ups between nodes over LISTEN/NOTIFY. Each
//! node has one connection that writes, a pool that reads, and one that listens.
#![expect(clippy::duplicate_mod, reason = "one text for two databases: see the crate's documentation")]

mod dialect;
mod parameters;
mod reserve;
mod tls;
mod wakes;

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

use std::{str::FromStr as _, sync::Arc, time::Duration};

use countersign_core::wake::WakeSink;
use sqlx::{
    ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use self::{
    columns::Columns,
    database::{Database, query},
    reserve::Reserve,
    statements::Statements,
    transaction::{Outcome, Plain, Room, Tx},
};
use crate::connect::{ConnectError, Options};

type Db = sqlx::Postgres;
type Connection = sqlx::PgConnection;
type ConnectOptions = PgConnectOptions;
type Pool = sqlx::PgPool;
type Row = sqlx::postgres::PgRow;
type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// How statements are planned, whatever the statistics say at the moment: from the rows that they name to others by
/// index, never by reading a table or hashing one. Plans are kept for long, and some are made when a table is empty, or
/// when hardly a challenge waits: what looks cheap then is not any more under load. A test reads the plans.
pub const PLANNING: [(&str, &str); 4] =
    // Without just-in-time compilation, which the price of a forbidden step would set off.
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off")];

/// Opens the database at `url` (`postgres://…`).
pub(crate) async fn connect(url: &str, options: Options, wake: Arc<dyn WakeSink>) -> Result<Database, ConnectError> {
    parameters::check(url)?;
    let base = tls::verified(PgConnectOptions::from_str(url)?, url, options.allow_unverified_tls)?;
    let base = base.application_name("countersign");
    let base = if options.log_statements { base } else { base.disable_statement_logging() };
    // sqlx logs the database's notices; the migrator's "already exists, skipping" is one at each start.
    let base = base.options([("client_min_messages", "warning")]).options(PLANNING);
    let mut connection = tokio::time::timeout(options.connect_timeout, base.connect())
        .await
        .map_err(|_| ConnectError::Unreachable("no answer in time".to_owned()))??;
    schema::prepare(&mut connection, options.migrate).await?;
    connection.close().await?;

    // A migration may take long; a statement of the program may not.
    let half = options.transaction_timeout / 2;
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    let bounded = base.clone().options([
        ("statement_timeout", milliseconds(half)),
        ("lock_timeout", milliseconds(half / 2)),
        ("idle_in_transaction_session_timeout", milliseconds(options.transaction_timeout * 2)),
    ]);
    let pool = |connections| PgPoolOptions::new().max_connections(connections).acquire_timeout(options.connect_timeout);
    let reading = bounded.clone().options([("default_transaction_read_only", "on")]);
    let readers = pool(options.read_connections).connect_lazy_with(reading);
    let listener = pool(1).connect_lazy_with(base);
    let (database, stopping) = Database::start(readers, bounded, options, Reserve, Arc::clone(&wake));
    tokio::spawn(wakes::listen(listener, wake, stopping));
    Ok(database)
}
