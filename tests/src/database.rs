//! A fresh database for a test, gone when the test is over.
//!
//! SQLite lives in a temporary folder; PostgreSQL is the cluster named by `DATABASE_URL`, in which each test makes
//! a database of its own. Must never skip a database: a test that ran on one of the two has not run.

use std::{path::PathBuf, str::FromStr as _, sync::Mutex};

use countersign_simulator::commit_thief::CommitThief;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection,
    postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Db {
    /// The embedded one.
    Sqlite,
    /// The one for several nodes.
    Postgres,
}

/// A database that only this test knows, and a folder for the other files of the test.
#[derive(Debug)]
pub struct Database {
    folder: TempDir,
    /// For PostgreSQL.
    postgres: Option<Remote>,
}

#[derive(Debug)]
struct Remote {
    /// Any database of the cluster, by its URL.
    cluster_url: String,
    /// The same, to connect to.
    cluster: PgConnectOptions,
    /// The database's name in the cluster.
    name: String,
    /// To look behind the server's back: to connect costs more than most of what is looked for.
    session: Mutex<Option<PgConnection>>,
}

impl Remote {
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.cluster.clone().database(&self.name).connect().await
    }

    /// Runs something in the session: a new one if the last has died, failed at its work, or is at work.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let idle = self.session.lock().unwrap().take();
        let mut connection = match idle {
            Some(mut idle) => match idle.ping().await {
                Ok(()) => idle,
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let done = work(&mut connection).await;
        // What failed may have left a transaction open.
        if done.is_ok() {
            *self.session.lock().unwrap() = Some(connection);
        }
        done
    }
}

impl Database {
    /// A fresh one, empty.
    pub async fn create(db: Db) -> Self {
        match db {
            Db::Sqlite => Self { folder: folder(), postgres: None },
            Db::Postgres => Self::create_in(&cluster_url()).await,
        }
    }

    /// A fresh one, empty, in this PostgreSQL cluster.
    pub async fn create_in(cluster_url: &str) -> Self {
        let folder = folder();
        let cluster = PgConnectOptions::from_str(cluster_url).unwrap().disable_statement_logging();
        // The folder's name is unique; case would be lost, so its bytes are spelled.
        let unique = folder.path().file_name().unwrap().as_encoded_bytes();
        let unique: String = unique.iter().rev().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("story_{unique}_{}", std::process::id());
        let mut connection = cluster.connect().await.expect("PostgreSQL answers");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        Self {
            folder,
            postgres: Some(Remote { cluster_url: cluster_url.to_owned(), cluster, name, session: Mutex::default() }),
        }
    }

    /// Which it is.
    pub fn db(&self) -> Db {
        if self.postgres.is_some() { Db::Postgres } else { Db::Sqlite }
    }

    /// As in `database.url`.
    pub fn url(&self) -> String {
        match &self.postgres {
            None => format!("sqlite://{}", self.sqlite_file().display()),
            Some(Remote { cluster_url, name, .. }) => {
                let (server, _) = cluster_url.rsplit_once('/').unwrap();
                format!("{server}/{name}")
            }
        }
    }

    /// The file of an SQLite database.
    pub fn sqlite_file(&self) -> PathBuf {
        self.file("countersign.db")
    }

    /// A file in the test's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs SQL behind the server's back, the same text on both; rows affected. An id is [`Self::id`].
    pub async fn tamper(&self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.postgres {
            None => self.sqlite().await.execute(sql).await.unwrap().rows_affected(),
            Some(remote) => remote.run(async |session| session.execute(sql).await).await.unwrap().rows_affected(),
        }
    }

    /// The same, which the database may refuse: `None` then.
    pub async fn try_tamper(&self, sql: &str) -> Option<u64> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.postgres {
            None => self.sqlite().await.execute(sql).await.ok().map(|done| done.rows_affected()),
            Some(remote) => {
                remote.run(async |session| session.execute(sql).await).await.ok().map(|done| done.rows_affected())
            }
        }
    }

    /// One whole number that the SQL yields, the same text on both.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.postgres {
            None => sqlx::query_scalar(sql).fetch_one(&mut self.sqlite().await).await.unwrap(),
            Some(remote) => remote
                .run(async |session| sqlx::query_scalar(sql).persistent(false).fetch_one(session).await)
                .await
                .unwrap(),
        }
    }

    /// The first column, which is text, of what the SQL yields.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.postgres {
            None => sqlx::query_scalar(sql).fetch_all(&mut self.sqlite().await).await.unwrap(),
            Some(remote) => remote
                .run(async |session| sqlx::query_scalar(sql).persistent(false).fetch_all(session).await)
                .await
                .unwrap(),
        }
    }

    /// An id as a literal of this database's SQL.
    pub fn id(&self, id: &str) -> String {
        match &self.postgres {
            None => format!("x'{}'", id.replace('-', "")),
            Some(_) => format!("'{id}'"),
        }
    }

    /// Drops it. On PostgreSQL that fails if anybody is still connected, after some patience.
    pub(crate) async fn drop_if_nobody_is_connected(&self) {
        if let Some(Remote { cluster, name, session, .. }) = &self.postgres {
            let idle = session.lock().unwrap().take();
            if let Some(idle) = idle {
                idle.close().await.unwrap();
            }
            let mut connection = cluster.connect().await.unwrap();
            let dropped = connection.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await;
            dropped.expect("a stopped server keeps no connection");
        }
    }

    async fn sqlite(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.sqlite_file()).connect().await.unwrap()
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("countersign-test-").tempdir().unwrap()
}

/// A thief before the PostgreSQL that all tests share.
pub async fn commit_thief() -> CommitThief {
    let database = PgConnectOptions::from_str(&cluster_url()).unwrap();
    CommitThief::start(database.get_host(), database.get_port()).await.unwrap()
}

/// The PostgreSQL that all tests share.
#[expect(clippy::disallowed_methods, reason = "how the script that starts the cluster says where it is")]
pub(crate) fn cluster_url() -> String {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    assert!(
        url.starts_with("postgres"),
        "the stories run on PostgreSQL too: use `make test`, or scripts/with-postgres.sh cargo test …"
    );
    url
}
