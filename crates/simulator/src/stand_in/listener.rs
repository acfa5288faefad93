//! Listens (on 127.0.0.1 unless told otherwise), takes connections through TLS, and ends with its handle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::Common;
use super::wire::{Socket, Switch, Tap};

/// A client that begins TLS and does not go on holds nothing for longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening port.
pub(crate) struct Port {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    /// Host and port, as others reach it.
    authority: String,
}

/// One connection that has come through TLS.
pub(crate) struct Accepted {
    /// Counts this stand-in's connections from 1.
    pub(crate) number: u64,
    pub(crate) stream: Tap<Box<dyn Socket>>,
    pub(crate) switch: Switch,
}

impl Port {
    /// Binds; 0 takes any free port.
    pub(crate) async fn bind(common: &Common, port: u16, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind((common.listen, port)).await?;
        let address = listener.local_addr()?;
        let authority = match &common.host {
            Some(host) => format!("{host}:{}", address.port()),
            None => address.to_string(),
        };
        Ok(Self { listener, tls, authority })
    }

    /// `https://127.0.0.1:PORT`, or `http://` without TLS.
    pub(crate) fn base_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Serves each connection in a task of its own; dropping the handle ends nothing, aborting it ends all.
    pub(crate) fn serve<F>(
        self,
        connections: Arc<AtomicU64>,
        serve: impl Fn(Accepted) -> F + Clone + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            // Aborting this task drops the set, and with it every connection.
            let mut tasks = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = self.listener.accept() => {
                        // Out of file descriptors: the next round tells whether it has passed.
                        let Ok((tcp, _)) = accepted else { tokio::task::yield_now().await; continue };
                        let (tls, connections, serve) = (self.tls.clone(), connections.clone(), serve.clone());
                        tasks.spawn(async move {
                            if let Some(stream) = secure(tcp, tls).await {
                                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                                let switch = Switch::new();
                                let stream = Tap::new(stream, switch.clone());
                                serve(Accepted { number, stream, switch }).await;
                            }
                        });
                    }
                    Some(_) = tasks.join_next() => {}
                }
            }
        })
    }
}

async fn secure(tcp: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Box<dyn Socket>> {
    // Small frames are answered at once; where the option fails, later.
    let _later = tcp.set_nodelay(true);
    let Some(tls) = tls else { return Some(Box::new(tcp)) };
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(tcp)).await;
    // A client that refuses the certificate is what some tests are about.
    Some(Box::new(handshake.ok()?.ok()?))
}
