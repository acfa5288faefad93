//! Stands between a server and PostgreSQL, and loses COMMITs when asked: the worst moment to lose a connection.
//!
//! Must never change a byte that it passes on. To add a way to lose something: a variant of [`Loss`], and its arm in
//! `upwards` or `downwards`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use crate::switch::{Farewell, Relay, Switch};

/// A COMMIT as it is sent, and as it is answered (`CommandComplete`).
const COMMIT: &[u8] = b"COMMIT\0";

/// What gets lost, and the connection with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The COMMIT on its way to the database: nothing has happened.
    Request,
    /// The database's answer to it: everything has happened.
    Answer,
}

/// What is still to be lost.
#[derive(Debug, Default)]
struct Plan {
    requests: AtomicU64,
    answers: AtomicU64,
    lost: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub struct CommitThief {
    switch: Switch,
    plan: Arc<Plan>,
}

impl CommitThief {
    /// Before the PostgreSQL that listens there, on a port of 127.0.0.1.
    ///
    /// # Errors
    /// No port.
    pub async fn start(host: &str, port: u16) -> io::Result<Self> {
        let plan = Arc::new(Plan::default());
        let switch = Switch::start(Arc::clone(&plan)).await?;
        switch.point(host, port, Farewell::Cut);
        Ok(Self { switch, plan })
    }

    /// As [`Switch::url`].
    #[must_use]
    pub fn url(&self, url: &str) -> Option<String> {
        self.switch.url(url)
    }

    /// Loses so many COMMITs more, the next ones, whoever sends them.
    pub fn lose(&self, loss: Loss, commits: u64) {
        match loss {
            Loss::Request => self.plan.requests.fetch_add(commits, Ordering::SeqCst),
            Loss::Answer => self.plan.answers.fetch_add(commits, Ordering::SeqCst),
        };
    }

    /// How many it has lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.plan.lost.load(Ordering::SeqCst)
    }
}

impl Plan {
    fn take(counter: &AtomicU64) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl Relay for Arc<Plan> {
    async fn relay(&self, client: &mut TcpStream, server: &mut TcpStream) {
        let is_silent = AtomicBool::new(false);
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            () = upwards(from_client, to_server, self, &is_silent) => {}
            () = downwards(from_server, to_client, self, &is_silent) => {}
        }
    }
}

async fn upwards(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, plan: &Plan, is_silent: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if contains(bytes, COMMIT) {
            if Plan::take(&plan.requests) {
                plan.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if Plan::take(&plan.answers) {
                is_silent.store(true, Ordering::SeqCst);
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn downwards(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, plan: &Plan, is_silent: &AtomicBool) {
    let (mut buffer, mut swallowed) = (vec![0; 64 * 1024], Vec::new());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if is_silent.load(Ordering::SeqCst) {
            swallowed.extend_from_slice(bytes);
            // It is committed, and nobody will know.
            if contains(&swallowed, COMMIT) {
                plan.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
        } else if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
