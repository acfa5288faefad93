//! The server as a phone meets it: HTTP with bounds, discovery, and the server's public keys.
//!
//! Never follows a redirect or a URL to another origin: whoever answers for the issuer could otherwise hand
//! a phone over. To add an endpoint: a member of the discovery document, and its line in `check`.

use std::sync::Arc;
use std::time::Duration;

use countersign_proto::api::meta::{Discovery, Endpoints};
use countersign_proto::jose::{HeaderKey, Jwks, Kind, Unverified};
use countersign_proto::json;
use countersign_proto::timestamp::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::PhoneError;

/// The most that is read of a reply: twenty waiting challenges of 16 KiB and their clothes are a third of it.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the server's keys are believed, as its `Cache-Control` says (protocol 2).
const KEYS_MAX_AGE_MILLIS: u64 = 300_000;
/// How often one artefact is sent while no reply comes: a byte-identical repeat gets the first reply.
const ATTEMPTS: u8 = 3;

/// One server, discovered. Cloning shares its connections and its cached keys.
#[derive(Debug, Clone)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Client,
    discovery: Discovery,
    keys: Mutex<Option<CachedKeys>>,
}

#[derive(Debug)]
struct CachedKeys {
    keys: Arc<Jwks>,
    fetched_at: Timestamp,
}

/// A reply as it came: any status, its body bounded.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Server {
    /// Reads `{issuer}/.well-known/countersign` and holds the server to it.
    ///
    /// # Errors
    /// [`PhoneError::Issuer`], [`PhoneError::Discovery`], or no usable reply.
    pub async fn discover(issuer: &str) -> Result<Self, PhoneError> {
        let http = client(issuer)?;
        let request = http.get(format!("{issuer}/.well-known/countersign"));
        let discovery: Discovery = receive(request).await?.read()?;
        check(&discovery, issuer)?;
        Ok(Self(Arc::new(Inner { http, discovery, keys: Mutex::new(None) })))
    }

    /// The issuer: `aud` of all that is signed for this server.
    pub fn issuer(&self) -> &str {
        &self.0.discovery.issuer
    }

    /// What the server says about itself.
    pub fn discovery(&self) -> &Discovery {
        &self.0.discovery
    }

    /// Absolute URLs for devices.
    pub fn endpoints(&self) -> &Endpoints {
        &self.0.discovery.endpoints
    }

    /// A request to be filled in and handed to [`Self::send`].
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.0.http.request(method, url)
    }

    /// Sends a request once; the reply as it came.
    ///
    /// # Errors
    /// [`PhoneError::Unreachable`], [`PhoneError::ReplyTooLarge`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply, PhoneError> {
        receive(request).await
    }

    /// Sends a signed artefact as the whole body, again while no reply comes: phones lose replies, and the
    /// server answers a byte-identical repeat as it answered the first.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_artifact(&self, method: Method, url: &str, token: &str) -> Result<Reply, PhoneError> {
        let mut left = ATTEMPTS;
        loop {
            let request = self.request(method.clone(), url).header(CONTENT_TYPE, "application/jwt");
            left = left.saturating_sub(1);
            match self.send(request.body(token.to_owned())).await {
                Err(PhoneError::Unreachable(_)) if left > 0 => {}
                reply => return reply,
            }
        }
    }

    /// The server's keys, fresh enough to judge `token`: fetched again when they are old or when they do not
    /// hold the key that it names.
    ///
    /// # Errors
    /// If they have to be fetched and cannot be.
    pub async fn keys_for(&self, kind: Kind, token: &str, now: Timestamp) -> Result<Arc<Jwks>, PhoneError> {
        let mut cached = self.0.keys.lock().await;
        if let Some(CachedKeys { keys, fetched_at }) = &*cached {
            let is_fresh = now >= *fetched_at && now.millis_since(*fetched_at) < KEYS_MAX_AGE_MILLIS;
            if is_fresh && !names_unknown_key(kind, token, keys) {
                return Ok(Arc::clone(keys));
            }
        }
        let keys: Arc<Jwks> = Arc::new(receive(self.0.http.get(&self.0.discovery.jwks_uri)).await?.read()?);
        *cached = Some(CachedKeys { keys: Arc::clone(&keys), fetched_at: now });
        Ok(keys)
    }
}

impl Reply {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body's bytes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A success, as `T`.
    ///
    /// # Errors
    /// [`PhoneError::Problem`], [`PhoneError::UnexpectedStatus`], [`PhoneError::UnexpectedReply`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, PhoneError> {
        if (200..300).contains(&self.status) { Ok(json::from_slice(&self.body)?) } else { Err(self.refusal()) }
    }

    /// What a reply that is not a success says.
    fn refusal(&self) -> PhoneError {
        let is_problem = self
            .header(CONTENT_TYPE.as_str())
            .and_then(|value| value.split(';').next())
            .is_some_and(|media_type| media_type.trim() == "application/problem+json");
        match serde_json::from_slice(&self.body) {
            Ok(problem) if is_problem => PhoneError::Problem(Box::new(problem)),
            _ => PhoneError::UnexpectedStatus { status: self.status },
        }
    }
}

/// How long to wait for a call that the server may hold for `wait_seconds`.
pub(super) fn held_timeout(wait_seconds: u32) -> Duration {
    TIMEOUT.saturating_add(Duration::from_secs(wait_seconds.into()))
}

/// An HTTP client for one issuer: no redirects, bounded in time.
pub(super) fn client(issuer: &str) -> Result<Client, PhoneError> {
    let refused = || PhoneError::Issuer(issuer.to_owned());
    let url = origin(issuer).ok_or_else(refused)?;
    let builder = match url.scheme() {
        "https" => bounded(),
        "http" if is_loopback(&url) => without_tls(),
        _ => return Err(refused()),
    };
    builder.build().map_err(PhoneError::Client)
}

/// An HTTP client for the control port of a stand-in, which may be in another container: no secret of anybody's goes there.
pub(super) fn control_client(control_url: &str) -> Result<Client, PhoneError> {
    match origin(control_url) {
        Some(url) if url.scheme() == "http" => without_tls().build().map_err(PhoneError::Client),
        _ => Err(PhoneError::Inbox("its address must be http://HOST:PORT")),
    }
}

/// The URL, if it is scheme, host and port and nothing else.
fn origin(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| url.origin().ascii_serialization() == text)
}

fn bounded() -> ClientBuilder {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .user_agent(concat!("countersign-simulator/", env!("CARGO_PKG_VERSION")))
}

/// Without TLS no trust roots are looked for: a machine that has none can still run the demo.
fn without_tls() -> ClientBuilder {
    bounded().no_proxy().tls_certs_only([])
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A discovery document must be the issuer's own and lead nowhere else.
fn check(discovery: &Discovery, issuer: &str) -> Result<(), PhoneError> {
    if discovery.issuer != issuer {
        return Err(PhoneError::Discovery("it names another issuer"));
    }
    if discovery.api_version != "v1" {
        return Err(PhoneError::Discovery("its api_version is not v1"));
    }
    let Endpoints { registrations, device, device_challenges, push, key, deregistration, dispute, policy } =
        &discovery.endpoints;
    let urls = [&discovery.jwks_uri, registrations, device, device_challenges, push, deregistration, dispute];
    let is_own = |url: &String| url.strip_prefix(issuer).is_some_and(|path| path.starts_with('/'));
    if urls.into_iter().chain(key).chain(policy).all(is_own) {
        Ok(())
    } else {
        Err(PhoneError::Discovery("an endpoint is not under the issuer"))
    }
}

pub(super) async fn receive(request: RequestBuilder) -> Result<Reply, PhoneError> {
    let unreachable = |error: reqwest::Error| PhoneError::Unreachable(error.without_url());
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len().saturating_add(chunk.len()) > MAX_REPLY_BYTES {
            return Err(PhoneError::ReplyTooLarge { limit_bytes: MAX_REPLY_BYTES });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, headers, body })
}

fn names_unknown_key(kind: Kind, token: &str, keys: &Jwks) -> bool {
    match Unverified::parse(kind, token) {
        Ok(unverified) => match unverified.key() {
            HeaderKey::Kid(kid) => keys.find(kid).is_none(),
            HeaderKey::Jwk(_) => false,
        },
        // Not a token at all: no key would help.
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_bare_origin_and_plain_http_stays_on_loopback() {
        for good in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080"] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in [
            "http://approve.example",
            "http://10.0.0.1:8080",
            "http://127.0.0.1.example:80",
            "https://approve.example/",
            "https://approve.example/path",
            "https://user@approve.example",
            "https://APPROVE.example",
            "ftp://approve.example",
            "approve.example",
            "",
        ] {
            assert!(matches!(client(bad), Err(PhoneError::Issuer(_))), "{bad}");
        }
    }

    fn discovery(issuer: &str, device: &str) -> Discovery {
        let url = |path: &str| format!("{issuer}{path}");
        Discovery {
            issuer: issuer.to_owned(),
            jwks_uri: url("/.well-known/jwks.json"),
            api_version: "v1".to_owned(),
            server_time: Timestamp::from_seconds(0),
            endpoints: Endpoints {
                registrations: url("/v1/device/registrations"),
                device: device.to_owned(),
                device_challenges: url("/v1/device/challenges"),
                push: url("/v1/device/push"),
                key: None,
                deregistration: url("/v1/device/deregistration"),
                dispute: url("/v1/device/dispute"),
                policy: None,
            },
            vapid_public_key: String::new(),
            limits: countersign_proto::api::meta::Limits {
                max_artifact_bytes: 8192,
                max_wait_seconds: 50,
                max_ttl_seconds: 600,
            },
        }
    }

    #[test]
    fn a_discovery_document_may_not_lead_to_another_origin() {
        let issuer = "https://a.example";
        assert!(check(&discovery(issuer, "https://a.example/v1/device"), issuer).is_ok());
        for device in
            ["https://b.example/v1/device", "https://a.example.evil/v1/device", "https://a.example@b.example/", ""]
        {
            assert!(check(&discovery(issuer, device), issuer).is_err(), "{device}");
        }
        assert!(check(&discovery("https://b.example", "https://b.example/v1/device"), issuer).is_err());
    }

    fn reply(status: u16, content_type: &str, body: &str) -> Reply {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        Reply { status, headers, body: body.into() }
    }

    #[test]
    fn only_a_problem_document_is_read_as_one() {
        let body = r#"{"type":"https://a.example/problems/not-found","title":"Not found","status":404,"detail":"d","request_id":"r"}"#;
        let error = |reply: Reply| reply.read::<Discovery>().unwrap_err();
        assert!(error(reply(404, "application/problem+json", body)).is_problem("not-found"));
        assert!(error(reply(404, "application/json", body)).problem().is_none());
        assert!(error(reply(502, "application/problem+json", "<html>")).problem().is_none());
        assert!(matches!(error(reply(200, "application/json", "[[[")), PhoneError::UnexpectedReply(_)));
    }
}
