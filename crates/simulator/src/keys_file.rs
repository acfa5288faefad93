//! The keys file: every registration of a command-line phone, in one JSON file that only its owner can read.
//!
//! Replaced whole and atomically: a crash leaves the old file or the new one, and never, not even for a
//! moment, one that others can read. A file that others can read is refused rather than used.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use countersign_proto::ids::DeviceId;
use serde::{Deserialize, Serialize};

use crate::phone::Registration;

/// The version of the file's form that this program writes.
const VERSION: u32 = 1;

/// What the keys file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysFile {
    version: u32,
    /// Oldest first.
    pub registrations: Vec<Registration>,
}

/// Why a keys file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysFileError {
    /// It is not there.
    #[error("there is no keys file {}: enroll first", .0.display())]
    Missing(PathBuf),
    /// Others can read it: the keys in it prove nothing any more.
    #[error("the keys file {} can be read by others: chmod 600 it, or enroll anew", .0.display())]
    NotPrivate(PathBuf),
    /// It cannot be read or written.
    #[error("keys file {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not one of ours.
    #[error("keys file {}: {reason}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Default for KeysFile {
    fn default() -> Self {
        Self { version: VERSION, registrations: Vec::new() }
    }
}

impl KeysFile {
    /// Reads a file that must be there.
    ///
    /// # Errors
    /// [`KeysFileError`].
    pub fn load(path: &Path) -> Result<Self, KeysFileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeysFileError::Missing(path.to_owned()),
            _ => KeysFileError::Io { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(failed)?;
        if !is_private(&file).map_err(failed)? {
            return Err(KeysFileError::NotPrivate(path.to_owned()));
        }
        let text = io::read_to_string(file).map_err(failed)?;
        let form = |reason: String| KeysFileError::Form { path: path.to_owned(), reason };
        let keys: Self = serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        match keys.version {
            VERSION => Ok(keys),
            version => Err(form(format!("version {version} is not one that this program reads"))),
        }
    }

    /// Changes the file, which need not be there, as `change` says; nothing is written if that fails.
    ///
    /// Two programs at once: the directory's lock puts their changes after each other, so none is lost.
    ///
    /// # Errors
    /// [`KeysFileError`].
    pub fn update<T>(path: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, KeysFileError> {
        let failed = |source: io::Error| KeysFileError::Io { path: path.to_owned(), source };
        let directory = directory_of(path);
        // The lock ends when the handle is dropped, also if this process is killed.
        let lock = File::open(directory).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut keys = match Self::load(path) {
            Err(KeysFileError::Missing(_)) => Self::default(),
            loaded => loaded?,
        };
        let result = change(&mut keys);
        keys.replace(path).map_err(failed)?;
        Ok(result)
    }

    /// Whether a registration could be added, found out without changing anything.
    ///
    /// # Errors
    /// [`KeysFileError`].
    pub fn check_writable(path: &Path) -> Result<(), KeysFileError> {
        match Self::load(path) {
            Ok(_) | Err(KeysFileError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        let failed = |source: io::Error| KeysFileError::Io { path: path.to_owned(), source };
        tempfile::tempfile_in(directory_of(path)).map(|_| ()).map_err(failed)
    }

    /// Adds a registration.
    ///
    /// # Errors
    /// [`KeysFileError`].
    pub fn add(path: &Path, registration: Registration) -> Result<(), KeysFileError> {
        Self::update(path, |keys| keys.registrations.push(registration))
    }

    /// Forgets a registration and its keys; whether it was there.
    ///
    /// # Errors
    /// [`KeysFileError`].
    pub fn remove(path: &Path, device_id: DeviceId) -> Result<bool, KeysFileError> {
        Self::update(path, |keys| {
            let before = keys.registrations.len();
            keys.registrations.retain(|registration| registration.device_id != device_id);
            keys.registrations.len() < before
        })
    }

    /// Writes beside, flushes, then renames over: the name always points to a whole file.
    fn replace(&self, path: &Path) -> io::Result<()> {
        let directory = directory_of(path);
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // Private from its first byte: the mode is given when the file is made.
            builder.permissions(fs::Permissions::from_mode(0o600));
        }
        let mut file = builder.prefix(".countersign-device-").tempfile_in(directory)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The rename itself is durable only when the directory is.
        File::open(directory)?.sync_all()
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn is_private(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests;
