//! A copy of the database while a server uses it: whole, as it was at one moment, durable before it has its name.
//!
//! One read transaction (`VACUUM INTO`): the server goes on, and what it writes meanwhile is not in the copy. Free space
//! is left out, and with it whatever was deleted. Never overwrites a file, and never copies the key file, which belongs
//! elsewhere. Its statements have no names: they are issued here only, on connections of their own.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions as _, Connection as _, Row as _, sqlite::SqliteConnectOptions};

use super::{Connection, file, query};
use crate::connect::ConnectError;

/// A backup that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// How long the file is.
    pub size_bytes: u64,
    /// The newest migration in it: a program that is as new reads it.
    pub migration: i64,
}

/// Why there is no backup. One clear line each; nothing is left but, after a crash, a `.part` file.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Only SQLite is copied like this.
    #[error("PostgreSQL is backed up with its own tools: see docs/operations.md, \"Backup and restore\"")]
    NotSqlite,
    /// The settings name no file.
    #[error(transparent)]
    Settings(#[from] ConnectError),
    /// A backup is never overwritten.
    #[error("{0} is there already; name a file that is not")]
    Exists(String),
    /// Another process writes to the same name, or one that did not finish has left this.
    #[error("{0} is there: another backup is being written, or one broke off; delete it if none is running")]
    Unfinished(String),
    /// A reader holds on to what was there before.
    #[error("a reader keeps the old pages in the -wal file: try again")]
    StillRead,
    /// The file system refused.
    #[error("cannot write {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// The database refused.
    #[error("cannot copy the database: {0}")]
    Database(#[from] sqlx::Error),
    /// What was written does not read back.
    #[error("the copy is not sound ({0}); the database itself may be damaged")]
    Unsound(String),
}

/// Copies the database at `url` (`sqlite://PATH`) to `to`.
///
/// # Errors
/// [`BackupError`].
pub async fn backup(url: &str, to: &Path) -> Result<Backup, BackupError> {
    if !url.starts_with("sqlite://") {
        return Err(BackupError::NotSqlite);
    }
    let source = file::of_url(url)?;
    let failed = |cause| BackupError::File { path: to.display().to_string(), cause };
    if to.try_exists().map_err(failed)? {
        return Err(BackupError::Exists(to.display().to_string()));
    }
    let part = part_of(to);
    // Made here, by nobody else, and of mode 0600: never what a link leads to. Held open to the end.
    let file = match file::private_file().create_new(true).open(&part) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Unfinished(part.display().to_string()));
        }
        outcome => outcome.map_err(failed)?,
    };
    let written = write(&source, &part, &file, to).await;
    if written.is_err() {
        // Half a backup is none, and holds what a whole one would.
        drop(fs::remove_file(&part));
    }
    written
}

async fn write(source: &Path, part: &Path, file: &File, to: &Path) -> Result<Backup, BackupError> {
    let failed = |cause| BackupError::File { path: to.display().to_string(), cause };
    let mut connection = SqliteConnectOptions::new().filename(source).read_only(true).connect().await?;
    copy(&mut connection, part).await?;
    connection.close().await?;
    let migration = check(part).await?;
    publish(file, part, to).map_err(failed)?;
    Ok(Backup { size_bytes: file.metadata().map_err(failed)?.len(), migration })
}

fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

async fn copy(connection: &mut Connection, part: &Path) -> Result<(), BackupError> {
    let name = part.to_str().ok_or_else(|| BackupError::Unsound("the file's name is not UTF-8".to_owned()))?;
    query("VACUUM INTO $1").bind(name).execute(connection).await?;
    Ok(())
}

/// Reads the copy through, and says which migration it is from.
async fn check(part: &Path) -> Result<i64, BackupError> {
    let mut copy = SqliteConnectOptions::new().filename(part).read_only(true).connect().await?;
    let verdict: String = query("PRAGMA integrity_check").fetch_one(&mut copy).await?.try_get(0)?;
    if verdict != "ok" {
        return Err(BackupError::Unsound(verdict));
    }
    let newest = query("SELECT max(version) FROM _sqlx_migrations WHERE success");
    let migration: Option<i64> = newest.fetch_one(&mut copy).await?.try_get(0)?;
    copy.close().await?;
    migration.ok_or_else(|| BackupError::Unsound("it holds no migration".to_owned()))
}

/// Durable first, then under its name: a backup that is there is whole.
fn publish(file: &File, part: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    // Unlike renaming, linking refuses to replace a file that has come meanwhile.
    fs::hard_link(part, to)?;
    fs::remove_file(part)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
