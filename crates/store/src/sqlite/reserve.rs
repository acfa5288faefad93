//! Room on the disk that is kept for taking access away: a file beside the database, full of nothing.
//!
//! On a full disk no row can be written, and so no lost phone be revoked, just when an operator has other things on their
//! mind. So when such a command finds the disk full, a piece of the file is given up, and the command runs again in that
//! room ([`Plain::takes_access_away`](super::transaction::Plain::takes_access_away)). As long as the file is not whole
//! nothing else is written: what the piece left would be gone at once. It is made whole again as soon as there is room,
//! without a restart.
//!
//! What counts is the file's length, not this process's memory of it: so a start on a full disk finds how things are, and
//! so does another process at the same database. The length is never asked to be durable: after a crash a file that came
//! out short is made whole again, or is what the disk has room for.
//!
//! Must never be given up for anything that lets somebody in, nor hold data.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::file::private_file;

/// What is given up at a time. A revocation writes some tens of pages of 4 KiB; the next one finds what is left of it.
const PIECE: u64 = 1024 * 1024;
/// How often it is tried to make it whole again.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    next_try: Option<Instant>,
}

impl Reserve {
    /// Of a database file; 0 bytes: none, and it is always whole.
    pub(super) fn beside(database: &Path, bytes: u64) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-reserve");
        Self { path: path.into(), bytes, next_try: None }
    }

    /// Whether everything may be written. Tries to make the file whole, at most once a second.
    pub(super) async fn is_whole(&mut self) -> bool {
        // One look at a file's length, far below the price of a transaction.
        if self.bytes == 0 || length(&self.path) >= self.bytes {
            return true;
        }
        let now = Instant::now();
        if self.next_try.is_some_and(|at| now < at) {
            return false;
        }
        let is_news = self.next_try.is_none();
        self.next_try = Some(now + INTERVAL);
        let (path, bytes) = (self.path.clone(), self.bytes);
        match tokio::task::spawn_blocking(move || make_whole(&path, bytes)).await {
            Ok(Ok(())) => {
                tracing::info!(bytes, "the room on the disk that is kept for revocations is there");
                self.next_try = None;
                true
            }
            Ok(Err(error)) => {
                if is_news {
                    tracing::error!(%error, "the disk is full: until it has room, access can be taken away and nothing else be done");
                }
                false
            }
            // The process ends.
            Err(_) => false,
        }
    }

    /// Frees a piece; `false` if nothing is left.
    pub(super) async fn give_up_a_piece(&mut self) -> bool {
        let path = self.path.clone();
        let left = tokio::task::spawn_blocking(move || shorten(&path)).await;
        match left {
            Ok(Ok(Some(left))) => {
                tracing::warn!(
                    bytes_left = left,
                    "the disk is full: a piece of the reserve is given up for a revocation"
                );
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

/// Writes what is missing; all of it or nothing, so that a disk that is nearly full is left as it was.
fn make_whole(path: &Path, bytes: u64) -> io::Result<()> {
    let file = private_file().append(true).open(path)?;
    let before = file.metadata()?.len();
    let written = append(&file, bytes.saturating_sub(before));
    if written.is_err() {
        // Should this fail as well, the next try begins where this one ended.
        let _ = file.set_len(before);
    }
    written
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

/// Cuts a piece off; how much is left, or `None` if there was nothing to cut.
fn shorten(path: &Path) -> io::Result<Option<u64>> {
    let before = length(path);
    if before == 0 {
        return Ok(None);
    }
    let left = before.saturating_sub(PIECE);
    File::options().write(true).open(path)?.set_len(left)?;
    Ok(Some(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(folder: &tempfile::TempDir, bytes: u64) -> Reserve {
        Reserve::beside(&folder.path().join("countersign.db"), bytes)
    }

    #[tokio::test]
    async fn it_is_made_given_up_piece_by_piece_and_made_whole_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = beside(&folder, 2 * PIECE + 5_000);
        assert!(reserve.is_whole().await);
        let path = folder.path().join("countersign.db-reserve");
        assert_eq!(length(&path), 2 * PIECE + 5_000);
        let mut left = Vec::new();
        while reserve.give_up_a_piece().await {
            left.push(length(&path));
        }
        assert_eq!(left, [PIECE + 5_000, 5_000, 0]);
        // Another process's view is the same: the length is what counts.
        assert!(beside(&folder, 2 * PIECE + 5_000).is_whole().await);
        assert!(reserve.is_whole().await);
        assert_eq!(length(&path), 2 * PIECE + 5_000);
    }

    #[tokio::test]
    async fn what_cannot_be_made_whole_is_tried_again_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = beside(&folder, PIECE);
        let path = folder.path().join("countersign.db-reserve");
        fs::create_dir(&path).unwrap();
        assert!(!reserve.is_whole().await);
        assert!(!reserve.give_up_a_piece().await);
        fs::remove_dir(&path).unwrap();
        // However slow this machine is, the second is not over; and then it is.
        reserve.next_try = Some(Instant::now() + 3_600 * INTERVAL);
        assert!(!reserve.is_whole().await, "before that nothing is tried");
        reserve.next_try = Some(Instant::now());
        assert!(reserve.is_whole().await);
    }

    #[tokio::test]
    async fn what_does_not_fit_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countersign.db-reserve");
        // A file that may not be written stands for a disk without room.
        fs::write(&path, [7; 100]).unwrap();
        let closed = File::open(&path).unwrap();
        assert!(append(&closed, 1).is_err());
        assert_eq!(length(&path), 100);
        make_whole(&path, 5_000).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 5_000);
        assert!(bytes.windows(64).skip(100).all(|run| run.iter().any(|byte| *byte != 0)), "a hole keeps no room");
    }

    #[tokio::test]
    async fn none_is_always_whole_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(beside(&folder, 0).is_whole().await);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn it_is_closed_to_other_users() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        assert!(beside(&folder, 10).is_whole().await);
        let mode = fs::metadata(folder.path().join("countersign.db-reserve")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
