//! Changing the key file: the next signing key, and the end of one that others may have.
//!
//! The file is replaced in one step, under a lock on its folder, with the owner and mode it had; servers that run take
//! it up by themselves. A key is never taken out: what it signed must stay verifiable. Its private half is, once it
//! cannot sign any more. `mac_key` and `vapid_key` never change: rows are sealed, and phones subscribed, under them.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
};

use countersign_core::entropy::Entropy;
use countersign_proto::{jose::Thumbprint, timestamp::Timestamp};

use super::key_file::{self, KeyEntry, KeyFile, KeyFileError};

/// How long a new key is published before it signs: twice what verifiers keep `jwks.json` for.
pub const PUBLISHED_BEFORE_SECONDS: i64 = 600;
/// How long the old key still counts after the new one has begun to sign: for a node that took the file up late.
pub const OVERLAP_SECONDS: i64 = 300;
/// A result may be signed for a time that is as long ago.
const PRIVATE_HALF_SECONDS: i64 = 3_600;

/// A key of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its name.
    pub kid: Thumbprint,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it signs.
    pub signs_from: Timestamp,
    /// It signs nothing after this.
    pub retired_at: Option<Timestamp>,
    /// What it signed after this is a forgery.
    pub revoked_at: Option<Timestamp>,
    /// What it does now.
    pub state: KeyState,
    /// Whether the file still holds the half that signs.
    pub has_private_half: bool,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is published, and will sign.
    Next,
    /// It signs.
    Signing,
    /// It has signed; what it signed counts.
    Retired,
    /// Others may have it.
    Revoked,
}

impl KeyState {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }
}

/// All keys of a file, oldest first.
///
/// # Errors
/// [`KeyFileError`].
pub fn list(path: &Path, now: Timestamp) -> Result<Vec<KeyRecord>, KeyFileError> {
    Ok(records(&key_file::read(path)?, now))
}

/// Adds the next key; the one that signs is retired soon after it begins. Returns the new key.
///
/// # Errors
/// [`KeyFileError`]; the file is what it was. One that waits already is an error.
pub fn rotate(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<KeyRecord, KeyFileError> {
    change(path, now, entropy, |file| {
        if let Some(next) = records(file, now).into_iter().find(|key| key.state == KeyState::Next) {
            let (kid, from) = (next.kid, next.signs_from);
            return Err(KeyFileError::Refused(format!("the key {kid} waits already; it signs from {from} on")));
        }
        let signs_from = now.floor_to_second().plus_seconds(PUBLISHED_BEFORE_SECONDS);
        for key in file.keys.iter_mut().filter(|key| key.retired_at.is_none() && key.revoked_at.is_none()) {
            key.retired_at = Some(signs_from.plus_seconds(OVERLAP_SECONDS));
        }
        add(path, file, now, signs_from)
    })
}

/// Revokes a key that others may have: what it signs from now on is refused. If nobody were left to sign, now or when
/// the others have retired, a new one signs at once; returns that.
///
/// # Errors
/// [`KeyFileError`]; the file is what it was. An unknown key is an error, a revoked one is not.
pub fn revoke(
    path: &Path,
    kid: &str,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Option<KeyRecord>, KeyFileError> {
    change(path, now, entropy, |file| {
        let is_meant = |key: &&mut KeyEntry| key.public().is_some_and(|public| public.thumbprint().as_str() == kid);
        let Some(key) = file.keys.iter_mut().find(is_meant) else {
            return Err(KeyFileError::Refused(format!("there is no key {kid}; see `countersign keys list`")));
        };
        let now = now.floor_to_second();
        // The earlier time holds: a second call must not let anything in again.
        key.revoked_at = Some(key.revoked_at.map_or(now, |at| at.min(now)));
        key.forget_private_half();
        let left = records(file, now);
        let signs_now = left.iter().any(|key| key.state == KeyState::Signing);
        let signs_later = left.iter().any(|key| key.revoked_at.is_none() && key.retired_at.is_none());
        if signs_now && signs_later {
            return Ok(None);
        }
        add(path, file, now, now).map(Some)
    })
}

/// Takes the private halves of keys out of the file that have retired an hour ago; returns how many. Every other change
/// does so, too.
///
/// # Errors
/// [`KeyFileError`]; the file is what it was.
pub fn prune(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<usize, KeyFileError> {
    change(path, now, entropy, |file| Ok(file.keys.iter().filter(|key| is_spent(key, now)).count()))
}

/// Whether it has retired, and still has the half that could sign.
fn is_spent(key: &KeyEntry, now: Timestamp) -> bool {
    key.has_private_half() && key.retired_at.is_some_and(|at| at.plus_seconds(PRIVATE_HALF_SECONDS) <= now)
}

fn add(path: &Path, file: &mut KeyFile, now: Timestamp, signs_from: Timestamp) -> Result<KeyRecord, KeyFileError> {
    let entry = KeyEntry::generate(now.floor_to_second(), signs_from).ok_or_else(|| KeyFileError::corrupt(path))?;
    file.keys.push(entry);
    records(file, now).pop().ok_or_else(|| KeyFileError::corrupt(path))
}

fn records(file: &KeyFile, now: Timestamp) -> Vec<KeyRecord> {
    let record = |key: &KeyEntry| {
        let state = match (key.revoked_at, key.retired_at) {
            (Some(_), _) => KeyState::Revoked,
            (None, _) if key.signs_from > now => KeyState::Next,
            (None, Some(at)) if at <= now => KeyState::Retired,
            (None, _) => KeyState::Signing,
        };
        let kid = key.public()?.thumbprint();
        let KeyEntry { created_at, signs_from, retired_at, revoked_at, .. } = *key;
        let has_private_half = key.has_private_half();
        Some(KeyRecord { kid, created_at, signs_from, retired_at, revoked_at, state, has_private_half })
    };
    let mut records: Vec<_> = file.keys.iter().filter_map(record).collect();
    // Of those that may sign the newest does; another one only until it is retired.
    let newest = records.iter().filter(|key| key.state == KeyState::Signing).map(|key| key.signs_from).max();
    for key in &mut records {
        if key.state == KeyState::Signing && Some(key.signs_from) != newest {
            key.state = KeyState::Retired;
        }
    }
    records
}

/// Reads, changes and replaces the file; of two that do so at once the second sees what the first has done.
fn change<T>(
    path: &Path,
    now: Timestamp,
    entropy: &dyn Entropy,
    edit: impl FnOnce(&mut KeyFile) -> Result<T, KeyFileError>,
) -> Result<T, KeyFileError> {
    let failed = |cause| KeyFileError::Io { path: path.to_owned(), cause };
    // Through links: what all nodes read is replaced, not one node's link to it.
    let path = &fs::canonicalize(path).map_err(failed)?;
    // The folder's handle is the lock: the file itself is another one afterwards. Gone with the process.
    let folder = fs::File::open(key_file::folder(path)).map_err(failed)?;
    folder.lock().map_err(failed)?;
    let mut file = key_file::read(path)?;
    let outcome = edit(&mut file)?;
    for key in file.keys.iter_mut().filter(|key| is_spent(key, now)) {
        key.forget_private_half();
    }
    let before = fs::metadata(path).map_err(failed)?;
    let temporary = key_file::write_beside(path, &file, entropy)?;
    let replaced = keep_owner(&temporary, &before).and_then(|()| fs::rename(&temporary, path));
    if let Err(cause) = replaced {
        // Either way nothing has changed; a copy of the keys must not stay behind.
        drop(fs::remove_file(&temporary));
        return Err(failed(cause));
    }
    folder.sync_all().map_err(failed)?;
    Ok(outcome)
}

/// Root rotates the keys of a server that runs as somebody else: that one must still be able to read them.
fn keep_owner(file: &Path, before: &fs::Metadata) -> io::Result<()> {
    let now = fs::metadata(file)?;
    if (now.uid(), now.gid()) == (before.uid(), before.gid()) {
        return Ok(());
    }
    chown(file, Some(before.uid()), Some(before.gid()))
}

#[cfg(test)]
mod tests;
