//! The stand-in of APNs against a client that can be wrong in every way.

mod behaviours;
mod provider_tokens;
mod requests;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{DeveloperKey, Handle, Options, start};
use crate::stand_in::Common;
use crate::stand_in::testing::{Hand, client, es256};

const TOPIC: &str = "org.example.approve";
const ID: &str = "0199c0de-0000-7000-8000-000000000001";

/// A stand-in, its developer, and a client.
pub(crate) struct Rig {
    pub(crate) apns: Handle,
    key: DeveloperKey,
    hand: Hand,
    http: reqwest::Client,
}

/// One request, to be spoilt.
#[derive(Clone)]
pub(crate) struct Shot {
    method: reqwest::Method,
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let key = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
        let hand = Hand::new();
        let mut options = Options::new(key.clone(), TOPIC);
        options.common = Common { clock: hand.clock(), ..Common::default() };
        change(&mut options);
        let apns = start(options).await.unwrap();
        let http = client(apns.ca_pem());
        Self { apns, key, hand, http }
    }

    fn now(&self) -> i64 {
        (self.hand.clock())()
    }

    pub(crate) fn provider_token(&self) -> String {
        let (header, claims) = self.provider_token_parts();
        es256(&self.key.private_pem, &header, &claims)
    }

    fn provider_token_parts(&self) -> (Value, Value) {
        (json!({"alg": "ES256", "kid": self.key.key_id}), json!({"iss": self.key.team_id, "iat": self.now()}))
    }

    /// A good alert for this device.
    pub(crate) fn alert(&self, token: &str, provider_token: &str) -> Shot {
        let shot = Shot {
            method: reqwest::Method::POST,
            path: format!("/3/device/{token}"),
            headers: HeaderMap::new(),
            body: json!({"aps": {"alert": {"loc-key": "X"}}, "kind": "challenge"}).to_string(),
        };
        shot.header("authorization", &format!("bearer {provider_token}"))
            .header("apns-topic", TOPIC)
            .header("apns-push-type", "alert")
            .header("apns-priority", "10")
            .header("apns-expiration", &(self.now() + 120).to_string())
            .header("apns-collapse-id", "c1")
            .header("apns-id", ID)
    }

    async fn send(&self, shot: Shot) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}{}", self.apns.base_url(), shot.path);
        self.http.request(shot.method, url).headers(shot.headers).body(shot.body).send().await
    }

    /// Status and reason.
    pub(crate) async fn answer(&self, shot: Shot) -> (u16, String) {
        let response = self.send(shot).await.unwrap();
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
        (status, body["reason"].as_str().unwrap_or_default().to_owned())
    }
}

impl Shot {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    pub(crate) fn body(self, body: impl ToString) -> Self {
        Self { body: body.to_string(), ..self }
    }
}

fn device(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}
