//! `POST /push/{id}`: a push message for a subscription (RFC 8030 section 5).

use countersign_proto::jose::base64url;
use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use serde_json::json;

use super::vapid::Refusal;
use super::{Push, WebPush};
use crate::stand_in::http::{Act, Forms, Line, Reply, act, json_reply, read_body, reply};
use crate::stand_in::wire::End;
use crate::stand_in::{Answer, Desk};

/// What every push service takes (RFC 8030 section 7.2), and most no more.
const MAX_BODY_BYTES: usize = 4_096;
const MAX_TOPIC_CHARACTERS: usize = 32;
const URGENCIES: [&str; 4] = ["very-low", "low", "normal", "high"];

const FORMS: Forms = Forms {
    error: |_, word| json!({"error": word}).to_string(),
    usual_reason: |code| match code {
        404 => "unknown_subscription",
        410 => "expired_subscription",
        413 => "too_large",
        429 => "too_many_requests",
        _ => "trouble",
    },
    gone: (410, "expired_subscription"),
};

/// Judges, records and answers one request.
pub(super) async fn deliver(desk: &Desk<WebPush>, request: Request<Incoming>, line: &Line) -> Option<Reply> {
    let (head, body) = request.into_parts();
    // A body beyond the bound is longer than any push: what it holds does not matter.
    let body = read_body(body).await.unwrap_or_else(|| vec![0; MAX_BODY_BYTES + 1].into());
    let Some(id) = head.uri.path().strip_prefix("/push/") else {
        return Some(json_reply(404, &[], &json!({"error": "unknown_subscription"})));
    };
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut push = Push {
        topic: header("topic"),
        urgency: header("urgency"),
        ttl_seconds: None,
        body: base64url::encode(body.get(..MAX_BODY_BYTES).unwrap_or(&body)),
        plain: None,
        vapid_key: None,
    };
    let refusal = judge(desk, &head.method, &head.headers, id, &body, &mut push).err();
    let answer = refusal.map_or_else(|| Answer::accepted(201), |(status, word)| Answer::refused(status, word));
    let ttl = push.ttl_seconds.unwrap_or(0).to_string();
    let record = |answer: Answer| desk.ledger.record(desk.now(), line.number, id, answer, || push);
    match act(desk.scripts.next(id), line, &FORMS).await {
        Act::Normal => {
            // Taken before it is answered: who has the answer finds the push.
            record(answer);
            Some(match refusal {
                None => {
                    let location = format!("{}/message/{}", desk.provider.base_url, desk.ledger.attempted_count());
                    reply(201, &[("location", &location), ("ttl", &ttl)], "")
                }
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
    desk: &Desk<WebPush>,
    method: &Method,
    headers: &HeaderMap,
    id: &str,
    body: &[u8],
    push: &mut Push,
) -> Result<(), Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if method != Method::POST {
        return Err((405, "method_not_allowed"));
    }
    let registered = desk.provider.registered(id).ok_or((404, "unknown_subscription"))?;
    if registered.is_gone {
        return Err((410, "expired_subscription"));
    }
    let key = desk.provider.vapid.check(header("authorization"), desk.now())?;
    push.vapid_key = Some(key.clone());
    if registered.application_server_key.is_some_and(|only| only != key) {
        return Err((403, "vapid_other_key"));
    }
    let ttl = header("ttl").filter(|ttl| ttl.bytes().all(|byte| byte.is_ascii_digit()));
    push.ttl_seconds = ttl.and_then(|ttl| ttl.parse().ok());
    if push.ttl_seconds.is_none() {
        return Err((400, "ttl"));
    }
    if headers.contains_key("topic") && !push.topic.as_deref().is_some_and(is_topic) {
        return Err((400, "topic"));
    }
    if headers.contains_key("urgency") && !push.urgency.as_deref().is_some_and(|it| URGENCIES.contains(&it)) {
        return Err((400, "urgency"));
    }
    if body.len() > MAX_BODY_BYTES {
        return Err((413, "too_large"));
    }
    if body.is_empty() || header("content-encoding") != Some("aes128gcm") {
        return Err((415, "content_encoding"));
    }
    if let Some(subscriber) = registered.subscriber {
        // A vendor cannot see this; the browser behind it would drop the push unseen.
        let plain = subscriber.decrypt(body).map_err(|_| (400, "not_decrypted"))?;
        push.plain = Some(String::from_utf8(plain).map_err(|_| (400, "not_text"))?);
    }
    Ok(())
}

/// 1 to 32 characters of the b64u alphabet (RFC 8030 section 5.4).
fn is_topic(topic: &str) -> bool {
    let is_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_TOPIC_CHARACTERS).contains(&topic.len()) && topic.bytes().all(is_formed)
}
