//! A database that only one attack knows.

use std::{path::Path, str::FromStr as _};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, postgres::PgConnectOptions};

use crate::ProofError;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Db {
    /// The embedded one.
    Sqlite,
    /// The one for several nodes.
    Postgres,
}

impl Db {
    /// As it is called in arguments and figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A fresh database.
#[derive(Debug)]
pub(crate) struct Database {
    /// As in `database.url`.
    pub(crate) url: String,
    cluster: Option<(PgConnectOptions, String)>,
}

impl Database {
    /// An empty one; for SQLite in this folder, for PostgreSQL in this cluster.
    pub(crate) async fn create(db: Db, folder: &Path, cluster_url: Option<&str>) -> Result<Self, ProofError> {
        if db == Db::Sqlite {
            let file = folder.join("countersign.db");
            return Ok(Self { url: format!("sqlite://{}", file.display()), cluster: None });
        }
        let missing =
            || ProofError::Rig("name a PostgreSQL with DATABASE_URL (scripts/with-postgres.sh does)".to_owned());
        let cluster_url = cluster_url.ok_or_else(missing)?;
        let options = PgConnectOptions::from_str(cluster_url).map_err(failed)?.disable_statement_logging();
        // The folder's name is unique; case would be lost, so its bytes are spelled.
        let unique = folder.file_name().unwrap_or_default().as_encoded_bytes();
        let unique: String = unique.iter().rev().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("proof_{unique}_{}", std::process::id());
        let mut connection = options.connect().await.map_err(failed)?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.map_err(failed)?;
        let (server, _) = cluster_url.rsplit_once('/').ok_or_else(missing)?;
        Ok(Self { url: format!("{server}/{name}"), cluster: Some((options, name)) })
    }

    /// Drops it; whoever is still connected is cut off.
    pub(crate) async fn drop(&self) -> Result<(), ProofError> {
        if let Some((cluster, name)) = &self.cluster {
            let mut connection = cluster.connect().await.map_err(failed)?;
            let sql = format!("DROP DATABASE {name} WITH (FORCE)");
            connection.execute(AssertSqlSafe(sql)).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: sqlx::Error) -> ProofError {
    ProofError::Rig(format!("the harness's own connection to PostgreSQL: {error}"))
}
