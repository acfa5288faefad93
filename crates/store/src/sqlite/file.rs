//! The database's file: made closed to other users, and the lock under which it is migrated.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use crate::connect::ConnectError;

/// The path in `sqlite://PATH`, taken as it stands: no parameters, which could switch durability off, and no
/// database in memory, which every connection would have for itself.
pub(super) fn of_url(url: &str) -> Result<PathBuf, ConnectError> {
    match url.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.contains(['?', '#']) && !path.contains(":memory:") => Ok(path.into()),
        _ => Err(ConnectError::Url("SQLite needs a file".to_owned())),
    }
}

/// Makes the file if it is missing, then waits for the migration lock, which lasts until the returned file is
/// dropped. The system frees the lock of a process that dies, so nobody waits for the dead; whoever holds it is
/// busy migrating, which is worth waiting for.
pub(super) async fn lock_for_migration(path: &Path) -> Result<File, ConnectError> {
    let path = path.to_owned();
    let task = tokio::task::spawn_blocking(move || lock(&path).map_err(|error| (path, error)));
    match task.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err((path, error))) => Err(ConnectError::File { path: path.display().to_string(), error }),
        Err(gone) => Err(ConnectError::Unreachable(gone.to_string())),
    }
}

fn lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        private_folder().recursive(true).create(folder)?;
    }
    // SQLite gives its side files the mode of the main one.
    private_file().open(path)?;
    // A file of its own: closing any descriptor of the database's file would drop SQLite's own POSIX locks.
    let lock = private_file().open(beside(path))?;
    lock.lock()?;
    Ok(lock)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-migrate");
    name.into()
}

/// Names, push tokens and pending numbers are for the server's own user.
pub(super) fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn private_folder() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}
