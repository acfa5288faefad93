//! Stands between a server and PostgreSQL, and loses COMMITs when asked: the worst moment to lose a connection.
//!
//! Must never change a byte that it passes on. To add a way to lose something: a variant of [`Loss`], and its arm in
//! `upwards` or `downwards`.

use std::{
    net::SocketAddr,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::database::cluster_url;

/// What gets lost, and the connection with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The COMMIT on its way to the database: nothing has happened.
    Request,
    /// The database's answer to the COMMIT: everything has happened.
    Answer,
}

#[derive(Default)]
struct Plan {
    requests: AtomicUsize,
    answers: AtomicUsize,
    stolen: AtomicUsize,
}

impl Plan {
    fn take(counter: &AtomicUsize) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// See the module.
pub struct CommitThief {
    address: SocketAddr,
    plan: Arc<Plan>,
    acceptor: JoinHandle<()>,
}

impl CommitThief {
    /// Before the PostgreSQL that all tests share.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Plan::default());
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&plan)));
        Self { address, plan, acceptor }
    }

    /// The URL of a database, through this.
    pub fn url(&self, url: &str) -> String {
        let (head, tail) = url.rsplit_once('@').unwrap();
        let (_, database) = tail.split_once('/').unwrap();
        format!("{head}@{}/{database}", self.address)
    }

    /// Loses the next COMMITs, so many, whoever sends them.
    pub fn lose(&self, loss: Loss, commits: usize) {
        match loss {
            Loss::Request => self.plan.requests.store(commits, Ordering::SeqCst),
            Loss::Answer => self.plan.answers.store(commits, Ordering::SeqCst),
        }
    }

    /// How many it has lost so far.
    pub fn lost(&self) -> usize {
        self.plan.stolen.load(Ordering::SeqCst)
    }
}

impl Drop for CommitThief {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, plan: Arc<Plan>) {
    let database = PgConnectOptions::from_str(&cluster_url()).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect((database.get_host(), database.get_port())).await.unwrap();
        tokio::spawn(relay(client, server, Arc::clone(&plan)));
    }
}

/// Until one side, or the plan, ends it; then both sides are cut.
async fn relay(client: TcpStream, server: TcpStream, plan: Arc<Plan>) {
    let is_silent = AtomicBool::new(false);
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
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
        let bytes = &buffer[..length];
        if contains(bytes, b"COMMIT\0") {
            if Plan::take(&plan.requests) {
                plan.stolen.fetch_add(1, Ordering::SeqCst);
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
    let mut buffer = vec![0; 64 * 1024];
    let mut swallowed = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        if is_silent.load(Ordering::SeqCst) {
            swallowed.extend_from_slice(bytes);
            // CommandComplete: it is committed, and nobody will know.
            if contains(&swallowed, b"COMMIT\0") {
                plan.stolen.fetch_add(1, Ordering::SeqCst);
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
