//! The push service against a sender that can be wrong in every way.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use countersign_proto::jose::base64url;
use rcgen::KeyPair;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Handle, Options, Subscriber, Subscription, start};
use crate::stand_in::testing::{DEADLINE, Hand, client, es256};
use crate::stand_in::{Behaviour, Common};

/// A push service, a sender with its key, and a client.
pub(crate) struct Rig {
    pub(crate) service: Handle,
    sender: KeyPair,
    hand: Hand,
    http: reqwest::Client,
}

/// One request, to be spoilt.
#[derive(Clone)]
pub(crate) struct Shot {
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let hand = Hand::new();
        let common = Common { clock: hand.clock(), ..Common::default() };
        let service = start(Options { common }).await.unwrap();
        let http = client(service.ca_pem());
        Self { service, sender: KeyPair::generate().unwrap(), hand, http }
    }

    fn now(&self) -> i64 {
        (self.hand.clock())()
    }

    fn key(&self) -> String {
        base64url::encode(self.sender.public_key_raw())
    }

    fn claims(&self) -> Value {
        json!({"aud": self.service.base_url(), "exp": self.now() + 43_200, "sub": "mailto:ops@example.org"})
    }

    fn vapid(&self, header: &Value, claims: &Value) -> String {
        format!("vapid t={}, k={}", es256(&self.sender.serialize_pem(), header, claims), self.key())
    }

    pub(crate) fn good_vapid(&self) -> String {
        self.vapid(&json!({"typ": "JWT", "alg": "ES256"}), &self.claims())
    }

    pub(crate) fn shot(&self, subscription: &Subscription, vapid: &str) -> Shot {
        let body = encrypt(subscription, br#"{"kind":"challenge"}"#);
        let shot = Shot { url: subscription.endpoint.clone(), headers: HeaderMap::new(), body };
        shot.header("authorization", vapid)
            .header("ttl", "120")
            .header("urgency", "high")
            .header("topic", &"t".repeat(32))
            .header("content-encoding", "aes128gcm")
    }

    async fn send(&self, shot: Shot) -> reqwest::Result<reqwest::Response> {
        self.http.post(shot.url).headers(shot.headers).body(shot.body).send().await
    }

    /// Status and word.
    pub(crate) async fn answer(&self, shot: Shot) -> (u16, String) {
        let response = self.send(shot).await.unwrap();
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
        (status, body["error"].as_str().unwrap_or_default().to_owned())
    }
}

impl Shot {
    fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    prk.expand(&[info], Length(N)).unwrap().fill(&mut bytes).unwrap();
    bytes
}

/// RFC 8291, the sender's side.
fn encrypt(subscription: &Subscription, plain: &[u8]) -> Vec<u8> {
    let browser_key = base64url::decode(&subscription.p256dh).unwrap();
    let auth = base64url::decode(&subscription.auth).unwrap();
    let own = PrivateKey::generate(&ECDH_P256).unwrap();
    let own_public = own.compute_public_key().unwrap();
    let (salt, info) = ([7; 16], [b"WebPush: info\0", browser_key.as_slice(), own_public.as_ref()].concat());
    let input: [u8; 32] = agree(&own, UnparsedPublicKey::new(&ECDH_P256, &browser_key), (), |secret| {
        Ok(expand(&Salt::new(HKDF_SHA256, &auth).extract(secret), &info))
    })
    .unwrap();
    let prk = Salt::new(HKDF_SHA256, &salt).extract(&input);
    let key: [u8; 16] = expand(&prk, b"Content-Encoding: aes128gcm\0");
    let nonce: [u8; 12] = expand(&prk, b"Content-Encoding: nonce\0");
    let mut record = [plain, &[2]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).unwrap();
    [&salt[..], &4_096_u32.to_be_bytes(), &[65], own_public.as_ref(), &record].concat()
}

#[tokio::test]
async fn a_good_push_is_taken_located_and_decrypted() {
    let rig = Rig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let response = rig.send(rig.shot(&subscription, &rig.good_vapid())).await.unwrap();
    assert_eq!(response.status().as_u16(), 201);
    assert!(response.headers()["location"].to_str().unwrap().starts_with(rig.service.base_url()));
    assert_eq!(response.headers()["ttl"], "120");
    let got = rig.service.next(&subscription.id, DEADLINE).await.unwrap().push;
    assert_eq!(got.plain.as_deref(), Some(r#"{"kind":"challenge"}"#));
    assert_eq!((got.ttl_seconds, got.urgency.as_deref(), got.vapid_key), (Some(120), Some("high"), Some(rig.key())));
}

#[tokio::test]
async fn a_browser_that_holds_its_keys_decrypts_by_itself_and_takes_pushes_of_one_sender_only() {
    let rig = Rig::new().await;
    let browser = Subscriber::generate().unwrap();
    let subscription = rig.service.subscribe_with(&browser, Some(&rig.key())).unwrap();
    assert_eq!(rig.answer(rig.shot(&subscription, &rig.good_vapid())).await.0, 201);
    let got = rig.service.next(&subscription.id, DEADLINE).await.unwrap().push;
    assert_eq!(got.plain, None);
    let plain = browser.decrypt(&base64url::decode(&got.body).unwrap()).unwrap();
    assert_eq!(plain, br#"{"kind":"challenge"}"#);
    let stranger = Rig { sender: KeyPair::generate().unwrap(), ..rig };
    let answer = stranger.answer(stranger.shot(&subscription, &stranger.good_vapid())).await;
    assert_eq!(answer, (403, "vapid_other_key".to_owned()));
}

#[tokio::test]
async fn every_wrong_push_is_refused() {
    let rig = Rig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let other = rig.service.subscribe().unwrap();
    let good = rig.shot(&subscription, &rig.good_vapid());
    let body = |body: Vec<u8>| Shot { body, ..good.clone() };
    let unknown = Shot { url: format!("{}/push/unknown", rig.service.base_url()), ..good.clone() };
    let rows = [
        (unknown, 404, "unknown_subscription"),
        (good.clone().without("ttl"), 400, "ttl"),
        (good.clone().header("ttl", "-1"), 400, "ttl"),
        (good.clone().header("ttl", "soon"), 400, "ttl"),
        (good.clone().header("topic", &"t".repeat(33)), 400, "topic"),
        (good.clone().header("topic", ""), 400, "topic"),
        (good.clone().header("topic", "a=b"), 400, "topic"),
        (good.clone().header("urgency", "urgent"), 400, "urgency"),
        (good.clone().without("content-encoding"), 415, "content_encoding"),
        (good.clone().header("content-encoding", "aesgcm"), 415, "content_encoding"),
        (body(Vec::new()), 415, "content_encoding"),
        (body(vec![0; 4_097]), 413, "too_large"),
        (body(vec![0; 70_000]), 413, "too_large"),
        (body(encrypt(&other, b"x")), 400, "not_decrypted"),
        (body(b"plain text".to_vec()), 400, "not_decrypted"),
    ];
    for (index, (shot, status, word)) in rows.into_iter().enumerate() {
        assert_eq!(rig.answer(shot).await, (status, word.to_owned()), "row {index}");
    }
    let got = rig.http.get(&subscription.endpoint).send().await.unwrap();
    assert_eq!(got.status().as_u16(), 405);
    assert_eq!(rig.service.accepted_count(), 0);
    assert_eq!(rig.answer(good).await.0, 201);
}

#[tokio::test]
async fn a_wrong_vapid_header_is_refused() {
    let rig = Rig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let header = json!({"typ": "JWT", "alg": "ES256"});
    let with = |name: &str, value: Value| {
        let mut claims = rig.claims();
        claims[name] = value;
        rig.vapid(&header, &claims)
    };
    let good = rig.good_vapid();
    let (token, _) = good.split_once(", k=").unwrap();
    let stranger = KeyPair::generate().unwrap();
    let rows = [
        ("Bearer abc".to_owned(), 401, "vapid_malformed"),
        (token.to_owned(), 401, "vapid_malformed"),
        (format!("{good}, k={}", rig.key()), 401, "vapid_malformed"),
        (format!("{token}, k={}", base64url::encode(stranger.public_key_raw())), 403, "vapid_signature"),
        (format!("{token}, k={}", base64url::encode([4; 65])), 403, "vapid_key"),
        (rig.vapid(&json!({"alg": "HS256"}), &rig.claims()), 403, "vapid_algorithm"),
        (with("aud", json!("https://push.example")), 403, "vapid_audience"),
        (with("aud", json!(subscription.endpoint)), 403, "vapid_audience"),
        (with("sub", Value::Null), 403, "vapid_subject"),
        (with("sub", json!("ops@example.org")), 403, "vapid_subject"),
        (with("exp", Value::Null), 403, "vapid_expiry"),
        (with("exp", json!(rig.now() + 86_400 + 61)), 403, "vapid_expiry"),
        (with("exp", json!(rig.now())), 403, "vapid_expired"),
    ];
    for (index, (vapid, status, word)) in rows.into_iter().enumerate() {
        assert_eq!(rig.answer(rig.shot(&subscription, &vapid)).await, (status, word.to_owned()), "row {index}");
    }
    let bare = rig.shot(&subscription, &good).without("authorization");
    assert_eq!(rig.answer(bare).await, (401, "vapid_missing".to_owned()));
    // What was good once ends all the same.
    assert_eq!(rig.answer(rig.shot(&subscription, &good)).await.0, 201);
    rig.hand.advance(43_200);
    assert_eq!(rig.answer(rig.shot(&subscription, &good)).await, (403, "vapid_expired".to_owned()));
    assert_eq!(rig.answer(rig.shot(&subscription, &rig.good_vapid())).await.0, 201);
}

#[tokio::test]
async fn a_topic_replaces_what_is_undelivered_and_time_ends_it() {
    let rig = Rig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let vapid = rig.good_vapid();
    let push = |topic: &str, ttl: &str, plain: &str| {
        let shot = rig.shot(&subscription, &vapid).header("topic", topic).header("ttl", ttl);
        Shot { body: encrypt(&subscription, plain.as_bytes()), ..shot }
    };
    for shot in [push("a", "60", "1"), push("b", "120", "2"), push("a", "60", "3"), push("c", "0", "4")] {
        assert_eq!(rig.answer(shot).await.0, 201);
    }
    let waiting = || {
        let undelivered = rig.service.undelivered(&subscription.id);
        undelivered.into_iter().filter_map(|push| push.plain).collect::<Vec<_>>()
    };
    assert_eq!(waiting(), ["2", "3"]);
    rig.hand.advance(60);
    assert_eq!(waiting(), ["2"]);
}

#[tokio::test]
async fn a_subscription_ends_and_trouble_is_scripted() {
    let rig = Rig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let shot = rig.shot(&subscription, &rig.good_vapid());
    let gone = Behaviour::Gone { timestamp_millis: None };
    rig.service.script(&subscription.id, [Behaviour::status(429), gone, Behaviour::ResetConnection {}]);
    assert_eq!(rig.answer(shot.clone()).await, (429, "too_many_requests".to_owned()));
    assert_eq!(rig.answer(shot.clone()).await, (410, "expired_subscription".to_owned()));
    assert!(rig.send(shot.clone()).await.is_err());
    assert_eq!(rig.answer(shot.clone()).await.0, 201);
    rig.service.unsubscribe(&subscription.id);
    assert_eq!(rig.answer(shot).await, (410, "expired_subscription".to_owned()));
}

#[tokio::test]
async fn a_browser_subscribes_over_http_with_or_without_keys_of_its_own() {
    let rig = Rig::new().await;
    let url = format!("{}/subscribe", rig.service.base_url());
    let subscribed: Value = rig.http.post(&url).send().await.unwrap().json().await.unwrap();
    assert!(subscribed["endpoint"].as_str().unwrap().starts_with(rig.service.base_url()));
    let browser = Subscriber::generate().unwrap();
    let keys = json!({"p256dh": browser.p256dh(), "auth": browser.auth()});
    let subscribed: Value = rig.http.post(&url).json(&keys).send().await.unwrap().json().await.unwrap();
    assert_eq!(subscribed["keys"], keys);
    for wrong in [json!({"p256dh": browser.p256dh()}), json!({"p256dh": "AA", "auth": browser.auth()})] {
        assert_eq!(rig.http.post(&url).json(&wrong).send().await.unwrap().status().as_u16(), 400);
    }
}
