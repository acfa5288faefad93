//! What the tests of the stand-ins share: a client that trusts them, and signatures.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use countersign_proto::jose::base64url;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::Value;

use super::Clock;

/// Long enough for a busy machine; a test that reaches it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// 2025-10-09, a Thursday.
pub(crate) const START: i64 = 1_760_000_000;

/// A clock that a test moves.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = self.0.clone();
        Arc::new(move || seconds.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// An HTTP client that trusts this authority besides the machine's.
pub(crate) fn client(ca_pem: Option<&str>) -> reqwest::Client {
    let mut builder = reqwest::Client::builder().timeout(DEADLINE).retry(reqwest::retry::never());
    if let Some(ca_pem) = ca_pem {
        builder = builder.tls_certs_only([reqwest::Certificate::from_pem(ca_pem.as_bytes()).unwrap()]);
    }
    builder.build().unwrap()
}

/// A compact ES256 JWS.
pub(crate) fn es256(private_pem: &str, header: &Value, claims: &Value) -> String {
    let key = SigningKey::from_pkcs8_pem(private_pem).unwrap();
    let signed = format!("{}.{}", base64url::encode(header.to_string()), base64url::encode(claims.to_string()));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", base64url::encode(signature.to_bytes()))
}
