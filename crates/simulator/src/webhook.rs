//! A stand-in of an organisation's webhook receiver (Standard Webhooks): `POST /hook/{name}`, any name.
//!
//! It judges the form of each message as a careful receiver would: method, type, the three headers, a timestamp within
//! five minutes, a body that is JSON with `type`, `timestamp` and `data`. It knows no secret: whoever asks what came
//! verifies the signatures. It must never take a message that a receiver of that specification would refuse.
//! To add a check: its line in `judge`.

use std::io;
use std::sync::Arc;

use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

use crate::stand_in::http::{Act, Forms, Line, Reply, act, json_reply, read_body, reply, serve};
use crate::stand_in::wire::End;
use crate::stand_in::{self, Answer, Common, Desk, Provider, control, listener::Port};

/// A running stand-in.
pub type Handle = stand_in::Handle<Receiver>;

/// What the stand-in is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What all stand-ins are told.
    pub common: Common,
}

/// One message, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `webhook-id`.
    pub id: Option<String>,
    /// `webhook-timestamp`.
    pub timestamp: Option<String>,
    /// `webhook-signature`.
    pub signature: Option<String>,
    /// `user-agent`.
    pub user_agent: Option<String>,
    /// The body, byte for byte.
    pub body: String,
}

/// What a receiver knows: nothing but its own address.
#[derive(Debug)]
pub struct Receiver {
    base_url: String,
}

/// How far a timestamp may be from the receiver's clock, in seconds.
const TOLERANCE_SECONDS: i64 = 300;

const FORMS: Forms = Forms {
    error: |_, word| json!({"error": word}).to_string(),
    usual_reason: |code| match code {
        410 => "gone",
        429 => "too_many_requests",
        _ => "trouble",
    },
    gone: (410, "gone"),
};

/// Starts one.
///
/// # Errors
/// If the port cannot be bound or no certificate be made.
pub async fn start(options: Options) -> io::Result<Handle> {
    let Options { common } = options;
    let certificates = stand_in::certificates(&common)?;
    let tls = certificates.as_ref().map(|certificates| certificates.server_config(&["h2", "http/1.1"])).transpose()?;
    let port = Port::bind(&common, common.port, tls).await?;
    let control_port = Port::bind(&common, common.control_port, None).await?;
    let (base_url, control_url) = (port.base_url(), control_port.base_url());
    let desk = Arc::new(Desk::new(Receiver { base_url: base_url.clone() }, common));
    let tasks = vec![
        port.serve(desk.connections.clone(), {
            let desk = desk.clone();
            move |accepted| {
                let desk = desk.clone();
                async move {
                    let streams = desk.common.max_concurrent_streams;
                    serve(accepted, streams, |request, line| {
                        let desk = desk.clone();
                        async move { receive(&desk, request, &line).await }
                    })
                    .await;
                }
            }
        }),
        control::serve(control_port, desk.clone()),
    ];
    let ca_pem = certificates.map(|certificates| certificates.ca_pem().to_owned());
    Ok(Handle { desk, tasks, base_url, control_url, ca_pem })
}

async fn receive(desk: &Desk<Receiver>, request: Request<Incoming>, line: &Line) -> Option<Reply> {
    let (head, body) = request.into_parts();
    let body = read_body(body).await?;
    let Some(name) = head.uri.path().strip_prefix("/hook/") else {
        return Some(json_reply(404, &[], &json!({"error": "unknown_hook"})));
    };
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let message = Message {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        user_agent: header("user-agent"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let refusal = judge(&head.method, &head.headers, &message, &body, desk.now()).err();
    let answer = refusal.map_or_else(|| Answer::accepted(204), |(status, word)| Answer::refused(status, word));
    let record = |answer: Answer| desk.ledger.record(desk.now(), line.number, name, answer, || message);
    match act(desk.scripts.next(name), line, &FORMS).await {
        Act::Normal => {
            // Taken before it is answered: who has the answer finds the message.
            record(answer);
            Some(match refusal {
                None => reply(204, &[], ""),
                Some((status, word)) => json_reply(status, &[], &json!({"error": word})),
            })
        }
        Act::LoseAnswer => {
            record(answer);
            line.switch.end(End::Reset);
            std::future::pending().await
        }
        Act::Reply(reply, answer) => {
            record(answer);
            Some(reply)
        }
        Act::Break(answer) => {
            record(answer);
            None
        }
        Act::Hang(answer) => {
            record(answer);
            std::future::pending().await
        }
    }
}

fn judge(
    method: &Method,
    headers: &HeaderMap,
    message: &Message,
    body: &[u8],
    now: i64,
) -> Result<(), (u16, &'static str)> {
    if method != Method::POST {
        return Err((405, "method_not_allowed"));
    }
    if headers.get("content-type").and_then(|value| value.to_str().ok()) != Some("application/json") {
        return Err((415, "content_type"));
    }
    if message.id.as_deref().is_none_or(|id| id.is_empty() || id.contains('.')) {
        return Err((400, "webhook_id"));
    }
    let timestamp = message.timestamp.as_deref().and_then(|text| text.parse::<i64>().ok());
    if timestamp.is_none_or(|at| at.abs_diff(now) > TOLERANCE_SECONDS.unsigned_abs()) {
        return Err((400, "webhook_timestamp"));
    }
    let is_signature = |part: &str| part.starts_with("v1,") || part.starts_with("v1a,");
    if !message.signature.as_deref().is_some_and(|signature| signature.split(' ').all(is_signature)) {
        return Err((400, "webhook_signature"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| (400, "body"))?;
    let is_text = |name| body.get(name).is_some_and(Value::is_string);
    let has_form = is_text("type") && is_text("timestamp") && body.get("data").is_some_and(Value::is_object);
    if has_form { Ok(()) } else { Err((400, "body")) }
}

impl Handle {
    /// Where this hook is.
    pub fn url(&self, name: &str) -> String {
        format!("{}/hook/{name}", self.base_url)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.base_url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }
}

impl Provider for Receiver {
    type Push = Message;

    fn new_binding(desk: &Desk<Self>, _keys: &Value) -> Result<Value, String> {
        Ok(json!({"url": format!("{}/hook/default", desk.provider.base_url)}))
    }

    fn counts(&self) -> Value {
        json!({})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn message(body: &str) -> Message {
        Message {
            id: Some("01890a5d".to_owned()),
            timestamp: Some(NOW.to_string()),
            signature: Some("v1,AAAA v1a,BBBB".to_owned()),
            user_agent: None,
            body: body.to_owned(),
        }
    }

    fn judged(change: impl FnOnce(&mut Message, &mut HeaderMap)) -> Result<(), (u16, &'static str)> {
        let mut message = message(r#"{"type":"a.b","timestamp":"2026-01-01T00:00:00Z","data":{}}"#);
        let mut headers =
            HeaderMap::from_iter([("content-type".parse().unwrap(), "application/json".parse().unwrap())]);
        change(&mut message, &mut headers);
        judge(&Method::POST, &headers, &message, message.body.as_bytes(), NOW)
    }

    #[test]
    fn a_message_of_the_right_form_is_taken_and_each_fault_is_seen() {
        assert_eq!(judged(|_, _| ()), Ok(()));
        assert_eq!(judged(|_, headers| headers.clear()), Err((415, "content_type")));
        assert_eq!(judged(|message, _| message.id = None), Err((400, "webhook_id")));
        assert_eq!(judged(|message, _| message.id = Some("a.b".to_owned())), Err((400, "webhook_id")));
        let at = |at: i64| judged(move |message, _| message.timestamp = Some(at.to_string()));
        assert_eq!((at(NOW - 300), at(NOW + 300)), (Ok(()), Ok(())));
        assert_eq!((at(NOW - 301), at(NOW + 301)), (Err((400, "webhook_timestamp")), Err((400, "webhook_timestamp"))));
        assert_eq!(judged(|message, _| message.signature = Some("AAAA".to_owned())), Err((400, "webhook_signature")));
        assert_eq!(judged(|message, _| message.body = "{}".to_owned()), Err((400, "body")));
        assert_eq!(judged(|message, _| message.body = "{".to_owned()), Err((400, "body")));
    }
}
