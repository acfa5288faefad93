//! The connection beneath HTTP, with a switch for the faults that HTTP libraries do not offer.
//!
//! [`Tap`] lies between HTTP and TLS (or TCP); whoever handles a request holds the [`Switch`]. A task that
//! serves a connection must watch [`Switch::ended`] and stop polling the connection when it fires.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::clock::pause;

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By TCP reset.
    Reset,
    /// Never: it is held open, but nothing is read or written.
    Silence,
    /// Gracefully, after the answers under way.
    Closed,
}

/// Turns faults on; cloning shares it.
#[derive(Clone)]
pub(crate) struct Switch(Arc<State>);

struct State {
    end: watch::Sender<Option<End>>,
    resets: AtomicBool,
    /// Milliseconds after each byte; 0: at full speed.
    trickle_millis: AtomicU64,
    /// Goes out in place of whatever is written next; then the connection fails.
    instead: Mutex<Option<Bytes>>,
    /// Goes out between two frames.
    between: Mutex<Option<Bytes>>,
    /// Spares the usual write a lock.
    has_bytes: AtomicBool,
}

impl Switch {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            end: watch::Sender::new(None),
            resets: AtomicBool::new(false),
            trickle_millis: AtomicU64::new(0),
            instead: Mutex::new(None),
            between: Mutex::new(None),
            has_bytes: AtomicBool::new(false),
        }))
    }

    pub(crate) fn end(&self, end: End) {
        if end == End::Reset {
            self.0.resets.store(true, Ordering::SeqCst);
        }
        self.0.end.send_replace(Some(end));
    }

    pub(crate) fn trickle(&self, millis: u64) {
        self.0.trickle_millis.store(millis, Ordering::SeqCst);
    }

    /// Replaces the next write by `bytes`, after which the connection fails.
    pub(crate) fn write_instead(&self, bytes: impl Into<Bytes>) {
        *lock(&self.0.instead) = Some(bytes.into());
        self.0.has_bytes.store(true, Ordering::SeqCst);
    }

    /// Adds `bytes` where all frames so far are written out.
    pub(crate) fn write_between(&self, bytes: impl Into<Bytes>) {
        *lock(&self.0.between) = Some(bytes.into());
        self.0.has_bytes.store(true, Ordering::SeqCst);
    }

    /// Resolves when the connection is to end, with how.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.0.end.subscribe();
        match end.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end,
            // The sender lives as long as `self`.
            _ => std::future::pending().await,
        }
    }
}

fn lock(bytes: &Mutex<Option<Bytes>>) -> std::sync::MutexGuard<'_, Option<Bytes>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A byte stream that knows its socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Socket for Box<dyn Socket> {
    fn tcp(&self) -> &TcpStream {
        self.as_ref().tcp()
    }
}

/// A connection with a switch.
pub(crate) struct Tap<S: Socket> {
    inner: S,
    switch: Switch,
    resting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S: Socket> Tap<S> {
    pub(crate) fn new(inner: S, switch: Switch) -> Self {
        Self { inner, switch, resting: None }
    }

    /// Writes `bytes` out; what is left stays for the next poll.
    fn write_all(&mut self, bytes: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while bytes.has_remaining() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
            bytes.advance(written);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.switch.0.clone();
        let mut instead = lock(&state.instead);
        if let Some(bytes) = instead.as_mut() {
            ready!(self.write_all(bytes, cx))?;
            return Poll::Ready(Err(io::Error::other("garbage was sent, as scripted")));
        }
        Poll::Ready(Ok(()))
    }

    fn write_between(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.switch.0.clone();
        let mut between = lock(&state.between);
        if let Some(bytes) = between.as_mut() {
            ready!(self.write_all(bytes, cx))?;
            *between = None;
        }
        Poll::Ready(Ok(()))
    }

    fn has_bytes(&self) -> bool {
        self.switch.0.has_bytes.load(Ordering::SeqCst)
    }
}

impl<S: Socket> Drop for Tap<S> {
    fn drop(&mut self) {
        if self.switch.0.resets.load(Ordering::SeqCst) {
            // Makes the close that follows a reset; if it fails, the peer sees an ordinary end.
            let _ordinary_end = self.inner.tcp().set_zero_linger();
        }
    }
}

impl<S: Socket> AsyncRead for Tap<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: Socket> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.has_bytes() {
            ready!(self.write_instead(cx))?;
        }
        let trickle_millis = self.switch.0.trickle_millis.load(Ordering::SeqCst);
        if trickle_millis == 0 {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        if let Some(resting) = self.resting.as_mut() {
            ready!(resting.as_mut().poll(cx));
            self.resting = None;
        }
        let first = bytes.get(..1).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, first))?;
        // The byte goes out now, not when the whole answer is there.
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.resting = Some(Box::pin(pause(Duration::from_millis(trickle_millis))));
        match flushed {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(written)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_bytes() {
            ready!(self.write_between(cx))?;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
