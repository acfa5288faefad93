//! A fresh database of each kind for a test, gone when the test is over.
//!
//! SQLite lives in a temporary folder; PostgreSQL is the cluster named by `DATABASE_URL`, in which each test makes
//! a database of its own. Must never skip a database: a test that ran on one of the two has not run.
//! To add a kind of database: a variant here.

use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::{Arc, Mutex},
};

use countersign_core::{
    ports::Store,
    wake::{WakeKey, WakeSink},
};
use countersign_store::{ConnectError, Options, connect};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tempfile::TempDir;

/// A database that only this test knows.
pub(crate) struct Database {
    /// For SQLite the file, for both a name that nobody else has.
    folder: TempDir,
    /// The cluster, for PostgreSQL.
    cluster: Option<PgConnectOptions>,
}

impl Database {
    /// One of each kind, empty.
    pub(crate) async fn each() -> Vec<Self> {
        vec![Self::sqlite(), Self::postgres().await]
    }

    pub(crate) fn sqlite() -> Self {
        Self { folder: TempDir::new().unwrap(), cluster: None }
    }

    pub(crate) async fn postgres() -> Self {
        let cluster = PgConnectOptions::from_str(&cluster_url()).unwrap().disable_statement_logging();
        let database = Self { folder: TempDir::new().unwrap(), cluster: Some(cluster) };
        database.administer(format!("CREATE DATABASE {}", database.name())).await;
        database
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.cluster.is_some()
    }

    /// The file, if it is SQLite's.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// As in `database.url`.
    pub(crate) fn url(&self) -> String {
        match &self.cluster {
            None => format!("sqlite://{}", self.path().display()),
            Some(_) => {
                let (server, _) = cluster_url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
                format!("{server}/{}", self.name())
            }
        }
    }

    /// A node on this database.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.open_with(options(), Arc::new(Wakes::default())).await.unwrap()
    }

    /// A node with these bounds, whose wake-ups `sink` hears.
    pub(crate) async fn open_with(
        &self,
        options: Options,
        sink: Arc<dyn WakeSink>,
    ) -> Result<Arc<dyn Store>, ConnectError> {
        connect(&self.url(), crate::plans::listen(options), sink).await
    }

    /// Runs SQL behind the store's back; the same text on both. Values are written into the text.
    pub(crate) async fn tamper(&self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.cluster {
            None => self.sqlite_connection().await.execute(sql).await.unwrap().rows_affected(),
            Some(_) => self.postgres_connection().await.execute(sql).await.unwrap().rows_affected(),
        }
    }

    /// The first column, as text, of whatever the SQL yields; the same text on both.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.cluster {
            None => sqlx::query_scalar(sql).fetch_all(&mut self.sqlite_connection().await).await.unwrap(),
            Some(_) => sqlx::query_scalar(sql).fetch_all(&mut self.postgres_connection().await).await.unwrap(),
        }
    }

    /// How SQLite goes about a statement.
    pub(crate) async fn explain_sqlite(&self, statement: &str) -> Result<Vec<String>, sqlx::Error> {
        let explain = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        let rows = explain.fetch_all(&mut self.sqlite_connection().await).await?;
        Ok(rows.iter().map(|row| row.get("detail")).collect())
    }

    /// How PostgreSQL goes about a statement, whatever its parameters are.
    pub(crate) async fn explain_postgres(&self, statement: &str) -> Result<serde_json::Value, sqlx::Error> {
        let mut connection = self.postgres_connection().await;
        let planning =
            countersign_store::POSTGRES_PLANNING.into_iter().chain([("plan_cache_mode", "force_generic_plan")]);
        for (name, value) in planning {
            connection.execute(AssertSqlSafe(format!("SET {name} = {value}"))).await.unwrap();
        }
        // Where a statement does not say of what type a parameter is that may be NULL, it is a text or an id.
        let mut types: Vec<&str> = Vec::new();
        loop {
            let list = if types.is_empty() { String::new() } else { format!("({})", types.join(", ")) };
            let prepare = AssertSqlSafe(format!("PREPARE explained {list} AS {statement}"));
            let Err(error) = sqlx::raw_sql(prepare).execute(&mut connection).await else { break };
            let text = error.to_string();
            if text.contains("uuid = text") && types.last() == Some(&"text") {
                types.pop();
                types.push("uuid");
                continue;
            }
            let Some((_, number)) = text.split_once("data type of parameter $") else { return Err(error) };
            let number: usize = number.split(' ').next().unwrap().parse().unwrap();
            types.resize(types.len().max(number), "unknown");
            types[number - 1] = "text";
        }
        let parameters = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'explained'";
        let count: i32 = sqlx::query_scalar(parameters).fetch_one(&mut connection).await.unwrap();
        let nulls = vec!["NULL"; usize::try_from(count).unwrap()].join(", ");
        let nulls = if count == 0 { String::new() } else { format!("({nulls})") };
        let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE explained {nulls}"));
        Ok(sqlx::raw_sql(explain).fetch_one(&mut connection).await?.get(0))
    }

    /// A number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.cluster {
            None => sqlx::query_scalar(sql).fetch_one(&mut self.sqlite_connection().await).await.unwrap(),
            Some(_) => sqlx::query_scalar(sql).fetch_one(&mut self.postgres_connection().await).await.unwrap(),
        }
    }

    /// Brings an empty database to the schema of the first migration, as an older program would have left it.
    pub(crate) async fn migrate_to_the_first(&self) {
        let kind = if self.is_postgres() { "postgres" } else { "sqlite" };
        let name = "0001_first_schema.sql";
        let file = format!("{}/../../migrations/{kind}/{name}", env!("CARGO_MANIFEST_DIR"));
        let folder = TempDir::new().unwrap();
        std::fs::copy(file, folder.path().join(name)).unwrap();
        let migrator = sqlx::migrate::Migrator::new(folder.path()).await.unwrap();
        match &self.cluster {
            None => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
                migrator.run_direct(None, &mut options.connect().await.unwrap(), false).await.unwrap();
            }
            Some(_) => migrator.run_direct(None, &mut self.postgres_connection().await, false).await.unwrap(),
        }
    }

    /// An id as SQL text.
    pub(crate) fn sql_id<K>(&self, id: countersign_proto::ids::Id<K>) -> String {
        match self.is_postgres() {
            true => format!("'{id}'"),
            false => format!("x'{}'", id.as_uuid().simple()),
        }
    }

    /// A connection behind the store's back, to SQLite.
    pub(crate) async fn sqlite_connection(&self) -> sqlx::SqliteConnection {
        sqlx::sqlite::SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }

    /// A connection behind the store's back, to PostgreSQL.
    pub(crate) async fn postgres_connection(&self) -> PgConnection {
        self.cluster.clone().unwrap().database(&self.name()).connect().await.unwrap()
    }

    /// Runs a command on the cluster itself.
    pub(crate) async fn administer(&self, sql: String) {
        let mut connection = self.cluster.as_ref().unwrap().connect().await.unwrap();
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    /// Ends every connection to this database, as an operator or a crash would.
    pub(crate) async fn end_connections(&self) {
        let name = self.name();
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        self.administer(end).await;
    }

    /// How often PostgreSQL had to break a deadlock in this database; none on SQLite. A session tells its counts for
    /// certain only when it ends: close all nodes first.
    pub(crate) async fn deadlocks(&self) -> i64 {
        if !self.is_postgres() {
            return 0;
        }
        let name = self.name();
        let sessions = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'countersign'"
        );
        let gone = async { while self.number(&sessions).await > 0 {} };
        let gone = tokio::time::timeout(std::time::Duration::from_secs(20), gone).await;
        assert!(gone.is_ok(), "a node that was closed is still there");
        self.number(&format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'")).await
    }

    /// The database's own name in the cluster.
    pub(crate) fn name(&self) -> String {
        name_of(self.folder.path())
    }
}

fn name_of(folder: &Path) -> String {
    let random = folder.file_name().unwrap().to_str().unwrap();
    // Case would be lost, and with it some of the randomness: spell the bytes.
    let hex: String = random.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("test_{hex}")
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(cluster) = self.cluster.clone() else { return };
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name());
        // A thread with a runtime of its own: this one may be the one that is ending.
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut connection) = cluster.connect().await {
                    let _ = connection.execute(AssertSqlSafe(sql)).await;
                }
            });
        };
        let _ = std::thread::spawn(work).join();
    }
}

/// Holds back, on PostgreSQL, whoever has written to a table and would commit.
pub(crate) struct Gate {
    holder: PgConnection,
    observer: PgConnection,
}

impl Gate {
    /// From now on every write to `table` waits, in its transaction, until the gate is opened.
    pub(crate) async fn before_commits_of(database: &Database, table: &str) -> Self {
        let mut connection = database.postgres_connection().await;
        let trigger = format!(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
            CREATE TRIGGER gate AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION gate();
            SELECT pg_advisory_lock(1)"
        );
        connection.execute(AssertSqlSafe(trigger)).await.unwrap();
        Self { holder: connection, observer: database.postgres_connection().await }
    }

    /// Until somebody stands before the gate.
    pub(crate) async fn wait_for_somebody(&mut self) {
        let wait = async {
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut self.observer).await.unwrap() == 0 {}
        };
        let came = tokio::time::timeout(std::time::Duration::from_secs(10), wait).await;
        assert!(came.is_ok(), "nobody came before the gate");
    }

    /// Lets everybody through.
    pub(crate) async fn open(mut self) {
        self.holder.execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    }
}

/// `full` under `make proof`, else `small`.
#[expect(clippy::disallowed_methods, reason = "a switch of the test run, not a setting of the program")]
pub(crate) fn rounds(small: usize, full: usize) -> usize {
    if std::env::var_os("COUNTERSIGN_PROOF").is_some() { full } else { small }
}

/// Small pools: hundreds of stores are open at once.
pub(crate) fn options() -> Options {
    Options { read_connections: 2, ..Options::default() }
}

#[expect(clippy::disallowed_methods, reason = "how the script that starts the cluster tells where it is")]
fn cluster_url() -> String {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    assert!(
        url.starts_with("postgres"),
        "these tests run on PostgreSQL too: use `make test`, or scripts/with-postgres.sh cargo test …"
    );
    url
}

/// Remembers every wake-up.
#[derive(Default)]
pub(crate) struct Wakes {
    keys: Mutex<Vec<WakeKey>>,
    heard: tokio::sync::Notify,
}

impl WakeSink for Wakes {
    fn wake(&self, keys: &[WakeKey]) {
        self.keys.lock().unwrap().extend_from_slice(keys);
        self.heard.notify_waiters();
    }
}

impl Wakes {
    /// Takes what was heard so far.
    pub(crate) fn take(&self) -> Vec<WakeKey> {
        let mut keys = std::mem::take(&mut *self.keys.lock().unwrap());
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Waits until `key` is heard.
    pub(crate) async fn hear(&self, key: WakeKey) {
        let wait = async {
            loop {
                let mut heard = std::pin::pin!(self.heard.notified());
                heard.as_mut().enable();
                if self.keys.lock().unwrap().contains(&key) {
                    return;
                }
                heard.await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.unwrap();
    }
}
