//! Stands between a server and PostgreSQL and hears what is asked: each statement, and how many rows it meant.
//!
//! What is heard does not depend on how fast anything is. Must never change a byte that it passes on, nor pass one on
//! before it has heard it: who has an answer finds all that led to it in [`Wire::take`]. To hear another message of the
//! protocol: its arm in `Asked::hear` or in `downwards`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    str::FromStr as _,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
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

/// The codes of a client's first messages that ask for another protocol before the real first one.
const ASKS_FIRST: [u32; 2] = [80_877_103, 80_877_104];

/// See the module.
pub(crate) struct Wire {
    address: SocketAddr,
    database: Arc<OnceLock<PgConnectOptions>>,
    heard: Heard,
    acceptor: JoinHandle<()>,
}

type Heard = Arc<Mutex<Vec<String>>>;

impl Wire {
    /// One that waits for connections.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (database, heard) = (Arc::default(), Heard::default());
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&database), Arc::clone(&heard)));
        Self { address, database, heard, acceptor }
    }

    /// The URL of a database, through this.
    pub(crate) fn url(&self, url: &str) -> String {
        self.database.set(PgConnectOptions::from_str(url).unwrap()).unwrap();
        let (head, tail) = url.rsplit_once('@').unwrap();
        let (_, database) = tail.split_once('/').unwrap();
        format!("{head}@{}/{database}", self.address)
    }

    /// What was asked and answered since the last look, in order.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, database: Arc<OnceLock<PgConnectOptions>>, heard: Heard) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let database = database.get().unwrap();
        let server = TcpStream::connect((database.get_host(), database.get_port())).await.unwrap();
        tokio::spawn(relay(client, server, Arc::clone(&heard)));
    }
}

async fn relay(client: TcpStream, server: TcpStream, heard: Heard) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked_first = AtomicBool::new(false);
    tokio::select! {
        () = upwards(from_client, to_server, &heard, &asked_first) => {}
        () = downwards(from_server, to_client, &heard, &asked_first) => {}
    }
}

/// What is left of a stream of messages: a type, a length that counts itself, and the rest.
#[derive(Default)]
struct Messages(Vec<u8>);

impl Messages {
    /// The next whole message without its type and length.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let length = u32::from_be_bytes(self.0.get(1..5)?.try_into().unwrap());
        let end = usize::try_from(length).unwrap() + 1;
        let body = self.0.get(5..end)?.to_vec();
        let kind = self.0[0];
        self.0.drain(..end);
        Some((kind, body))
    }

    /// The code of the next message of a connection's beginning, which has no type.
    fn next_first(&mut self) -> Option<u32> {
        let number = |at: usize| Some(u32::from_be_bytes(self.0.get(at..at + 4)?.try_into().unwrap()));
        let (length, code) = (usize::try_from(number(0)?).unwrap(), number(4)?);
        self.0.get(..length)?;
        self.0.drain(..length);
        Some(code)
    }
}

/// The statements that a connection has prepared, by their names.
#[derive(Default)]
struct Asked(HashMap<String, String>);

impl Asked {
    /// The text of the statement that this message has run, if it does.
    fn hear(&mut self, kind: u8, body: &[u8]) -> Option<String> {
        let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        match kind {
            b'Q' => texts.next(),
            b'P' => {
                self.0.insert(texts.next()?, texts.next()?);
                None
            }
            // The portal's name comes first.
            b'B' => texts.nth(1).map(|name| self.0.get(&name).cloned().unwrap_or(name)),
            _ => None,
        }
    }
}

async fn upwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, heard: &Heard, asked_first: &AtomicBool) {
    let (mut buffer, mut messages, mut asked) = (vec![0; 64 * 1024], Messages::default(), Asked::default());
    let mut is_begun = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        messages.0.extend_from_slice(&buffer[..length]);
        while !is_begun {
            let Some(code) = messages.next_first() else { break };
            is_begun = !ASKS_FIRST.contains(&code);
            asked_first.store(!is_begun, Ordering::SeqCst);
        }
        while let Some((kind, body)) = is_begun.then(|| messages.next()).flatten() {
            if let Some(statement) = asked.hear(kind, &body) {
                heard.lock().unwrap().push(statement);
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn downwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, heard: &Heard, asked_first: &AtomicBool) {
    let (mut buffer, mut messages) = (vec![0; 64 * 1024], Messages::default());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // The one answer that is no message: a single byte, which must say no, or nothing more would be heard.
        let skipped = usize::from(asked_first.swap(false, Ordering::SeqCst));
        assert!(skipped == 0 || buffer[0] == b'N', "the database speaks in the clear to this test");
        messages.0.extend_from_slice(&buffer[skipped..length]);
        while let Some((kind, body)) = messages.next() {
            // CommandComplete: which command, and how many rows.
            if kind == b'C' {
                let tag = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
                heard.lock().unwrap().push(format!("-> {tag}"));
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
