//! Who pushes: `Authorization: vapid t=JWT, k=KEY` (RFC 8292).

use std::collections::HashMap;
use std::sync::Mutex;

use countersign_proto::jose::{PublicKey, base64url};
use countersign_proto::json;
use serde_json::Value;

use super::lock;

const MAX_LIFETIME_SECONDS: i64 = 24 * 3_600;
/// What clocks may differ by.
const LEEWAY_SECONDS: i64 = 60;
/// No honest sender shows as many; the cache is then forgotten.
const MAX_REMEMBERED: usize = 1_000;

/// A refusal: status and our word for it (no vendor agrees with another on words).
pub(super) type Refusal = (u16, &'static str);

/// What is known of tokens.
#[derive(Debug)]
pub(super) struct Vapid {
    /// The origin that a token must be for.
    origin: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Token and key as they came, and when the token ends.
    good: HashMap<(String, String), i64>,
    seen: usize,
}

impl Vapid {
    pub(super) fn new(origin: String) -> Self {
        Self { origin, state: Mutex::default() }
    }

    pub(super) fn seen(&self) -> usize {
        lock(&self.state).seen
    }

    /// Checks `Authorization`; the sender's public key, b64u, if it is good at `now`.
    pub(super) fn check(&self, authorization: Option<&str>, now: i64) -> Result<String, Refusal> {
        let (token, key) = parameters(authorization.ok_or((401, "vapid_missing"))?).ok_or((401, "vapid_malformed"))?;
        let entry = (token.to_owned(), key.to_owned());
        let mut state = lock(&self.state);
        let expires_at = match state.good.get(&entry) {
            Some(expires_at) => *expires_at,
            None => {
                let expires_at = self.verify(token, key, now)?;
                if state.good.len() >= MAX_REMEMBERED {
                    state.good.clear();
                }
                state.seen += 1;
                state.good.insert(entry, expires_at);
                expires_at
            }
        };
        if expires_at <= now { Err((403, "vapid_expired")) } else { Ok(key.to_owned()) }
    }

    /// Signature and claims; when it ends.
    fn verify(&self, token: &str, key: &str, now: i64) -> Result<i64, Refusal> {
        let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, claims) = signed.split_once('.')?;
            Some((signed, signature, object(header)?, object(claims)?))
        });
        let (signed, signature, header, claims) = parts.ok_or((403, "vapid_malformed"))?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        if text(&header, "alg").as_deref() != Some("ES256") {
            return Err((403, "vapid_algorithm"));
        }
        let public_key = base64url::decode(key).and_then(|bytes| PublicKey::from_sec1(&bytes).ok());
        let public_key = public_key.ok_or((403, "vapid_key"))?;
        let signature: Option<[u8; 64]> = base64url::decode(signature).and_then(|bytes| bytes.try_into().ok());
        if !signature.is_some_and(|signature| public_key.verifies(signed.as_bytes(), &signature)) {
            return Err((403, "vapid_signature"));
        }
        if text(&claims, "aud").as_deref() != Some(self.origin.as_str()) {
            return Err((403, "vapid_audience"));
        }
        let subject = text(&claims, "sub").unwrap_or_default();
        if !(subject.starts_with("mailto:") || subject.starts_with("https:")) {
            return Err((403, "vapid_subject"));
        }
        let expires_at = claims.get("exp").and_then(Value::as_i64).ok_or((403, "vapid_expiry"))?;
        if expires_at > now.saturating_add(MAX_LIFETIME_SECONDS + LEEWAY_SECONDS) {
            return Err((403, "vapid_expiry"));
        }
        Ok(expires_at)
    }
}

/// `vapid t=…, k=…` in either order, each once; the scheme in any case (RFC 9110 section 11).
fn parameters(value: &str) -> Option<(&str, &str)> {
    let (scheme, parameters) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("vapid") {
        return None;
    }
    let (mut token, mut key) = (None, None);
    for parameter in parameters.split(',') {
        let (name, value) = parameter.trim().split_once('=')?;
        let slot = match name {
            "t" => &mut token,
            "k" => &mut key,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    Some((token?, key?))
}

fn object(part: &str) -> Option<Value> {
    json::parse_object(&base64url::decode(part)?).ok()
}
