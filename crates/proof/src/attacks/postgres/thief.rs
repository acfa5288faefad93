//! Stands between the server and PostgreSQL, and loses COMMITs when asked: the worst moment to lose a connection.
//!
//! Never changes a byte that it passes on. To lose something else: a variant of [`Loss`], its arm in `upwards` or
//! `downwards`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::ProofError;

/// A COMMIT as it is sent, and as it is answered.
const COMMIT: &[u8] = b"COMMIT\0";

/// What gets lost, and the connection with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
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
pub(super) struct Thief {
    pub(super) port: u16,
    plan: Arc<Plan>,
    acceptor: JoinHandle<()>,
}

impl Thief {
    /// Before the PostgreSQL at this port.
    pub(super) async fn start(before: u16) -> Result<Self, ProofError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, plan) = (listener.local_addr()?.port(), Arc::new(Plan::default()));
        let acceptor = tokio::spawn(accept(listener, before, Arc::clone(&plan)));
        Ok(Self { port, plan, acceptor })
    }

    /// Loses one more COMMIT, the next, whoever sends it.
    pub(super) fn lose(&self, loss: Loss) {
        match loss {
            Loss::Request => self.plan.requests.fetch_add(1, Ordering::SeqCst),
            Loss::Answer => self.plan.answers.fetch_add(1, Ordering::SeqCst),
        };
    }

    /// How many it has lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.plan.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Plan {
    fn take(counter: &AtomicU64) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

async fn accept(listener: TcpListener, before: u16, plan: Arc<Plan>) {
    while let Ok((client, _)) = listener.accept().await {
        // Whoever connects while the database is away is hung up on.
        if let Ok(server) = TcpStream::connect(("127.0.0.1", before)).await {
            tokio::spawn(relay(client, server, Arc::clone(&plan)));
        }
    }
}

/// Until one side, or the plan, ends it; then both sides are cut.
async fn relay(client: TcpStream, server: TcpStream, plan: Arc<Plan>) {
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let is_silent = AtomicBool::new(false);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = upwards(from_client, to_server, &plan, &is_silent) => {}
        () = downwards(from_server, to_client, &plan, &is_silent) => {}
    }
}

async fn upwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, plan: &Plan, is_silent: &AtomicBool) {
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

async fn downwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, plan: &Plan, is_silent: &AtomicBool) {
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
