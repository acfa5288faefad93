//! What Apple checks of the body.

use countersign_proto::json;
use h2::RecvStream;
use serde_json::Value;

use super::provider_token::Refusal;

/// The largest payload.
const MAX_BYTES: usize = 4_096;
/// How much of a larger one is read before the stream is given up.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Reads the whole body, up to a bound; `None` if the stream broke.
pub(super) async fn read(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        body.flow_control().release_capacity(chunk.len()).ok()?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_READ_BYTES {
            break;
        }
    }
    Some(bytes)
}

/// The payload, or what is wrong with it.
pub(super) fn check(bytes: &[u8], push_type: Option<&str>) -> Result<Value, Refusal> {
    if bytes.is_empty() {
        return Err((400, "PayloadEmpty"));
    }
    if bytes.len() > MAX_BYTES {
        return Err((413, "PayloadTooLarge"));
    }
    let payload = json::parse_object(bytes).map_err(|_| (400, "BadPayload"))?;
    let aps = payload.get("aps").and_then(Value::as_object).ok_or((400, "BadPayload"))?;
    let has = |name: &str| aps.contains_key(name);
    match push_type {
        // Apple: a background notification carries content-available and must not alert.
        Some("background") => {
            let is_background = aps.get("content-available").and_then(Value::as_i64) == Some(1);
            let alerts = has("alert") || has("sound") || has("badge");
            if is_background && !alerts { Ok(payload) } else { Err((400, "InvalidPushType")) }
        }
        Some("alert") if !(has("alert") || has("sound") || has("badge")) => Err((400, "InvalidPushType")),
        _ => Ok(payload),
    }
}
