//! A load balancer as they are: asks each node's `/readyz` from time to time, and forwards requests in turn to those
//! that were ready when it last asked. It keeps connections to both sides alive and never sends a request twice.
//!
//! What goes wrong between it and a node is a 502, and is remembered. To add a habit of real balancers: only one that
//! makes it harder for the nodes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, header},
};
use reqwest::{Client, redirect::Policy};
use tokio::{net::TcpListener, task::JoinHandle};

/// Longer than any request lasts.
const PATIENCE: Duration = Duration::from_secs(70);
const MAX_BODY_BYTES: usize = 1 << 20;

struct Node {
    base: String,
    client: Client,
    is_ready: AtomicBool,
    forwarded: AtomicUsize,
}

struct Shared {
    nodes: Vec<Node>,
    turn: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// See the module. Ends when dropped.
pub struct Balancer {
    base: String,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Balancer {
    /// Before the nodes on these ports of this machine, each asked again `interval` after its last answer.
    pub async fn start(ports: &[u16], interval: Duration) -> Self {
        let node = |port: &u16| Node {
            base: format!("http://127.0.0.1:{port}"),
            client: Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .redirect(Policy::none())
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            is_ready: AtomicBool::new(false),
            forwarded: AtomicUsize::new(0),
        };
        let nodes = ports.iter().map(node).collect();
        let shared = Arc::new(Shared { nodes, turn: AtomicUsize::new(0), failures: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks: Vec<_> =
            (0..ports.len()).map(|index| tokio::spawn(ask(Arc::clone(&shared), index, interval))).collect();
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        tasks.push(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        Self { base, shared, tasks }
    }

    /// Its URL: the public one of the nodes.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Waits until it has noticed which nodes are ready, in the order of their ports.
    pub async fn until_ready(&self, expected: &[bool]) {
        let wait = async {
            while !self
                .shared
                .nodes
                .iter()
                .map(|node| node.is_ready.load(Ordering::SeqCst))
                .eq(expected.iter().copied())
            {
                pause(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it notices");
    }

    /// How many requests this node has been sent.
    pub fn forwarded(&self, node: usize) -> usize {
        self.shared.nodes[node].forwarded.load(Ordering::SeqCst)
    }

    /// What went wrong between it and the nodes.
    pub fn failures(&self) -> Vec<String> {
        self.shared.failures.lock().unwrap().clone()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn pause(duration: Duration) {
    tokio::time::timeout(duration, std::future::pending::<()>()).await.unwrap_err();
}

async fn ask(shared: Arc<Shared>, index: usize, interval: Duration) {
    let node = &shared.nodes[index];
    loop {
        let reply = node.client.get(format!("{}/readyz", node.base)).timeout(Duration::from_secs(2)).send().await;
        node.is_ready.store(reply.is_ok_and(|reply| reply.status() == StatusCode::OK), Ordering::SeqCst);
        pause(interval).await;
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let count = shared.nodes.len();
    let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
    let in_turn = (0..count).map(|offset| &shared.nodes[(turn + offset) % count]);
    let Some(node) = in_turn.into_iter().find(|node| node.is_ready.load(Ordering::SeqCst)) else {
        return failed(&shared, "no node is ready".to_owned());
    };
    node.forwarded.fetch_add(1, Ordering::SeqCst);
    let line = format!("{} {}", request.method(), request.uri().path());
    match exchange(node, request).await {
        Ok(response) => response,
        Err(error) => failed(&shared, format!("{line}: {error:?}")),
    }
}

async fn exchange(node: &Node, request: Request) -> Result<Response<Body>, reqwest::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = to_bytes(body, MAX_BODY_BYTES).await.expect("a whole request");
    let request = node.client.request(parts.method, format!("{}{path}", node.base));
    let reply = request.headers(of_the_message(&parts.headers)).body(body).send().await?;
    let (status, headers) = (reply.status(), of_the_message(reply.headers()));
    let mut response = Response::new(Body::from(reply.bytes().await?));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Without the headers that concern one connection.
fn of_the_message(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::CONNECTION, header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

fn failed(shared: &Shared, what: String) -> Response<Body> {
    shared.failures.lock().unwrap().push(what);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
