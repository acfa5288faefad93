//! Access tokens from Google (RFC 7523: an RS256 assertion for a bearer token).
//!
//! One request at a time, however many wait; what it brings, token or failure, is everybody's. A failure is not
//! repeated within a second. A token is replaced five minutes before it ends, while the others go on with the old one.
//!
//! Never logs a token or what the endpoint says.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign_core::clock::Clock;
use countersign_proto::timestamp::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{
    Client, Method, Request, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    circuit::Health,
    destinations::lock,
    report::{Outcome, Reason},
    transport::{self, Answer, Fault},
};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// `urn:ietf:params:oauth:grant-type:jwt-bearer`, as a form spells it. An assertion needs no escape: it is b64u.
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
const ASSERTION_SECONDS: i64 = 3_600;
/// How fast our clock may run.
const FAST_CLOCK_SECONDS: i64 = 10;
/// A token is replaced so long before its end, or at half its life if that is sooner.
const REPLACE_SECONDS: i64 = 300;
/// From so long before its end it is not used.
const MARGIN_SECONDS: i64 = 10;
/// A failure stands for so long.
const FAILURE_MILLIS: u64 = 1_000;
/// Less than a push has, so that a failure is known and shared rather than cut off.
const FETCH: Duration = Duration::from_secs(5);

/// An access token, ready to be sent.
pub(crate) struct Access {
    pub(crate) header: HeaderValue,
    replace_at: Timestamp,
    ends_at: Timestamp,
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// Google does not accept the account, rather than being away.
    pub(crate) is_final: bool,
    after_millis: Option<i64>,
}

impl Refusal {
    /// What it means for a push that needed the token.
    pub(crate) fn verdict(self) -> (Outcome, Health) {
        let outcome = Outcome::Retry { after_millis: self.after_millis, reason: self.reason };
        let health = match self.after_millis {
            _ if self.is_final => Health::Refused(self.reason),
            Some(millis @ 1..) => Health::Waits(millis),
            _ => Health::Failing(self.reason),
        };
        (outcome, health)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { reason: fault.reason, is_final: false, after_millis: None }
    }
}

/// Who asks for a token.
pub(super) struct Account {
    pub(super) email: String,
    pub(super) private_key_pem: Zeroizing<String>,
    pub(super) key_id: String,
    pub(super) token_uri: Url,
}

/// See the module.
pub(super) struct OAuth {
    email: String,
    key: EncodingKey,
    header: Header,
    token_uri: Url,
    client: Client,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Arc<Access>>>,
    /// Held while a request is under way; inside, how the last one failed.
    fetching: tokio::sync::Mutex<Option<(Timestamp, Refusal)>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Zeroizing<String>,
    expires_in: i64,
}

impl OAuth {
    /// `None` if the key is not an RSA key.
    pub(super) fn new(account: Account, client: Client, clock: Arc<dyn Clock>) -> Option<Self> {
        let key = EncodingKey::from_rsa_pem(account.private_key_pem.as_bytes()).ok()?;
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(account.key_id);
        let oauth = Self {
            email: account.email,
            key,
            header,
            token_uri: account.token_uri,
            client,
            clock,
            held: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(None),
        };
        // A key that parses may still be none to sign with.
        oauth.assertion()?;
        Some(oauth)
    }

    /// A token that is good for a while.
    pub(super) async fn access(&self, may_repeat: impl Fn() -> bool) -> Result<Arc<Access>, Refusal> {
        let held = self.held();
        if let Some(access) = held.as_ref().filter(|access| self.clock.now() < access.replace_at) {
            return Ok(Arc::clone(access));
        }
        let mut fetching = match (held, self.fetching.try_lock()) {
            (_, Ok(fetching)) => fetching,
            // Somebody is replacing it: it will do until then.
            (Some(old), Err(_)) => return Ok(old),
            (None, Err(_)) => self.fetching.lock().await,
        };
        // Whoever had the lock before us may have left what we need.
        let now = self.clock.now();
        let held = self.held();
        if let Some(access) = held.as_ref().filter(|access| now < access.replace_at) {
            return Ok(Arc::clone(access));
        }
        let result = match *fetching {
            Some((at, refusal)) if now.millis_since(at) < FAILURE_MILLIS && at <= now => Err(refusal),
            _ => self.fetch(may_repeat).await.map(|(access, _)| Arc::new(access)),
        };
        match result {
            Ok(access) => {
                *fetching = None;
                *lock(&self.held) = Some(Arc::clone(&access));
                Ok(access)
            }
            Err(refusal) => {
                if fetching.is_none_or(|(at, _)| now.millis_since(at) >= FAILURE_MILLIS || at > now) {
                    *fetching = Some((self.clock.now(), refusal));
                }
                held.ok_or(refusal)
            }
        }
    }

    /// Throws `refused` away, unless another has taken its place.
    pub(super) fn forget(&self, refused: &Arc<Access>) {
        let mut held = lock(&self.held);
        if held.as_ref().is_some_and(|access| Arc::ptr_eq(access, refused)) {
            *held = None;
        }
    }

    /// Asks for a token; also returns the time that the answer bears.
    pub(super) async fn fetch(&self, may_repeat: impl Fn() -> bool) -> Result<(Access, Option<Timestamp>), Refusal> {
        let assertion = self.assertion().ok_or(Refusal {
            reason: Reason::of("assertion-failed"),
            is_final: true,
            after_millis: None,
        })?;
        let mut request = Request::new(Method::POST, self.token_uri.clone());
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        *request.body_mut() = Some(format!("{GRANT}{}", assertion.as_str()).into());
        let answer = transport::within(FETCH, transport::exchange(&self.client, request, may_repeat)).await?;
        let now = self.clock.now();
        let access = read(&answer, now).ok_or_else(|| refusal(&answer, now))?;
        Ok((access, transport::http_date(&answer.headers)))
    }

    /// The token that is held, if it has not ended.
    fn held(&self) -> Option<Arc<Access>> {
        let now = self.clock.now();
        lock(&self.held).as_ref().filter(|access| now < access.ends_at).map(Arc::clone)
    }

    fn assertion(&self) -> Option<Zeroizing<String>> {
        let iat = self.clock.now().as_seconds() - FAST_CLOCK_SECONDS;
        let claims =
            Claims { iss: &self.email, scope: SCOPE, aud: self.token_uri.as_str(), iat, exp: iat + ASSERTION_SECONDS };
        jsonwebtoken::encode(&self.header, &claims, &self.key).ok().map(Zeroizing::new)
    }
}

fn read(answer: &Answer, now: Timestamp) -> Option<Access> {
    if answer.status != 200 {
        return None;
    }
    let granted: Granted = serde_json::from_slice(&answer.body).ok()?;
    let seconds = granted.expires_in.clamp(0, 86_400);
    let bearer = Zeroizing::new(format!("Bearer {}", granted.access_token.as_str()));
    let mut header = HeaderValue::from_str(&bearer).ok().filter(|_| !granted.access_token.is_empty())?;
    header.set_sensitive(true);
    let replace_at = now.plus_seconds(seconds - REPLACE_SECONDS.min(seconds / 2));
    Some(Access { header, replace_at, ends_at: now.plus_seconds(seconds - MARGIN_SECONDS.min(seconds / 4)) })
}

fn refusal(answer: &Answer, now: Timestamp) -> Refusal {
    let (code, is_final) = match answer.status {
        200 => ("token-bad-response", false),
        // invalid_grant, invalid_client, a disabled account, a clock that is far off.
        400 | 401 | 403 => ("token-refused", true),
        429 => ("token-too-many-requests", false),
        _ => ("token-unexpected-status", false),
    };
    Refusal { reason: Reason::answered(code, answer.status), is_final, after_millis: answer.retry_after_millis(now) }
}
