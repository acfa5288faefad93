//! Listening: plain or TLS, bounded in connections and in the time that headers may take.

use std::{
    future::Future as _,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use axum_server::{
    Handle, Server,
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::Sleep,
};

/// How long a client may take for its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for its first [`GREETING_BYTES`].
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// No request line with a host, no HTTP/2 preface and no TLS greeting is shorter.
const GREETING_BYTES: usize = 24;
/// How long nothing may happen on a connection; longer than the longest held read.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// Streams that one HTTP/2 connection may have open; a phone or identity provider needs far fewer.
const MAX_STREAMS: u32 = 256;

/// A listener that cannot be used. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on {address} ({setting}): {cause}")]
    Bind {
        /// The setting that names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The certificate or its key.
    #[error("cannot use the certificate {certificate} with its key: {cause}")]
    Tls {
        /// The certificate's file.
        certificate: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The operating system refused.
    #[error("cannot listen: {0}")]
    Io(#[from] io::Error),
}

/// Takes a port.
///
/// # Errors
/// [`ServeError::Bind`].
pub fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).map_err(|cause| ServeError::Bind { setting, address, cause })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Where a listener listens.
///
/// # Errors
/// The operating system does not say.
pub fn local_address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    Ok(listener.local_addr()?)
}

/// Loads certificate and key.
///
/// # Errors
/// [`ServeError::Tls`].
pub async fn load_tls(certificate: PathBuf, private_key: PathBuf) -> Result<RustlsConfig, ServeError> {
    RustlsConfig::from_pem_file(&certificate, private_key).await.map_err(|cause| ServeError::Tls { certificate, cause })
}

/// Serves until the handle says stop.
///
/// # Errors
/// The operating system refuses the listener.
pub fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
    max_connections: usize,
) -> Result<JoinHandle<io::Result<()>>, ServeError> {
    let limit = Limit::new(max_connections);
    let server = axum_server::from_tcp(listener)?.handle(handle).acceptor(limit);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    Ok(match tls {
        None => tokio::spawn(tuned(server).serve(service)),
        Some(config) => {
            let server = server.map(|limit| RustlsAcceptor::new(config).acceptor(limit));
            tokio::spawn(tuned(server).serve(service))
        }
    })
}

fn tuned<A>(mut server: Server<SocketAddr, A>) -> Server<SocketAddr, A> {
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Duration::from_secs(20));
    server
}

/// Closes connections beyond a number at once, so that those that are open keep working.
#[derive(Clone)]
struct Limit {
    permits: Arc<Semaphore>,
}

impl Limit {
    fn new(connections: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { permits }
    }
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections"))
            .and_then(|permit| stream.set_nodelay(true).map(|()| (Counted::new(stream, permit), service)));
        std::future::ready(accepted)
    }
}

/// A connection that counts while it lives, and lives only while something happens on it: silence would hold its
/// permit for ever, and a few thousand silent connections would lock everybody else out.
struct Counted {
    stream: TcpStream,
    /// Bytes read so far, until there are enough for a request line, a preface or a TLS greeting.
    greeting_bytes: usize,
    deadline: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, greeting_bytes: 0, deadline: Box::pin(after(GREETING_TIMEOUT)), _permit: permit }
    }

    /// Nothing can be read or written now: for how long yet. A peer that never reads would hold what it asked for as long
    /// as it likes if only reading had an end: while an answer is stuck, and further requests are here, nobody reads.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Something was read or written. A greeting that dribbles in moves no deadline.
    fn is_alive(&mut self) {
        if self.greeting_bytes >= GREETING_BYTES {
            self.deadline.set(after(IDLE_TIMEOUT));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a socket's patience, not the protocol's time")]
fn after(timeout: Duration) -> Sleep {
    tokio::time::sleep(timeout)
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            let read = buffer.filled().len().saturating_sub(before);
            self.greeting_bytes = self.greeting_bytes.saturating_add(read);
            self.is_alive();
            return polled;
        }
        self.wait(cx)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if polled.is_pending() {
            return self.wait(cx);
        }
        self.is_alive();
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if polled.is_pending() {
            return self.wait(cx);
        }
        self.is_alive();
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
