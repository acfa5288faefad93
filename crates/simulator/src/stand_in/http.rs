//! The HTTP/1.1 and HTTP/2 server of the stand-ins that need no frames, with scripted misbehaviour.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use super::behaviour::{GARBAGE, HTML, NOT_JSON};
use super::clock::pause;
use super::listener::Accepted;
use super::wire::{End, Switch};
use super::{Answer, Behaviour};

/// The most that is read of a request's body.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: u64 = 16 * 1024;
const CLOSE_GRACE: Duration = Duration::from_secs(1);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection on which a request came.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) switch: Switch,
}

/// A body that is there, or one that is made while it is sent.
pub(crate) enum ReplyBody {
    Whole(Option<Bytes>),
    /// So many bytes are still to come.
    Huge(u64),
}

pub(crate) type Reply = Response<ReplyBody>;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Huge(0) => None,
            Self::Huge(left) => {
                let size = CHUNK_BYTES.min(*left);
                *left -= size;
                Some(vec![b'x'; usize::try_from(size).unwrap_or_default()].into())
            }
        };
        Poll::Ready(chunk.filter(|chunk| !chunk.is_empty()).map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Huge(left) => *left == 0,
        }
    }
}

/// A reply; one that cannot be built (a `Retry-After` that no header can carry) is a bare 500.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let builder = Response::builder().status(status);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(ReplyBody::Whole(Some(body.into()))).unwrap_or_else(|_| {
        let mut bare = Response::new(ReplyBody::Whole(None));
        *bare.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        bare
    })
}

/// A JSON reply.
pub(crate) fn json_reply(status: u16, headers: &[(&str, &str)], body: &serde_json::Value) -> Reply {
    let mut all = vec![("content-type", "application/json; charset=UTF-8")];
    all.extend(headers);
    reply(status, &all, body.to_string())
}

/// The request's body, up to a bound; `None` if it is longer or broke off.
pub(crate) async fn read_body(body: Incoming) -> Option<Bytes> {
    Limited::new(body, MAX_REQUEST_BYTES).collect().await.ok().map(|body| body.to_bytes())
}

/// Serves one connection to its end. A request for which `handle` gives `None` is broken off.
pub(crate) async fn serve<F>(
    accepted: Accepted,
    max_concurrent_streams: u32,
    handle: impl Fn(Request<Incoming>, Line) -> F,
) where
    F: Future<Output = Option<Reply>> + Send + 'static,
{
    let Accepted { number, stream, switch } = accepted;
    let service = service_fn(|request| {
        let reply = handle(request, Line { number, switch: switch.clone() });
        async move { reply.await.ok_or_else(|| io::Error::other("broken off, as scripted")) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().max_concurrent_streams(max_concurrent_streams);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        biased;
        end = switch.ended() => match end {
            End::Reset => {}
            // Held open, but never polled again.
            End::Silence => std::future::pending().await,
            End::Closed => {
                connection.as_mut().graceful_shutdown();
                tokio::select! { _ = connection => {} () = pause(CLOSE_GRACE) => {} }
            }
        },
        // How it ended is the client's affair.
        _ = connection.as_mut() => {}
    }
}

/// What a behaviour makes of a request.
pub(crate) enum Act {
    /// The normal answer.
    Normal,
    /// The normal judgement, but no answer to it: the connection is reset.
    LoseAnswer,
    /// This instead.
    Reply(Reply, Answer),
    /// Broken off, after it was recorded.
    Break(Answer),
    /// Never answered, after it was recorded.
    Hang(Answer),
}

/// The provider's own forms.
pub(crate) struct Forms {
    /// A refusal's body for a status and the provider's word.
    pub(crate) error: fn(u16, &str) -> String,
    /// The provider's usual word for a status.
    pub(crate) usual_reason: fn(u16) -> &'static str,
    /// Status and word for a token that is gone.
    pub(crate) gone: (u16, &'static str),
}

/// Does what was scripted, up to the answer.
pub(crate) async fn act(behaviour: Behaviour, line: &Line, forms: &Forms) -> Act {
    match behaviour {
        Behaviour::Normal {} => Act::Normal,
        Behaviour::LoseAnswer {} => Act::LoseAnswer,
        Behaviour::Slow { millis } => {
            pause(Duration::from_millis(millis)).await;
            Act::Normal
        }
        Behaviour::SlowHeaders { millis } => {
            line.switch.trickle(millis);
            Act::Normal
        }
        Behaviour::GoAway {} => {
            line.switch.end(End::Closed);
            Act::Normal
        }
        Behaviour::Status { code, reason, body, retry_after } => {
            let reason = reason.unwrap_or_else(|| (forms.usual_reason)(code).to_owned());
            let body = body.unwrap_or_else(|| (forms.error)(code, &reason));
            refuse(code, &reason, body, retry_after.as_deref())
        }
        Behaviour::Gone { .. } => {
            let (code, reason) = forms.gone;
            refuse(code, reason, (forms.error)(code, reason), None)
        }
        Behaviour::NeverAnswer {} => Act::Hang(Answer::none("never_answer")),
        Behaviour::Silent {} => {
            line.switch.end(End::Silence);
            Act::Hang(Answer::none("silent"))
        }
        Behaviour::ResetStream {} => Act::Break(Answer::none("reset_stream")),
        Behaviour::ResetConnection {} => {
            line.switch.end(End::Reset);
            Act::Hang(Answer::none("reset_connection"))
        }
        Behaviour::Garbage {} => {
            line.switch.write_instead(GARBAGE);
            Act::Reply(reply(200, &[], ""), Answer::none("garbage"))
        }
        Behaviour::GarbageBody { code } => odd(code, "garbage_body", "application/json", NOT_JSON),
        Behaviour::Html { code } => odd(code, "html", "text/html", HTML),
        Behaviour::HugeBody { bytes, code } => {
            let mut huge = reply(code, &[("content-type", "application/json")], "");
            *huge.body_mut() = ReplyBody::Huge(bytes);
            Act::Reply(huge, odd_answer(code, "huge_body"))
        }
    }
}

fn refuse(code: u16, reason: &str, body: String, retry_after: Option<&str>) -> Act {
    let mut headers = vec![("content-type", "application/json; charset=UTF-8")];
    headers.extend(retry_after.map(|value| ("retry-after", value)));
    Act::Reply(reply(code, &headers, body), Answer::refused(code, reason))
}

fn odd(code: u16, reason: &str, content_type: &str, body: &'static [u8]) -> Act {
    Act::Reply(reply(code, &[("content-type", content_type)], body), odd_answer(code, reason))
}

/// An odd body in a status of success still means that the push was taken.
fn odd_answer(code: u16, reason: &str) -> Answer {
    Answer { status: Some(code), reason: Some(reason.to_owned()), accepted: (200..300).contains(&code) }
}
