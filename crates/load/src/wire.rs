//! HTTP/1.1 as the load generator speaks it: one kept-alive connection, one request at a time, plain text.
//!
//! The generator shares the processor with the server that it measures, so this costs two system calls and a scan of
//! the head: requests are written as the bytes that the caller has formatted, replies stay in the connection's buffer.
//! A proper client costs several times that. It knows what our server sends and refuses everything else: no chunked
//! bodies, no pipelining, no redirects. Never for anything but loopback ([`crate::target`] sees to that).
//!
//! To read one more header: its line in [`Head::parse`].

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Heads of our server have some 500 bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Twenty waiting challenges are a third of it.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const READ_BYTES: usize = 2 * 1024;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side closed before it had answered.
    #[error("the connection was closed before the reply")]
    Closed,
    /// Not what our server sends.
    #[error("not a reply as expected: {0}")]
    Unexpected(&'static str),
}

/// A connection, and what was last read from it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A reply, in its connection's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'b> {
    /// The status.
    pub(crate) status: u16,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<Duration>,
    /// The body.
    pub(crate) body: &'b [u8],
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a whole request and reads the reply.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>, WireError> {
        self.send(request).await?;
        self.receive().await
    }

    /// Sends a whole request.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<(), WireError> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads the reply to what was sent.
    pub(crate) async fn receive(&mut self) -> Result<Reply<'_>, WireError> {
        self.buffer.clear();
        let mut searched = 0;
        let head_end = loop {
            self.read_more().await?;
            let from = searched.min(self.buffer.len());
            let unsearched = self.buffer.get(from..).unwrap_or_default();
            if let Some(at) = unsearched.windows(4).position(|four| four == b"\r\n\r\n") {
                break from + at;
            }
            searched = self.buffer.len().saturating_sub(3);
            if searched > MAX_HEAD_BYTES {
                return Err(WireError::Unexpected("an endless head"));
            }
        };
        let Head { status, length, retry_after } = Head::parse(self.buffer.get(..head_end).unwrap_or_default())?;
        let body = head_end + 4;
        while self.buffer.len() < body + length {
            self.read_more().await?;
        }
        match self.buffer.get(body..) {
            Some(body) if body.len() == length => Ok(Reply { status, retry_after, body }),
            _ => Err(WireError::Unexpected("more than one reply")),
        }
    }

    async fn read_more(&mut self) -> Result<(), WireError> {
        self.buffer.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.buffer).await? == 0 { Err(WireError::Closed) } else { Ok(()) }
    }
}

/// What is needed of a reply's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    retry_after: Option<Duration>,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(head).map_err(|_| WireError::Unexpected("a head that is not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or(WireError::Unexpected("no status line"))?;
        let (mut length, mut retry_after) = (None, None);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(WireError::Unexpected("a line without a colon"))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse().map_err(|_| WireError::Unexpected("a length that is no number"))?);
            } else if name.eq_ignore_ascii_case("retry-after") {
                retry_after = value.trim().parse().ok().map(Duration::from_secs);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(WireError::Unexpected("a chunked body"));
            }
        }
        let length = match (length, status) {
            (Some(length), _) if length <= MAX_BODY_BYTES => length,
            (None, 204 | 304) => 0,
            (None, _) => return Err(WireError::Unexpected("no length")),
            _ => return Err(WireError::Unexpected("an endless body")),
        };
        // A 304 names the length of what it leaves out.
        Ok(Self { status, length: if matches!(status, 204 | 304) { 0 } else { length }, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A peer that answers each read with the next of `pieces`, then closes.
    async fn peer(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _request = stream.read(&mut [0; 1024]).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        address
    }

    async fn exchange(pieces: &'static [&'static str]) -> Result<(u16, Option<u64>, String), WireError> {
        let mut connection = Connection::open(peer(pieces).await).await?;
        let reply = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await?;
        let body = String::from_utf8(reply.body.to_vec()).unwrap();
        Ok((reply.status, reply.retry_after.map(|wait| wait.as_secs()), body))
    }

    #[tokio::test]
    async fn a_reply_may_come_in_pieces_and_its_body_is_as_long_as_it_says() {
        let pieces = &["HTTP/1.1 200 OK\r\nX: y\r\ncontent-", "length: 5\r\n\r", "\nhe", "llo"];
        assert_eq!(exchange(pieces).await.unwrap(), (200, None, "hello".to_owned()));
        let shed = &["HTTP/1.1 503 S\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"];
        assert_eq!(exchange(shed).await.unwrap(), (503, Some(2), String::new()));
        let unchanged = &["HTTP/1.1 304 N\r\netag: \"a\"\r\n\r\n"];
        assert_eq!(exchange(unchanged).await.unwrap(), (304, None, String::new()));
    }

    #[tokio::test]
    async fn what_our_server_never_sends_is_no_reply() {
        for pieces in [
            &[""] as &'static [&'static str],
            &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"],
            &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\n\r\nhello"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nhello"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"],
            &["SSH-2.0-OpenSSH\r\n\r\n"],
        ] {
            assert!(exchange(pieces).await.is_err(), "{pieces:?}");
        }
    }
}
