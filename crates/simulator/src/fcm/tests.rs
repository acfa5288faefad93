//! The stand-in of FCM against a client that can be wrong in every way.

mod assertions;
mod messages;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Handle, Options, ServiceAccount, start};
use crate::stand_in::Common;
use crate::stand_in::testing::{Hand, client};

/// A stand-in, the account's key file, and a client.
pub(crate) struct Rig {
    pub(crate) fcm: Handle,
    file: Value,
    hand: Hand,
    http: reqwest::Client,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Common)) -> Self {
        let hand = Hand::new();
        let mut common = Common { clock: hand.clock(), ..Common::default() };
        change(&mut common);
        let fcm = start(Options { common, ..Options::default() }).await.unwrap();
        let file = serde_json::from_str(&fcm.service_account_json()).unwrap();
        let http = client(fcm.ca_pem());
        Self { fcm, file, hand, http }
    }

    fn text(&self, member: &str) -> &str {
        self.file[member].as_str().unwrap()
    }

    fn now(&self) -> i64 {
        (self.hand.clock())()
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.text("client_email"),
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
            "aud": self.text("token_uri"),
            "iat": self.now(),
            "exp": self.now() + 3_600,
        })
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.text("private_key_id").to_owned()), ..Header::new(Algorithm::RS256) }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_rsa_pem(self.text("private_key").as_bytes()).unwrap();
        jsonwebtoken::encode(header, claims, &key).unwrap()
    }

    /// Status and body of the token endpoint's answer.
    async fn exchange(&self, body: String) -> (u16, Value) {
        let request = self.http.post(self.text("token_uri")).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn exchange_assertion(&self, assertion: &str) -> (u16, Value) {
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        self.exchange(format!("grant_type={grant}&assertion={assertion}")).await
    }

    pub(crate) async fn access_token(&self) -> String {
        let (status, body) = self.exchange_assertion(&self.sign(&self.header(), &self.claims())).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Status and body of the answer to a message.
    pub(crate) async fn send(&self, access_token: &str, request: &Value) -> (u16, Value) {
        self.send_to(self.fcm.project(), access_token, request).await
    }

    async fn send_to(&self, project: &str, access_token: &str, request: &Value) -> (u16, Value) {
        let url = format!("{}/v1/projects/{project}/messages:send", self.fcm.base_url());
        let response = self.http.post(url).bearer_auth(access_token).json(request).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// A good message for this token.
pub(crate) fn message(token: &str) -> Value {
    json!({"message": {
        "token": token,
        "data": {"kind": "challenge", "challenge_id": "c1"},
        "android": {"priority": "HIGH", "ttl": "118s", "collapse_key": "c1"},
    }})
}

/// The same with the value at this pointer replaced, or added to its object.
fn altered(pointer: &str, value: Value) -> Value {
    let mut request = message("token-1");
    let (place, name) = pointer.rsplit_once('/').unwrap();
    let place = request.pointer_mut(place).unwrap();
    place.as_object_mut().unwrap().insert(name.to_owned(), value);
    request
}

/// FCM's own word in an answer.
fn error_code(body: &Value) -> &str {
    body.pointer("/error/details/0/errorCode").and_then(Value::as_str).unwrap_or_default()
}
