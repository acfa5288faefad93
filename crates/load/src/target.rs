//! The server under load: where it listens, who calls it, and the requests of a caller, as bytes.
//!
//! Loopback only, and plain HTTP. The devices' side may be another node of the same issuer. Never prints the key.
//! To add a call: a method of [`Target`] (a caller's) or of [`crate::device::Device`] (a device's).

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use countersign_core::clock::Clock as _;
use countersign_proto::{api::meta::Discovery, jose::Jwks};
use serde::de::DeserializeOwned;

use crate::{
    LoadError,
    system::{Stopwatch, SystemClock},
    wire::{Connection, Reply},
};

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Server {
    /// Where callers reach it: http://127.0.0.1:PORT.
    #[arg(long, value_parser = loopback)]
    pub(crate) url: SocketAddr,
    /// Where devices reach it, if that is another node.
    #[arg(long, value_parser = loopback)]
    pub(crate) device_url: Option<SocketAddr>,
    /// A file with the API key (scopes: enrollments, challenges).
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: PathBuf,
    /// The server's process, to read its processor time and memory from /proc.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// Reads `http://ADDRESS:PORT`, and takes only addresses of this machine.
pub(crate) fn loopback(url: &str) -> Result<SocketAddr, String> {
    let rest = url.strip_prefix("http://").ok_or("must begin with http://")?;
    let address = rest.trim_end_matches('/').replace("localhost", "127.0.0.1");
    let address: SocketAddr = address.parse().map_err(|_| "must be http://ADDRESS:PORT".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("must be on loopback".to_owned()) }
}

/// A server that was found, and one run against it.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where callers connect.
    pub(crate) callers: SocketAddr,
    /// Where devices connect.
    pub(crate) devices: SocketAddr,
    /// `aud` of all that devices sign.
    pub(crate) issuer: String,
    /// All times of the run are counted from here.
    pub(crate) began: Stopwatch,
    run: String,
    next: AtomicU64,
    /// The lines of the head that every request of the caller has.
    caller_head: String,
    /// The same of a device.
    pub(crate) device_head: String,
}

impl Target {
    /// Asks the server who it is.
    pub(crate) async fn find(server: &Server) -> Result<Self, LoadError> {
        let key = std::fs::read_to_string(&server.api_key_file)?;
        let Server { url: callers, device_url, .. } = *server;
        let devices = device_url.unwrap_or(callers);
        let discovery: Discovery = read(callers, "/.well-known/countersign").await?;
        Self::at(callers, devices, discovery.issuer, key.trim())
    }

    /// A server of which all is known.
    pub(crate) fn at(callers: SocketAddr, devices: SocketAddr, issuer: String, key: &str) -> Result<Self, LoadError> {
        let mut random = [0; 4];
        SystemRandom::new().fill(&mut random).map_err(|_| LoadError::Failed("no randomness".to_owned()))?;
        Ok(Self {
            callers,
            devices,
            issuer,
            began: Stopwatch::start(),
            run: format!("{:08x}", u32::from_be_bytes(random)),
            next: AtomicU64::new(0),
            caller_head: format!("host: {callers}\r\nauthorization: Bearer {key}\r\n"),
            device_head: format!("host: {devices}\r\n"),
        })
    }

    /// The server's public keys.
    pub(crate) async fn keys(&self) -> Result<Jwks, LoadError> {
        read(self.callers, "/.well-known/jwks.json").await
    }

    /// A word that no other run and nobody else in this run has.
    pub(crate) fn fresh(&self) -> String {
        format!("{}-{}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Now, as what is signed says it.
    pub(crate) fn iat(&self) -> i64 {
        SystemClock.now().as_seconds()
    }

    /// `POST /v1/challenges` with the organisation's default policy: the person types six digits.
    pub(crate) fn create_challenge(&self, request: &mut String, external_id: &str) {
        self.post(request, "/v1/challenges", format_args!(r#"{{"user":{{"external_id":"{external_id}"}}}}"#));
    }

    /// `GET /v1/challenges/{id}`, held until it ends, with the evidence.
    pub(crate) fn await_challenge(&self, request: &mut String, id: &str) {
        request.clear();
        let head = &self.caller_head;
        let _infallible =
            write!(request, "GET /v1/challenges/{id}?wait={MAX_WAIT}&include=evidence HTTP/1.1\r\n{head}\r\n");
    }

    /// `POST /v1/enrollments`.
    pub(crate) fn create_enrollment(&self, request: &mut String, external_id: &str, confirmation: &str) {
        let body = format_args!(r#"{{"user":{{"external_id":"{external_id}"}},"confirmation":"{confirmation}"}}"#);
        self.post(request, "/v1/enrollments", body);
    }

    /// `POST /v1/enrollments/{id}/confirmation`.
    pub(crate) fn confirm_enrollment(&self, request: &mut String, id: &str, code: &str) {
        let path = format!("/v1/enrollments/{id}/confirmation");
        self.post(request, &path, format_args!(r#"{{"code":"{code}"}}"#));
    }

    fn post(&self, request: &mut String, path: &str, body: std::fmt::Arguments<'_>) {
        request.clear();
        let (body, head) = (body.to_string(), &self.caller_head);
        let length = body.len();
        let _infallible = write!(
            request,
            "POST {path} HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    }
}

/// The longest that a read is held, in seconds (protocol 5.2, 6.4).
pub(crate) const MAX_WAIT: u32 = 50;

/// Reads a public document.
async fn read<T: DeserializeOwned>(from: SocketAddr, path: &str) -> Result<T, LoadError> {
    let wrong = |why: String| LoadError::Failed(format!("{path}: {why}"));
    let mut connection = Connection::open(from).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {from}\r\n\r\n");
    let Reply { status, body, .. } =
        connection.exchange(request.as_bytes()).await.map_err(|error| wrong(error.to_string()))?;
    if status != 200 {
        return Err(wrong(format!("answered {status}")));
    }
    serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_goes_to_this_machine_only() {
        for good in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", "http://localhost:1", "http://[::1]:8080"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in
            ["127.0.0.1:80", "https://127.0.0.1:80", "http://10.0.0.1:80", "http://a.example:80", "http://127.0.0.1"]
        {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let at = "127.0.0.1:1".parse().unwrap();
        let target = Target::at(at, at, "http://127.0.0.1:1".to_owned(), "csk_k").unwrap();
        let mut request = String::new();
        target.create_challenge(&mut request, "ada");
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, r#"{"user":{"external_id":"ada"}}"#);
        assert!(head.starts_with("POST /v1/challenges HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nauthorization: Bearer csk_k\r\n"), "{head}");
        assert!(head.ends_with(&format!("\r\ncontent-length: {}", body.len())), "{head}");
    }

    #[test]
    fn no_word_comes_twice() {
        let at = "127.0.0.1:1".parse().unwrap();
        let target = |()| Target::at(at, at, String::new(), "k").unwrap();
        let (one, other) = (target(()), target(()));
        assert_ne!(one.fresh(), one.fresh());
        assert_ne!(one.fresh(), other.fresh());
    }
}
