//! Room on the disk that is kept for taking access away: a file beside the database, full of nothing.
//!
//! On a full disk no row can be written, and so no lost phone be revoked, just when an operator has other things on their
//! mind. So when such a command finds the disk full, a piece of the file is given up, and the command runs again in that
//! room ([`Plain::room`](super::transaction::Plain::room)). As long as the file is short nothing else is written: what the
//! piece left would be gone at once. It is made whole again as soon as there is room, without a restart.
//!
//! What counts is the file's length, not this process's memory of it: so a start on a full disk finds how things are, and
//! so does another process at the same database; who changes it holds its lock. The length is never asked to be durable:
//! after a crash a file that came out short is made whole again, or is what the disk has room for.
//!
//! Must never be given up for anything that lets somebody in, nor hold data.

use std::{
    fs::{self, File},
    future,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{Room, file::private_file};

/// What is given up at a time. A revocation writes some tens of pages of 4 KiB; the next one finds what is left of it.
const PIECE: u64 = 1024 * 1024;
/// The part of the whole that only an operator gets, to end what has used up the rest.
const LAST: u64 = 4;
/// How often it is tried to make it whole again.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    last_try: Option<LastTry>,
    /// Whether the log has said that the disk is full, and not yet that it is not.
    is_told: bool,
}

/// What the last try to make the file whole came to; that is good for a while.
#[derive(Debug)]
struct LastTry {
    /// Ends when the while is over.
    rest: JoinHandle<()>,
    may_write: bool,
}

impl LastTry {
    fn just_now(may_write: bool) -> Self {
        let rest = async {
            let _ = timeout(INTERVAL, future::pending::<()>()).await;
        };
        Self { rest: tokio::spawn(rest), may_write }
    }
}

impl Reserve {
    /// Of a database file that is there; 0 bytes: none, and it is always whole. A file of before is cut to size.
    pub(super) async fn beside(database: &Path, bytes: u64) -> Self {
        // Where SQLite has its log, too, if the path is a link.
        let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let mut path = database.as_os_str().to_owned();
        path.push("-reserve");
        let reserve = Self { path: path.into(), bytes, last_try: None, is_told: false };
        let path = reserve.path.clone();
        if let Ok(Err(error)) = spawn_blocking(move || cut_to(&path, bytes)).await {
            tracing::error!(%error, "what is kept for revocations on a full disk cannot be used");
        }
        reserve
    }

    /// Whether everything may be written. Tries to make the file whole, at most once a second.
    pub(super) async fn is_whole(&mut self) -> bool {
        // One look at a file's length, far below the price of a transaction.
        if self.bytes == 0 || length(&self.path) >= self.bytes {
            return true;
        }
        if let Some(last) = self.last_try.as_ref().filter(|last| !last.rest.is_finished()) {
            return last.may_write;
        }
        let (path, bytes) = (self.path.clone(), self.bytes);
        let was_there = path.exists();
        // A task that panics or is not run: the process ends.
        let Ok(tried) = spawn_blocking(move || make_whole(&path, bytes)).await else { return false };
        let is_whole = tried.is_ok();
        let may_write = self.tell(tried, was_there);
        // Of one that is whole the next look at its length says more.
        self.last_try = (!is_whole).then(|| LastTry::just_now(may_write));
        may_write
    }

    /// What a try means for those who write; in the log if it is news.
    fn tell(&mut self, tried: io::Result<()>, was_there: bool) -> bool {
        let bytes = self.bytes;
        let Err(error) = tried else {
            self.is_told = false;
            // Making it for the first time is nobody's news.
            if self.last_try.is_some() {
                tracing::info!(bytes, "the disk has room again, and what is kept for revocations is whole");
            }
            return true;
        };
        // One that was never there was never given up: a disk that has no room for it may have room for much else. And one
        // of somebody else says nothing of the disk. To refuse everybody for that would help nobody.
        let may_write = !was_there || error.kind() == io::ErrorKind::PermissionDenied;
        if !self.is_told {
            match may_write {
                true => tracing::error!(%error, bytes, "no room is kept for revocations (database.reserve_mib)"),
                false => tracing::error!(
                    %error, bytes,
                    "the disk is full: until it has room for database.reserve_mib, access is taken away and nothing else done"
                ),
            }
        }
        self.is_told = true;
        may_write
    }

    /// Frees a piece; `false` if nothing is left in that room.
    pub(super) async fn give_up_a_piece(&mut self, room: Room) -> bool {
        let floor = match room {
            Room::Free => return false,
            Room::Reserved => self.bytes / LAST,
            Room::Last => 0,
        };
        let path = self.path.clone();
        match spawn_blocking(move || shorten(&path, floor)).await {
            Ok(Ok(Some(left))) => {
                // What is left of the piece is for the next revocation.
                self.last_try = Some(LastTry::just_now(false));
                tracing::warn!(left, "the disk is full: a piece of the reserve is given up for a revocation");
                true
            }
            Ok(Ok(None)) | Err(_) => false,
            Ok(Err(error)) => {
                tracing::error!(%error, "the disk is full, and the reserve cannot be given up");
                false
            }
        }
    }
}

/// 0 of a file that is not there, and of what is no file.
fn length(path: &Path) -> u64 {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map_or(0, |found| found.len())
}

/// Alone: the lock ends with the file.
fn open(path: &Path, create: bool) -> io::Result<(File, u64)> {
    let file = private_file().create(create).append(true).open(path)?;
    file.lock()?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// One that is longer than it is to be would be given up for everybody, down to that.
fn cut_to(path: &Path, bytes: u64) -> io::Result<()> {
    match open(path, false) {
        Ok((file, length)) if length > bytes => file.set_len(bytes),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes what is missing; all of it or nothing, so that a disk that is nearly full is left as it was.
fn make_whole(path: &Path, bytes: u64) -> io::Result<()> {
    let was_there = path.exists();
    let (file, before) = open(path, true)?;
    keep_owner(path);
    let written = append(&file, bytes.saturating_sub(before));
    if written.is_err() {
        // Should this fail as well, the next try begins where this one ended.
        let _ = if was_there { file.set_len(before) } else { fs::remove_file(path) };
    }
    written
}

/// The server's, also when root's command line was the first to make it: like the database itself.
fn keep_owner(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let database = path.to_str().and_then(|path| path.strip_suffix("-reserve"));
        if let Some(owner) = database.and_then(|database| fs::metadata(database).ok()) {
            // Whoever may not has made it their own, as the database is.
            let _ = chown(path, Some(owner.uid()), Some(owner.gid()));
        }
    }
}

/// What a file system that compresses, or leaves out zeros, would keep no room for is of no use: so it looks like noise.
fn append(mut file: &File, mut bytes: u64) -> io::Result<()> {
    let mut grain = [0_u8; 4096];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    while bytes > 0 {
        for word in grain.chunks_exact_mut(8) {
            // xorshift64 (Marsaglia 2003): not for secrets.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let portion = usize::try_from(bytes).unwrap_or(usize::MAX).min(grain.len());
        let Some(portion) = grain.get(..portion) else { break };
        file.write_all(portion)?;
        bytes = bytes.saturating_sub(4096);
    }
    Ok(())
}

/// Cuts a piece off, not below the floor; how much is left, or `None` if there was nothing to cut.
fn shorten(path: &Path, floor: u64) -> io::Result<Option<u64>> {
    let (file, before) = match open(path, false) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if before <= floor {
        return Ok(None);
    }
    let left = before.saturating_sub(PIECE).max(floor);
    file.set_len(left)?;
    Ok(Some(left))
}

#[cfg(test)]
mod tests;
