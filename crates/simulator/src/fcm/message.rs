//! The JSON of `messages:send`: which members there are, of which type, and how long they may be
//! (Google, "REST Resource: projects.messages").

use serde_json::{Map, Value};

use super::Push;

/// The largest `data` or `notification`, in bytes of names and values.
const MAX_PAYLOAD_BYTES: usize = 4_096;
/// Four weeks.
const MAX_TTL_SECONDS: i64 = 28 * 24 * 3_600;

type Members = Map<String, Value>;

/// Which token a request is for, if that much can be read.
pub(super) fn token_of(request: &Value) -> String {
    request.pointer("/message/token").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether it is only to be judged (`validate_only`).
pub(super) fn is_trial(request: &Value) -> bool {
    request.get("validate_only") == Some(&Value::Bool(true))
}

/// Reads a request; says which member is wrong otherwise, never with its value.
pub(super) fn read(request: &Value, project: &str) -> Result<Push, String> {
    let whole = object(request, "the request")?;
    only(whole, &["message", "validate_only"], "the request")?;
    if whole.get("validate_only").is_some_and(|value| !value.is_boolean()) {
        return Err("validate_only must be a boolean".to_owned());
    }
    let message = object(whole.get("message").ok_or("message is missing")?, "message")?;
    only(
        message,
        &["name", "data", "notification", "android", "webpush", "apns", "fcm_options", "token", "topic", "condition"],
        "message",
    )?;
    if message.contains_key("topic") || message.contains_key("condition") {
        return Err("message must have exactly one of token, topic and condition; here: a token".to_owned());
    }
    let token = text(message, "token")?.ok_or("Recipient of the message is not set.")?;
    let is_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.');
    if token.is_empty() || token.len() > 4_096 || !token.bytes().all(is_formed) {
        return Err("The registration token is not a valid FCM registration token".to_owned());
    }
    let data = data(message.get("data"))?;
    let notification = message.get("notification").map(|value| object(value, "notification")).transpose()?;
    if payload_bytes(&data) > MAX_PAYLOAD_BYTES || notification.is_some_and(|it| payload_bytes(it) > MAX_PAYLOAD_BYTES)
    {
        return Err("Message payload is too big".to_owned());
    }
    let mut push = Push {
        project: project.to_owned(),
        message_id: String::new(),
        data,
        priority: None,
        ttl_seconds: None,
        collapse_key: None,
        request: request.clone(),
    };
    if let Some(android) = message.get("android") {
        read_android(object(android, "android")?, &mut push)?;
    }
    Ok(push)
}

fn read_android(android: &Members, push: &mut Push) -> Result<(), String> {
    let known = [
        "collapse_key",
        "priority",
        "ttl",
        "restricted_package_name",
        "data",
        "notification",
        "fcm_options",
        "direct_boot_ok",
        "bandwidth_constrained_ok",
        "restricted_satellite_ok",
    ];
    only(android, &known, "android")?;
    push.priority = text(android, "priority")?;
    if push.priority.as_deref().is_some_and(|priority| !matches!(priority, "NORMAL" | "HIGH")) {
        return Err("android.priority must be NORMAL or HIGH".to_owned());
    }
    push.collapse_key = text(android, "collapse_key")?;
    if push.collapse_key.as_deref().is_some_and(|key| key.is_empty() || key.len() > 64) {
        return Err("android.collapse_key must have 1 to 64 characters".to_owned());
    }
    if let Some(ttl) = text(android, "ttl")? {
        push.ttl_seconds = Some(seconds(&ttl).ok_or("android.ttl must be like \"3.5s\", at most four weeks")?);
    }
    text(android, "restricted_package_name")?;
    Ok(())
}

/// All values are strings, and no name is one of Google's own.
fn data(value: Option<&Value>) -> Result<Members, String> {
    let Some(value) = value else { return Ok(Members::new()) };
    let data = object(value, "data")?;
    for (name, value) in data {
        if !value.is_string() {
            return Err("every value of data must be a string".to_owned());
        }
        let is_reserved = matches!(name.as_str(), "from" | "notification" | "message_type" | "collapse_key")
            || name.starts_with("google.")
            || name.starts_with("gcm.")
            || name.is_empty();
        if is_reserved {
            return Err("Invalid data payload key".to_owned());
        }
    }
    Ok(data.clone())
}

fn payload_bytes(members: &Members) -> usize {
    members.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum()
}

/// `123s` or `1.5s` (google.protobuf.Duration), in whole seconds.
fn seconds(text: &str) -> Option<i64> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    whole.parse().ok().filter(|seconds| *seconds <= MAX_TTL_SECONDS)
}

fn object<'v>(value: &'v Value, name: &str) -> Result<&'v Members, String> {
    value.as_object().ok_or_else(|| format!("{name} must be an object"))
}

fn text(members: &Members, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

fn only(members: &Members, known: &[&str], place: &str) -> Result<(), String> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            Err(format!("Invalid JSON payload received. Unknown name \"{name}\" at '{place}': Cannot find field."))
        }
    }
}
