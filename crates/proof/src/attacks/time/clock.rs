//! A wall clock that a server believes, and that is moved while it runs: libfaketime, which is put before the C library.
//!
//! What has passed (the monotonic clock) stays as it is. Never moves anybody else's clock. To move it in one more way: a
//! method of [`WrongClock`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use countersign_proto::timestamp::Timestamp;

use crate::{
    ProofError,
    rig::{Node, Rig},
    system,
};

/// Where distributions keep it.
const LIBRARIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// The wall clock of one node.
#[derive(Debug, Clone)]
pub(super) struct WrongClock {
    file: PathBuf,
    libfaketime: PathBuf,
    /// How far it is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
}

impl WrongClock {
    /// One that is right, and is kept in this file.
    pub(super) fn new(file: PathBuf, libfaketime: Option<&Path>) -> Result<Self, ProofError> {
        let missing = || ProofError::Rig("not attacked: libfaketime is not installed".to_owned());
        let known = || LIBRARIES.iter().map(Path::new).find(|libfaketime| libfaketime.is_file());
        let libfaketime = libfaketime.or_else(known).ok_or_else(missing)?.to_owned();
        let clock = Self { file, libfaketime, ahead: Arc::default() };
        clock.set(0)?;
        Ok(clock)
    }

    /// From now on it is so far ahead of the true time; behind, if negative.
    pub(super) fn set(&self, millis: i64) -> io::Result<()> {
        let (sign, size) = (if millis < 0 { '-' } else { '+' }, millis.unsigned_abs());
        // Whoever reads it meanwhile reads all of the one or of the other.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{sign}{}.{:03}\n", size / 1_000, size % 1_000))?;
        fs::rename(&next, &self.file)?;
        self.ahead.store(millis, Ordering::SeqCst);
        Ok(())
    }

    /// Only the phones that follow it: they answer at another node, by that one's time.
    pub(super) fn have_phones_believe(&self, millis: i64) {
        self.ahead.store(millis, Ordering::SeqCst);
    }

    pub(super) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::SeqCst)
    }

    /// What it shows.
    pub(super) fn now(&self) -> Timestamp {
        shown(self.ahead())
    }

    /// Starts a node that believes it.
    pub(super) async fn start(&self, rig: &Rig, port: u16) -> Result<Node, ProofError> {
        let variables = [
            format!("LD_PRELOAD={}", self.libfaketime.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        let words: Vec<&str> = std::iter::once("env").chain(variables.iter().map(String::as_str)).collect();
        rig.start_under(&words, port).await
    }
}

/// What a clock shows that is so far ahead.
pub(super) fn shown(ahead_millis: i64) -> Timestamp {
    Timestamp::from_millis(system::now().as_millis().saturating_add(ahead_millis))
}
