//! `countersign-load echo`, and the calls that are echoed.
//!
//! The server reads each request whole and answers with as many bytes as the request's `x-reply` says. It ends with
//! whoever started it: when its standard input is closed.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
};

use super::{Exchange, WARM_UP};
use crate::{LoadError, say, system::Stopwatch, wire::Connection};

const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Runs the server until its standard input is closed; says where it listens in one line.
pub(crate) async fn run() -> Result<(), LoadError> {
    let server = Server::here().await?;
    say(&server.address().to_string())?;
    let closed = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    closed.await.map_err(|error| LoadError::Failed(error.to_string()))??;
    Ok(())
}

/// The server, in this process.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    // Dropping it ends all.
    _connections: JoinSet<()>,
}

impl Server {
    pub(super) async fn here() -> Result<Self, LoadError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let zeros = Bytes::from(vec![b'0'; MAX_REPLY_BYTES]);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let zeros = zeros.clone();
                let _ignored = stream.set_nodelay(true);
                let service = service_fn(move |request| echo(request, zeros.clone()));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // A client that hangs up is no news.
                    let _ended = connection.await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _connections: accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn echo(request: Request<Incoming>, zeros: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let wanted = head.headers.get("x-reply").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let _read = body.collect().await;
    let mut response = Response::new(Full::new(zeros.slice(..MAX_REPLY_BYTES.min(wanted))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Sign-ins' worth of calls per second, echoed by a server in a process of its own.
pub(super) async fn measure(exchange: &Exchange, flows: usize, length: Duration) -> Result<f64, LoadError> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let rate = match address(&mut child).await {
        Ok(address) => drive(exchange, address, flows, length).await,
        Err(error) => Err(error),
    };
    child.kill().await?;
    rate
}

async fn address(child: &mut Child) -> Result<SocketAddr, LoadError> {
    let wrong = || LoadError::Failed("the echo did not say where it listens".to_owned());
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or_else(wrong)?).read_line(&mut line).await?;
    line.trim().parse().map_err(|_| wrong())
}

/// The client's side: the same connections and calls as a sign-in's.
pub(super) async fn drive(
    exchange: &Exchange,
    address: SocketAddr,
    flows: usize,
    length: Duration,
) -> Result<f64, LoadError> {
    let calls = exchange
        .calls
        .each_ref()
        .map(|(request, reply)| (request.replacen("\r\n", &format!("\r\nx-reply: {reply}\r\n"), 1), *reply));
    let (calls, counted) = (Arc::new(calls), Arc::new(AtomicU64::new(0)));
    let (began, end) = (Stopwatch::start(), WARM_UP + length);
    let mut running = JoinSet::new();
    for _ in 0..flows {
        let (calls, counted) = (Arc::clone(&calls), Arc::clone(&counted));
        running.spawn(async move {
            let mut caller = Connection::open(address).await?;
            let mut device = Connection::open(address).await?;
            let [create, wait, pull, respond] = calls.as_ref();
            while began.elapsed() < end {
                call(&mut caller, create).await?;
                let answering = async {
                    call(&mut device, pull).await?;
                    call(&mut device, respond).await
                };
                tokio::try_join!(call(&mut caller, wait), answering)?;
                counted.fetch_add(u64::from((WARM_UP..end).contains(&began.elapsed())), Ordering::Relaxed);
            }
            Ok::<_, LoadError>(())
        });
    }
    while let Some(flow) = running.join_next().await {
        flow.map_err(|error| LoadError::Failed(error.to_string()))??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = counted.load(Ordering::Relaxed) as f64;
    Ok(count / length.as_secs_f64())
}

async fn call(connection: &mut Connection, (request, expected): &(String, usize)) -> Result<(), LoadError> {
    let reply = connection.exchange(request.as_bytes()).await;
    match reply.map_err(|error| LoadError::Failed(format!("echo: {error}")))? {
        reply if reply.status == 200 && reply.body.len() == *expected => Ok(()),
        reply => Err(LoadError::Failed(format!("echo: {} with {} bytes", reply.status, reply.body.len()))),
    }
}
