//! The provider token: a JWT of the developer's key (Apple, "Establishing a token-based connection to APNs").
//!
//! A token that was found good once is only looked up from then on; its age is checked each time.

use std::collections::HashMap;
use std::sync::Mutex;

use countersign_proto::jose::base64url;
use countersign_proto::json;
use serde_json::Value;

use super::account::DeveloperKey;
use super::lock;

/// Apple refuses older ones.
const MAX_AGE_SECONDS: i64 = 60 * 60;
/// What clocks may differ by.
const LEEWAY_SECONDS: i64 = 60;
/// No honest provider shows as many; the cache is then forgotten.
const MAX_REMEMBERED: usize = 1_000;

/// A refusal: status and Apple's reason.
pub(super) type Refusal = (u16, &'static str);

const MISSING: Refusal = (403, "MissingProviderToken");
const INVALID: Refusal = (403, "InvalidProviderToken");
const EXPIRED: Refusal = (403, "ExpiredProviderToken");
const TOO_MANY: Refusal = (429, "TooManyProviderTokenUpdates");

/// All that is known of keys and tokens.
#[derive(Debug)]
pub(super) struct ProviderTokens {
    keys: Vec<DeveloperKey>,
    update_seconds: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    good: HashMap<String, Good>,
    /// Per key: when it showed its newest token.
    updated_at: HashMap<String, i64>,
    seen: usize,
}

#[derive(Debug, Clone)]
struct Good {
    key_id: String,
    issued_at: i64,
}

impl ProviderTokens {
    pub(super) fn new(keys: Vec<DeveloperKey>, update_seconds: i64) -> Self {
        Self { keys, update_seconds, state: Mutex::default() }
    }

    pub(super) fn seen(&self) -> usize {
        lock(&self.state).seen
    }

    /// Checks `authorization`; the key's id if the token is good now.
    pub(super) fn check(&self, authorization: Option<&[u8]>, now: i64) -> Result<String, Refusal> {
        let authorization = authorization.map(|value| std::str::from_utf8(value).map_err(|_| INVALID)).transpose()?;
        let token = authorization.and_then(bearer).ok_or(MISSING)?;
        let mut state = lock(&self.state);
        if let Some(good) = state.good.get(token) {
            check_age(good.issued_at, now)?;
            return Ok(good.key_id.clone());
        }
        let good = self.verify(token).ok_or(INVALID)?;
        check_age(good.issued_at, now)?;
        let updated_at = state.updated_at.get(&good.key_id).copied();
        if updated_at.is_some_and(|at| now.saturating_sub(at) < self.update_seconds) {
            return Err(TOO_MANY);
        }
        state.updated_at.insert(good.key_id.clone(), now);
        state.seen += 1;
        if state.good.len() >= MAX_REMEMBERED {
            state.good.clear();
        }
        state.good.insert(token.to_owned(), good.clone());
        Ok(good.key_id)
    }

    /// Signature, header and claims; not the age.
    fn verify(&self, token: &str) -> Option<Good> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        let key_id = header.get("kid")?.as_str()?;
        if header.get("alg")?.as_str()? != "ES256" {
            return None;
        }
        let key = self.keys.iter().find(|key| key.key_id == key_id)?;
        // r and s of 32 bytes each (RFC 7518 section 3.4), not the DER that other libraries write.
        let signature: [u8; 64] = base64url::decode(signature)?.try_into().ok()?;
        if !key.public_key.verifies(signed.as_bytes(), &signature) {
            return None;
        }
        let claims = object(claims)?;
        let issued_at = claims.get("iat")?.as_i64()?;
        let is_team = claims.get("iss")?.as_str()? == key.team_id;
        is_team.then(|| Good { key_id: key_id.to_owned(), issued_at })
    }
}

/// `bearer TOKEN`; the scheme in any case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Strict base64url of strict JSON.
fn object(part: &str) -> Option<Value> {
    json::parse_object(&base64url::decode(part)?).ok()
}

fn check_age(issued_at: i64, now: i64) -> Result<(), Refusal> {
    if issued_at > now.saturating_add(LEEWAY_SECONDS) {
        return Err(INVALID);
    }
    if now.saturating_sub(issued_at) > MAX_AGE_SECONDS { Err(EXPIRED) } else { Ok(()) }
}
