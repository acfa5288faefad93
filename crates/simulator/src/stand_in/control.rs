//! The control port: plain HTTP beside the stand-in's own, for phones and tests in other processes.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | `{"connections", "attempted", "accepted", …}` |
//! | `POST /register` | a fresh device's `push` claim; Web Push: body `{"p256dh", "auth"}` |
//! | `GET /pushes/{token}?after=N&wait=S` | `{"pushes": […]}`: accepted after sequence N; held up to S ≤ 50 s while there are none |
//! | `POST /script/{token}` | body `[behaviour, …]`: 204 |
//! | `POST /always` | body: a behaviour, or `null`: 204 |
//!
//! Never guarded, so never reachable from elsewhere: whoever runs code on this machine, or in the trial's network, may
//! read the pushes of a stand-in. To add a request: an arm in `answer`, a line above.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::http::{Reply, json_reply, read_body, reply, serve as serve_http};
use super::listener::Port;
use super::{Behaviour, Desk, Provider};

/// How long a read may be held.
const MAX_WAIT_SECONDS: u64 = 50;
const MAX_STREAMS: u32 = 100;
/// The most pushes of one answer; more wait for the next.
const MAX_PUSHES: usize = 50;

/// Serves the control port of `desk`.
pub(crate) fn serve<P: Provider>(port: Port, desk: Arc<Desk<P>>) -> JoinHandle<()> {
    port.serve(Arc::default(), move |accepted| {
        let desk = desk.clone();
        async move {
            serve_http(accepted, MAX_STREAMS, |request, _| {
                let desk = desk.clone();
                async move { Some(answer(&desk, request).await) }
            })
            .await;
        }
    })
}

async fn answer<P: Provider>(desk: &Desk<P>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let Some(body) = read_body(body).await else { return wrong(413, "the body is too long") };
    match (&head.method, segments.as_slice()) {
        (&Method::GET, ["status"]) => json_reply(200, &[], &status(desk)),
        (&Method::POST, ["register"]) => {
            let keys = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
            match keys.map_err(|error| error.to_string()).and_then(|keys| P::new_binding(desk, &keys)) {
                Ok(binding) => json_reply(201, &[], &binding),
                Err(error) => wrong(400, &error),
            }
        }
        (&Method::GET, ["pushes", token]) => pushes(desk, token, head.uri.query().unwrap_or_default()).await,
        (&Method::POST, ["script", token]) => match serde_json::from_slice::<Vec<Behaviour>>(&body) {
            Ok(behaviours) => {
                desk.scripts.append(token, behaviours);
                reply(204, &[], "")
            }
            Err(error) => wrong(400, &error.to_string()),
        },
        (&Method::POST, ["always"]) => match serde_json::from_slice::<Option<Behaviour>>(&body) {
            Ok(behaviour) => {
                desk.scripts.always(behaviour);
                reply(204, &[], "")
            }
            Err(error) => wrong(400, &error.to_string()),
        },
        _ => wrong(404, "no such request"),
    }
}

async fn pushes<P: Provider>(desk: &Desk<P>, token: &str, query: &str) -> Reply {
    let Some((after, wait)) = query_numbers(query) else { return wrong(400, "after=N&wait=S, whole numbers") };
    let wait = Duration::from_secs(wait.min(MAX_WAIT_SECONDS));
    let look = || {
        let received = desk.ledger.received_for(token, after);
        (!received.is_empty()).then_some(received)
    };
    let mut received = desk.ledger.wait(wait, look).await.unwrap_or_default();
    received.truncate(MAX_PUSHES);
    json_reply(200, &[], &json!({"pushes": received}))
}

/// `after` and `wait`; 0 if absent.
fn query_numbers(query: &str) -> Option<(u64, u64)> {
    let (mut after, mut wait) = (0, 0);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("after", number) => after = number.parse().ok()?,
            ("wait", number) => wait = number.parse().ok()?,
            _ => return None,
        }
    }
    Some((after, wait))
}

fn status<P: Provider>(desk: &Desk<P>) -> Value {
    let mut status = json!({
        "connections": desk.connections.load(Ordering::SeqCst),
        "attempted": desk.ledger.attempted_count(),
        "accepted": desk.ledger.accepted_count(),
    });
    if let (Value::Object(status), Value::Object(counts)) = (&mut status, desk.provider.counts()) {
        status.extend(counts);
    }
    status
}

fn wrong(code: u16, error: &str) -> Reply {
    json_reply(code, &[], &json!({"error": error}))
}
