//! The token endpoint: an RS256 assertion for an access token (RFC 7523 section 2.1), and the access tokens
//! that it gave out.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use countersign_proto::jose::base64url;
use countersign_proto::json;
use http::{Method, Request};
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

use super::{Fcm, ServiceAccount, TOKEN_ENDPOINT, lock};
use crate::stand_in::Desk;
use crate::stand_in::clock::random;
use crate::stand_in::http::{Act, Forms, Line, Reply, act, json_reply, read_body};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// Google's documents name this audience whatever the key file says, and its own client libraries always do.
const GOOGLE_AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const MAX_ASSERTION_SECONDS: i64 = 3_600;
/// What clocks may differ by.
const LEEWAY_SECONDS: i64 = 60;
/// No honest sender needs as many; the oldest ones are then forgotten with the rest.
const MAX_REMEMBERED: usize = 1_000;

const FORMS: Forms = Forms { error, usual_reason, gone: (400, "invalid_grant") };

/// All that is known of assertions and access tokens.
pub(super) struct Oauth {
    pub(super) token_uri: String,
    client_email: String,
    key_id: String,
    key: DecodingKey,
    access_token_seconds: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when each is good.
    access_tokens: HashMap<String, i64>,
    good: HashSet<String>,
    assertions: u64,
}

impl std::fmt::Debug for Oauth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oauth").field("token_uri", &self.token_uri).finish_non_exhaustive()
    }
}

impl Oauth {
    pub(super) fn new(account: &ServiceAccount, token_uri: String, access_token_seconds: i64) -> Self {
        Self {
            token_uri,
            client_email: account.client_email.clone(),
            key_id: account.private_key_id.clone(),
            key: DecodingKey::from_rsa_der(&account.public_key_der),
            access_token_seconds,
            state: Mutex::default(),
        }
    }

    pub(super) fn assertions(&self) -> u64 {
        lock(&self.state).assertions
    }

    pub(super) fn good_assertions(&self) -> usize {
        lock(&self.state).good.len()
    }

    pub(super) fn revoke_all(&self) {
        lock(&self.state).access_tokens.clear();
    }

    /// Whether `Authorization` carries an access token that is good at `now`.
    pub(super) fn is_authorized(&self, authorization: Option<&str>, now: i64) -> bool {
        let token = authorization.and_then(|value| value.split_once(' '));
        let Some((scheme, token)) = token else { return false };
        let good_until = lock(&self.state).access_tokens.get(token).copied();
        scheme.eq_ignore_ascii_case("bearer") && good_until.is_some_and(|until| now < until)
    }

    fn grant(&self, form: &HashMap<String, String>, now: i64) -> Result<Value, (&'static str, String)> {
        if form.get("grant_type").map(String::as_str) != Some(GRANT_TYPE) {
            return Err(("unsupported_grant_type", format!("grant_type must be {GRANT_TYPE}")));
        }
        let assertion = form.get("assertion").ok_or(("invalid_request", "assertion is missing".to_owned()))?;
        self.check(assertion, now)?;
        let random: [u8; 24] = random().map_err(|error| ("internal_failure", error.to_string()))?;
        let token = format!("stand-in.{}", base64url::encode(random));
        let mut state = lock(&self.state);
        if state.access_tokens.len() >= MAX_REMEMBERED {
            state.access_tokens.clear();
        }
        state.access_tokens.insert(token.clone(), now.saturating_add(self.access_token_seconds));
        state.good.insert(assertion.clone());
        Ok(json!({"access_token": token, "expires_in": self.access_token_seconds, "token_type": "Bearer"}))
    }

    /// Header, signature and claims of an assertion.
    fn check(&self, assertion: &str, now: i64) -> Result<(), (&'static str, String)> {
        let grant = |why: &str| ("invalid_grant", why.to_owned());
        let signed = assertion.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, claims) = signed.split_once('.')?;
            Some((signed, signature, object(header)?, object(claims)?))
        });
        let (signed, signature, header, claims) = signed.ok_or_else(|| grant("Invalid JWT: not a JWS"))?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(grant("Invalid JWT: alg must be RS256"));
        }
        if header.get("kid").and_then(Value::as_str) != Some(self.key_id.as_str()) {
            return Err(grant("Invalid JWT: no such key"));
        }
        let is_signed = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, Algorithm::RS256);
        if !is_signed.unwrap_or(false) {
            return Err(grant("Invalid JWT Signature."));
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("iss") != self.client_email {
            return Err(grant("Invalid grant: account not found"));
        }
        if ![self.token_uri.as_str(), GOOGLE_AUDIENCE].contains(&text("aud")) {
            return Err(grant("Invalid JWT: Failed audience check."));
        }
        let (iat, exp) = (claims.get("iat").and_then(Value::as_i64), claims.get("exp").and_then(Value::as_i64));
        let (Some(iat), Some(exp)) = (iat, exp) else { return Err(grant("Invalid JWT: iat and exp are required")) };
        let is_timely = iat <= now.saturating_add(LEEWAY_SECONDS)
            && exp > now
            && exp > iat
            && exp.saturating_sub(iat) <= MAX_ASSERTION_SECONDS;
        if !is_timely {
            return Err(grant(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
                 Check your iat and exp values in the JWT claim.",
            ));
        }
        if !text("scope").split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Err(("invalid_scope", "Invalid OAuth scope or ID token audience provided.".to_owned()));
        }
        Ok(())
    }
}

fn object(part: &str) -> Option<Value> {
    json::parse_object(&base64url::decode(part)?).ok()
}

/// `POST /token`.
pub(super) async fn token(desk: &Desk<Fcm>, request: Request<Incoming>, line: &Line) -> Option<Reply> {
    let (head, body) = request.into_parts();
    let body = read_body(body).await?;
    lock(&desk.provider.oauth.state).assertions += 1;
    match act(desk.scripts.next_exactly(TOKEN_ENDPOINT), line, &FORMS).await {
        Act::Normal => {}
        Act::LoseAnswer | Act::Break(_) => return None,
        Act::Reply(reply, _) => return Some(reply),
        Act::Hang(_) => return std::future::pending().await,
    }
    if head.method != Method::POST {
        return Some(refuse(405, "invalid_request", "POST only"));
    }
    let content_type = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return Some(refuse(400, "invalid_request", "the body must be a form"));
    }
    Some(match desk.provider.oauth.grant(&form(&body), desk.now()) {
        Ok(granted) => json_reply(200, &[("cache-control", "no-store")], &granted),
        Err((word, why)) => refuse(400, word, &why),
    })
}

/// A form's members; the last of one name counts.
fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    // The only parser of forms at hand is that of a URL's query.
    let parsed = reqwest::Url::parse(&format!("http://localhost/?{text}"));
    parsed.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}

fn refuse(status: u16, word: &str, why: &str) -> Reply {
    json_reply(status, &[], &json!({"error": word, "error_description": why}))
}

/// Google's OAuth error for a scripted status.
fn error(_: u16, reason: &str) -> String {
    json!({"error": reason, "error_description": "as scripted"}).to_string()
}

fn usual_reason(code: u16) -> &'static str {
    match code {
        400 => "invalid_grant",
        401 => "invalid_client",
        403 => "access_denied",
        429 => "rate_limit_exceeded",
        503 => "temporarily_unavailable",
        _ => "internal_failure",
    }
}
