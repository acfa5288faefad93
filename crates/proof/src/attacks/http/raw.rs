//! One connection, byte by byte: nothing here knows what the bytes mean, but for the end of an answer.
//!
//! Every wait has an end. To add a way to misuse a connection: a method of [`Raw`].

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long the server may take for anything, on a machine that is busy with the attack as well.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long something is sent that nobody takes.
const PUSHING: Duration = Duration::from_secs(5);
/// No answer is longer.
const MAX_HEARD_BYTES: usize = 16 * 1024 * 1024;

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Raw(TcpStream);

/// What the server said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    /// The server has ended the connection.
    pub(super) is_closed: bool,
}

/// What follows the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The attacker waits for what the server does.
    Waits,
    /// The attacker has nothing more to say (FIN).
    Ends,
}

impl Raw {
    pub(super) async fn open(port: u16) -> io::Result<Self> {
        TcpStream::connect(("127.0.0.1", port)).await.map(Self)
    }

    /// Sends what the server takes within a while; whether it took all.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PUSHING, self.0.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Sends it in pieces with this pause between them, until the server has closed the connection.
    pub(super) async fn dribble(self, bytes: &[u8], pause: Duration) -> Heard {
        let (mut from, mut to) = self.0.into_split();
        let write = async {
            for byte in bytes {
                if to.write_all(&[*byte]).await.is_err() {
                    return;
                }
                crate::system::pause(pause).await;
            }
        };
        let is_ended = AtomicBool::new(false);
        let read = listen(&mut from, &is_ended);
        tokio::select! {
            heard = read => heard,
            () = async { write.await; std::future::pending().await } => Heard::default(),
        }
    }

    /// Sends it all while it listens, until the server has closed the connection, or [`PATIENCE`] ends.
    pub(super) async fn exchange(self, bytes: &[u8], then: Then) -> Heard {
        let (mut from, mut to) = self.0.into_split();
        let is_ended = AtomicBool::new(false);
        let write = async {
            // A refusal shows in what is heard.
            let _refused = timeout(PATIENCE, to.write_all(bytes)).await;
            if then == Then::Ends {
                let _gone = to.shutdown().await;
            }
            to
        };
        let read = async {
            let heard = listen(&mut from, &is_ended).await;
            is_ended.store(true, Ordering::Relaxed);
            heard
        };
        let (heard, _kept_open_until_heard) = tokio::join!(read, write);
        heard
    }

    /// Whether the server lets go of it although nothing was ever read from it. Reading would set the server's answers
    /// free; that it has gone shows in what can no longer be sent.
    pub(super) async fn let_go(mut self) -> bool {
        let since = crate::system::Stopwatch::start();
        while since.elapsed() < PATIENCE.saturating_mul(2) {
            // A peer that is gone refuses it; one that is there leaves it in the buffers, or untaken.
            if timeout(Duration::from_secs(1), self.0.write_all(b"\r\n")).await.is_ok_and(|sent| sent.is_err()) {
                return true;
            }
            crate::system::pause(Duration::from_secs(1)).await;
        }
        false
    }
}

async fn listen(from: &mut (impl tokio::io::AsyncRead + Unpin), is_ended: &AtomicBool) -> Heard {
    let mut heard = Heard::default();
    let mut buffer = vec![0; 64 * 1024];
    while !is_ended.load(Ordering::Relaxed) {
        match timeout(PATIENCE, from.read(&mut buffer)).await {
            Err(_silent) => return heard,
            // A reset is an end, too: the server had not read all that was sent.
            Ok(Ok(0) | Err(_)) => {
                heard.is_closed = true;
                return heard;
            }
            Ok(Ok(length)) if heard.bytes.len() < MAX_HEARD_BYTES => {
                heard.bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
            }
            Ok(Ok(_)) => {}
        }
    }
    heard
}

/// The statuses of the answers in these bytes of HTTP/1.1; `None` if they are anything else. The last may be cut off.
pub(super) fn statuses(mut bytes: &[u8]) -> Option<Vec<u16>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let head = std::str::from_utf8(bytes.get(..end.unwrap_or(bytes.len()))?).ok()?;
        let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?;
        let status: u16 = status.get(..3)?.parse().ok()?;
        if status >= 200 {
            found.push(status);
        }
        let Some(end) = end else { break };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let next = end.checked_add(4)?.checked_add(length.unwrap_or(0))?;
        bytes = bytes.get(next..).unwrap_or_default();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_what_is_no_answer_is_noticed() {
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(statuses(two), Some(vec![200, 404]));
        assert_eq!(statuses(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 B\r\n\r\n"), Some(vec![400]));
        assert_eq!(statuses(b""), Some(vec![]));
        assert_eq!(statuses(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabHTTP"), None);
    }
}
