//! Writes the whole database anew, without what was deleted: after erasures, for files in which nothing is found.
//!
//! `secure_delete` zeroes what is deleted, but when SQLite moves rows between pages a few bytes of old ones may stay
//! behind in a page that is in use. This leaves none. Writes wait meanwhile, so it is for whoever runs the server to say
//! when. Its statements have no names: they are issued here only, on a connection of its own.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, Row as _, sqlite::SqliteConnectOptions};

use super::{backup::BackupError, file, query};

/// How long to wait for readers and writers to make room.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes the SQLite database at `url` anew.
///
/// # Errors
/// [`BackupError`]: somebody uses the database all the time, there is no room on the disk, or it is no SQLite. Nothing
/// is lost.
pub async fn vacuum(url: &str) -> Result<(), BackupError> {
    if !url.starts_with("sqlite://") {
        return Err(BackupError::NotSqlite);
    }
    let options = SqliteConnectOptions::new().filename(file::of_url(url)?).busy_timeout(PATIENCE);
    let mut connection = options.pragma("secure_delete", "ON").connect().await?;
    query("VACUUM").execute(&mut connection).await?;
    let row = query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
    let is_busy: i64 = row.try_get(0)?;
    connection.close().await?;
    if is_busy == 0 { Ok(()) } else { Err(BackupError::StillRead) }
}
