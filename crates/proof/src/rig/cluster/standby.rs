//! A cluster as one of two: a hot standby that is a copy of the other and follows it, until it is promoted.
//!
//! Never follows by itself whom it is not told to. To ask a cluster something else: [`Cluster::says`].

use std::{fs, os::unix::fs::DirBuilderExt as _, str::FromStr as _};

use sqlx::{ConnectOptions as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use super::Cluster;
use crate::{
    ProofError,
    rig::{free_port, lossy},
};

impl Cluster {
    /// Another one with nothing in it yet, that does not run: of the same programs, user and password.
    pub(crate) fn beside(&self) -> Result<Self, ProofError> {
        let parent = self.folder.path().parent().unwrap_or(self.folder.path());
        let folder = tempfile::Builder::new().prefix("countersign-proof-cluster").tempdir_in(parent)?;
        let (programs, user, password) = (self.programs.clone(), self.user, self.password.clone());
        let cluster = Self { folder, programs, user, port: free_port()?, password, server: None };
        cluster.give(cluster.folder.path())?;
        let data = cluster.folder.path().join("data");
        fs::DirBuilder::new().mode(0o700).create(&data)?;
        cluster.give(&data)?;
        Ok(cluster)
    }

    /// Becomes a hot standby of the one that is reached by this port, from a fresh copy of it; returns when it runs.
    pub(crate) async fn follow(&mut self, port: u16) -> Result<(), ProofError> {
        // The folder itself stays: by it PostgreSQL finds the shared memory that a killed one has left, and frees it.
        for entry in fs::read_dir(self.folder.path().join("data"))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        let mut command = self.command(&self.programs.join("pg_basebackup"));
        command.args(["--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        command.args(["--host=127.0.0.1", &format!("--port={port}"), "--username=superuser", "--no-password"]);
        command.env("PGPASSWORD", &self.password).env("PGSSLMODE", "disable");
        let output = command.kill_on_drop(true).output().await?;
        if !output.status.success() {
            return Err(ProofError::Rig(format!("pg_basebackup failed: {}", lossy(&output.stderr))));
        }
        self.start_again().await
    }

    /// Ends its recovery: it takes writes when this returns.
    pub(crate) async fn promote(&self) -> Result<(), ProofError> {
        let promoted = self.says("SELECT pg_promote()").await?;
        if promoted { Ok(()) } else { Err(ProofError::Rig("the standby was not promoted".to_owned())) }
    }

    /// Has a superuser say something.
    pub(crate) async fn tell(&self, sql: &'static str) -> Result<(), ProofError> {
        self.superuser().await?.execute(sql).await.map(drop).map_err(|error| failed(&error))
    }

    /// What it says to a question of yes or no.
    pub(crate) async fn says(&self, sql: &'static str) -> Result<bool, ProofError> {
        let mut superuser = self.superuser().await?;
        sqlx::query_scalar(sql).fetch_one(&mut superuser).await.map_err(|error| failed(&error))
    }

    async fn superuser(&self) -> Result<PgConnection, ProofError> {
        let options = PgConnectOptions::from_str(&format!("{}?sslmode=disable", self.url()));
        let options = options.map_err(|error| failed(&error))?.disable_statement_logging();
        options.connect().await.map_err(|error| failed(&error))
    }
}

fn failed(error: &sqlx::Error) -> ProofError {
    ProofError::Rig(format!("the harness's own connection to PostgreSQL: {error}"))
}
