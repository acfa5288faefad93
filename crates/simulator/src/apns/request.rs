//! What Apple checks before it looks at the body: method, path, provider token and headers.

use h2::RecvStream;
use http::{HeaderMap, Method, Request};

use super::provider_token::Refusal;
use super::{Apns, Push};
use crate::stand_in::Desk;

/// The longest collapse id, in bytes.
const MAX_COLLAPSE_BYTES: usize = 64;
const PUSH_TYPES: [&str; 10] = [
    "alert",
    "background",
    "location",
    "voip",
    "complication",
    "fileprovider",
    "mdm",
    "liveactivity",
    "pushtotalk",
    "widgets",
];

/// A request whose headers were read, with the first thing that is wrong with it, if any.
pub(super) struct Heads {
    /// Lower case; empty if there is none.
    pub(super) token: String,
    pub(super) push: Push,
    pub(super) refusal: Option<Refusal>,
}

/// The device token of a path, in lower case; empty if there is none.
pub(super) fn token_of(path: &str) -> String {
    path.strip_prefix("/3/device/").unwrap_or_default().to_ascii_lowercase()
}

/// Reads and judges what precedes the body.
pub(super) fn read(desk: &Desk<Apns>, request: &Request<RecvStream>, fresh_id: impl FnOnce() -> String) -> Heads {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut push = Push {
        stream: request.body().stream_id().as_u32(),
        apns_id: text("apns-id").unwrap_or_else(fresh_id),
        topic: text("apns-topic"),
        push_type: text("apns-push-type"),
        priority: 10,
        expiration: None,
        collapse_id: text("apns-collapse-id"),
        key_id: None,
        payload: serde_json::Value::Null,
    };
    let token = token_of(request.uri().path());
    let refusal = judge(desk, request, &token, &mut push).err();
    Heads { token, push, refusal }
}

fn judge(desk: &Desk<Apns>, request: &Request<RecvStream>, token: &str, push: &mut Push) -> Result<(), Refusal> {
    let headers = request.headers();
    check_route(request.method(), request.uri().path(), token)?;
    check_single(headers)?;
    let authorization = headers.get("authorization").map(http::HeaderValue::as_bytes);
    push.key_id = Some(desk.provider.tokens.check(authorization, desk.now())?);
    if headers.contains_key("apns-id") && !is_uuid(&push.apns_id) {
        return Err((400, "BadMessageId"));
    }
    push.priority = match headers.get("apns-priority").map(http::HeaderValue::as_bytes) {
        None | Some(b"10") => 10,
        Some(b"5") => 5,
        Some(_) => return Err((400, "BadPriority")),
    };
    push.expiration = match headers.get("apns-expiration") {
        None => None,
        Some(value) => Some(integer(value).ok_or((400, "BadExpirationDate"))?),
    };
    let collapse_id = headers.get("apns-collapse-id");
    if collapse_id.is_some_and(|id| id.is_empty() || id.len() > MAX_COLLAPSE_BYTES || id.to_str().is_err()) {
        return Err((400, "BadCollapseId"));
    }
    check_topic(&desk.provider, push.topic.as_deref())?;
    check_push_type(push)?;
    check_token(desk, token, push.topic.as_deref())
}

fn check_route(method: &Method, path: &str, token: &str) -> Result<(), Refusal> {
    if !path.starts_with("/3/device") || token.contains('/') {
        return Err((404, "BadPath"));
    }
    if method != Method::POST {
        return Err((405, "MethodNotAllowed"));
    }
    match path {
        "/3/device" | "/3/device/" => Err((400, "MissingDeviceToken")),
        path if !path.starts_with("/3/device/") => Err((404, "BadPath")),
        _ => Ok(()),
    }
}

/// No header of Apple's may come twice.
fn check_single(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_ours = |name: &str| name.starts_with("apns-") || name == "authorization";
    // As many names as values: the usual request needs no closer look.
    let is_single = headers.keys_len() == headers.len();
    if is_single || headers.keys().all(|name| !is_ours(name.as_str()) || headers.get_all(name).iter().count() == 1) {
        Ok(())
    } else {
        Err((400, "DuplicateHeaders"))
    }
}

fn check_topic(apns: &Apns, topic: Option<&str>) -> Result<(), Refusal> {
    let topic = topic.ok_or((400, "MissingTopic"))?;
    let is_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if topic.is_empty() || topic.len() > 255 || !topic.bytes().all(is_formed) {
        return Err((400, "BadTopic"));
    }
    if apns.topics.contains(topic) { Ok(()) } else { Err((400, "TopicDisallowed")) }
}

/// The type is known, and background has priority 5; the body is judged later.
fn check_push_type(push: &Push) -> Result<(), Refusal> {
    let push_type = push.push_type.as_deref().ok_or((400, "InvalidPushType"))?;
    if !PUSH_TYPES.contains(&push_type) {
        return Err((400, "InvalidPushType"));
    }
    if push_type == "background" && push.priority != 5 { Err((400, "BadPriority")) } else { Ok(()) }
}

fn check_token(desk: &Desk<Apns>, token: &str, topic: Option<&str>) -> Result<(), Refusal> {
    let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_zero = token.bytes().all(|byte| byte == b'0');
    if !is_hex || !(64..=200).contains(&token.len()) || !token.len().is_multiple_of(2) || is_zero {
        return Err((400, "BadDeviceToken"));
    }
    match desk.provider.registered(token) {
        Some(registered) if Some(registered.topic.as_str()) != topic => Err((400, "DeviceTokenNotForTopic")),
        Some(registered) if registered.unregistered_at_millis.is_some() => Err((410, "Unregistered")),
        None if desk.common.known_tokens_only => Err((400, "BadDeviceToken")),
        _ => Ok(()),
    }
}

/// Digits only: `parse` alone would take a sign.
fn integer(value: &http::HeaderValue) -> Option<i64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// 8-4-4-4-12 hex digits.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}
