//! One request and its answer, honest or scripted.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Response;
use serde_json::{Value, json};

use super::provider_token::Refusal;
use super::request::Heads;
use super::{Apns, payload};
use crate::stand_in::behaviour::{GARBAGE, HTML, NOT_JSON};
use crate::stand_in::clock::pause;
use crate::stand_in::wire::{End, Switch};
use crate::stand_in::{Answer, Behaviour, Desk};

/// How much of a huge body is written at a time.
const CHUNK_BYTES: usize = 16 * 1024;

pub(super) struct Exchange {
    pub(super) desk: Arc<Desk<Apns>>,
    pub(super) connection: u64,
    pub(super) switch: Switch,
    pub(super) heads: Heads,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) body: RecvStream,
}

/// What goes back.
struct Reply {
    status: u16,
    body: Bytes,
    retry_after: Option<String>,
}

impl Exchange {
    /// Reads the body, then answers as `behaviour` says.
    pub(super) async fn run(self, behaviour: Behaviour) {
        let Self { desk, connection, switch, mut heads, respond, body } = self;
        // A stream that broke has nobody to answer.
        let Some(bytes) = payload::read(body).await else { return };
        let judged = payload::check(&bytes, heads.push.push_type.as_deref());
        let refusal = heads.refusal.or_else(|| judged.as_ref().err().copied());
        heads.push.payload = judged.unwrap_or_else(|_| serde_json::from_slice(&bytes).unwrap_or(Value::Null));
        Answering { desk, connection, switch, heads, refusal, respond }.act(behaviour).await;
    }
}

/// A request that was read and judged.
struct Answering {
    desk: Arc<Desk<Apns>>,
    connection: u64,
    switch: Switch,
    heads: Heads,
    refusal: Option<Refusal>,
    respond: SendResponse<Bytes>,
}

impl Answering {
    async fn act(mut self, behaviour: Behaviour) {
        match behaviour {
            Behaviour::Normal {} => self.judge(),
            Behaviour::Slow { millis } => {
                pause(Duration::from_millis(millis)).await;
                self.judge();
            }
            Behaviour::SlowHeaders { millis } => {
                self.switch.trickle(millis);
                self.judge();
            }
            Behaviour::LoseAnswer {} => {
                self.record(self.refusal.map_or_else(|| Answer::accepted(200), refused));
                self.switch.end(End::Reset);
            }
            Behaviour::Status { code, reason, body, retry_after } => {
                let reason = reason.unwrap_or_else(|| usual_reason(code).to_owned());
                let body = body.unwrap_or_else(|| json!({"reason": reason}).to_string());
                self.record(Answer::refused(code, &reason));
                self.send(Reply { status: code, body: body.into(), retry_after });
            }
            Behaviour::Gone { timestamp_millis } => self.gone(timestamp_millis),
            Behaviour::ResetStream {} => {
                self.record(Answer::none("reset_stream"));
                self.respond.send_reset(Reason::INTERNAL_ERROR);
            }
            Behaviour::ResetConnection {} => self.end("reset_connection", End::Reset).await,
            Behaviour::Silent {} => self.end("silent", End::Silence).await,
            Behaviour::GoAway {} | Behaviour::NeverAnswer {} => {
                self.record(Answer::none("never_answer"));
                std::future::pending().await
            }
            Behaviour::Garbage {} => {
                self.record(Answer::none("garbage"));
                self.switch.write_instead(GARBAGE);
                self.send(Reply { status: 200, body: Bytes::new(), retry_after: None });
            }
            Behaviour::GarbageBody { code } => self.send_odd(code, "garbage_body", NOT_JSON),
            Behaviour::Html { code } => self.send_odd(code, "html", HTML),
            Behaviour::HugeBody { bytes, code } => self.send_huge(bytes, code).await,
        }
    }

    /// Apple's answer.
    fn judge(mut self) {
        match self.refusal {
            None => {
                // Taken before it is answered: who has the answer finds the push.
                self.record(Answer::accepted(200));
                self.send(Reply { status: 200, body: Bytes::new(), retry_after: None });
            }
            Some((410, _)) => {
                let registered = self.desk.provider.registered(&self.heads.token);
                let at_millis = registered.and_then(|registered| registered.unregistered_at_millis);
                self.gone(at_millis);
            }
            Some(refusal @ (status, reason)) => {
                self.record(refused(refusal));
                let body = json!({"reason": reason}).to_string().into();
                self.send(Reply { status, body, retry_after: None });
            }
        }
    }

    fn gone(mut self, timestamp_millis: Option<i64>) {
        let mut body = json!({"reason": "Unregistered"});
        if let (Some(millis), Some(members)) = (timestamp_millis, body.as_object_mut()) {
            members.insert("timestamp".to_owned(), json!(millis));
        }
        self.record(Answer::refused(410, "Unregistered"));
        self.send(Reply { status: 410, body: body.to_string().into(), retry_after: None });
    }

    async fn end(&self, reason: &str, end: End) {
        self.record(Answer::none(reason));
        self.switch.end(end);
        // The connection's task acts on it; until then nothing more is said on this stream.
        std::future::pending().await
    }

    fn send_odd(&mut self, status: u16, reason: &str, body: &'static [u8]) {
        self.record(odd(status, reason));
        self.send(Reply { status, body: Bytes::from_static(body), retry_after: None });
    }

    async fn send_huge(&mut self, mut bytes: u64, code: u16) {
        self.record(odd(code, "huge_body"));
        let Ok(response) = Response::builder().status(code).body(()) else { return };
        let Ok(mut stream) = self.respond.send_response(response, false) else { return };
        while bytes > 0 {
            stream.reserve_capacity(CHUNK_BYTES);
            // As fast as the client reads, and no further if it gives up.
            let Some(Ok(granted)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            let size = granted.min(CHUNK_BYTES).min(usize::try_from(bytes).unwrap_or(usize::MAX));
            if stream.send_data(Bytes::from(vec![b'x'; size]), false).is_err() {
                return;
            }
            bytes = bytes.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
        }
        // Whether the end still reaches the client is its affair.
        let _gone = stream.send_data(Bytes::new(), true);
    }

    fn record(&self, answer: Answer) {
        let Self { desk, connection, heads, .. } = self;
        desk.ledger.record(desk.now(), *connection, &heads.token, answer, || heads.push.clone());
    }

    /// Errors are the client's: it may be gone.
    fn send(&mut self, reply: Reply) {
        let Reply { status, body, retry_after } = reply;
        let mut response = Response::builder().status(status).header("apns-id", self.heads.push.apns_id.as_str());
        if let Some(retry_after) = retry_after {
            response = response.header("retry-after", retry_after);
        }
        let Ok(response) = response.body(()) else { return };
        if let Ok(mut stream) = self.respond.send_response(response, body.is_empty())
            && !body.is_empty()
        {
            let _gone = stream.send_data(body, true);
        }
    }
}

fn refused((status, reason): Refusal) -> Answer {
    Answer::refused(status, reason)
}

/// An odd body in a status of success still means that the push was taken.
fn odd(status: u16, reason: &str) -> Answer {
    Answer { status: Some(status), reason: Some(reason.to_owned()), accepted: status == 200 }
}

/// Apple's usual word for a status.
fn usual_reason(code: u16) -> &'static str {
    match code {
        400 => "BadDeviceToken",
        403 => "InvalidProviderToken",
        404 => "BadPath",
        405 => "MethodNotAllowed",
        410 => "Unregistered",
        413 => "PayloadTooLarge",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalServerError",
    }
}
