//! The server's own signing keys while people sign in: rotated without a failed approval, revoked at once.

use countersign::{signing::rotation, worker::reload};
use countersign_core::clock::Clock as _;
use countersign_proto::{
    evidence::{self, Evidence},
    jose::{Jwks, claims::ResultClaims, verify_server},
};
use countersign_tests::{ApiClient, Device, TestApp, both, path_of, text};
use serde_json::Value;

async fn jwks(app: &TestApp) -> Jwks {
    serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap()
}

/// The `kid` in a token's header.
fn kid(token: &str) -> String {
    let header = countersign_proto::jose::base64url::decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// A sign-in from end to end: its decided challenge with result and evidence.
async fn sign_in(idp: &ApiClient, phone: &Device) -> Value {
    let challenge = idp.challenge("ada").await;
    phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
    idp.get(&format!("{}?include=evidence", path_of(&challenge))).await.ok(200)
}

/// Result and evidence hold for somebody who has nothing but the public keys; the `kid` of the challenge.
fn verify(decided: &Value, keys: &Jwks) -> String {
    verify_server::<ResultClaims>(text(decided, "result_token"), &|kid| keys.find(kid)).unwrap();
    let evidence: Evidence = serde_json::from_value(decided["evidence"].clone()).unwrap();
    evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
    kid(&evidence.challenge)
}

fn rotate(app: &TestApp) -> String {
    let path = app.settings().key_file();
    rotation::rotate(&path, app.clock.now(), &countersign::entropy::SystemEntropy::default()).unwrap().kid.to_string()
}

#[tokio::test]
async fn a_rotation_fails_no_sign_in_and_what_was_signed_before_still_verifies() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let before = sign_in(&idp, &phone).await;
        let old = verify(&before, &jwks(app).await);
        let new = rotate(app);
        assert!(reload::keys_round(app.node().app()).unwrap());
        let published = jwks(app).await;
        assert!(published.keys.iter().any(|key| key.kid == new) && published.keys.iter().any(|key| key.kid == old));

        assert_eq!(verify(&sign_in(&idp, &phone).await, &published), old, "it is published before it signs");
        app.clock.advance(rotation::PUBLISHED_BEFORE_SECONDS - 30);
        // Asked under the old key, answered and told when the new one signs.
        let across = idp.challenge("ada").await;
        app.clock.advance(60);
        let shown = phone.only_pending().await;
        phone.approve(&shown, Some(text(&across, "number")), None).await.unwrap();
        let across = idp.get(&format!("{}?include=evidence", path_of(&across))).await.ok(200);
        assert_eq!((verify(&across, &published), kid(text(&across, "result_token"))), (old, new.clone()));
        assert_eq!(verify(&sign_in(&idp, &phone).await, &published), new);
        // A device that enrolled under the old key goes on, and one enrolls under the new one.
        idp.enroll("grace").await;
        app.clock.advance(86_400);
        assert_eq!(verify(&sign_in(&idp, &phone).await, &jwks(app).await), new);
        let evidence: Evidence = serde_json::from_value(before["evidence"].clone()).unwrap();
        let keys = jwks(app).await;
        evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_node_that_has_not_looked_yet_and_one_that_has_work_side_by_side() {
    both(async |app| {
        let other = app.second_node().await;
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        rotate(app);
        reload::keys_round(other.app()).unwrap();
        app.clock.advance(rotation::PUBLISHED_BEFORE_SECONDS);
        // Made and decided by the node that still signs under the old key, told by the other.
        let challenge = idp.challenge("ada").await;
        let there = idp.at(&other.http);
        let shown = phone.only_pending().await;
        phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(there.show(&challenge).await["status"], "approved");
        // The other way round: the node finds in the file what it does not know.
        let challenge = there.challenge("ada").await;
        reload::keys_round(app.node().app()).unwrap();
        phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(idp.show(&challenge).await["status"], "approved");
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_signs_no_more_and_its_forgeries_are_refused() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let before = sign_in(&idp, &phone).await;
        let old = verify(&before, &jwks(app).await);
        // Whoever stole the file.
        let path = app.settings().key_file();
        let entropy = countersign::entropy::SystemEntropy::default();
        let now = app.clock.now();
        let thief = countersign::signing::ServerKeys::open(&path, false, app.issuer(), now, &entropy).unwrap();
        app.clock.advance(10);
        rotation::revoke(&path, &old, app.clock.now(), &entropy).unwrap();
        reload::keys_round(app.node().app()).unwrap();
        app.clock.advance(10);
        let keys = jwks(app).await;
        let mut claims: ResultClaims = verify_server(text(&before, "result_token"), &|kid| keys.find(kid)).unwrap();
        claims.iat = app.clock.now().as_seconds();
        let forged = thief.sign(&claims).unwrap();
        assert!(verify_server::<ResultClaims>(&forged, &|kid| keys.find(kid)).is_err());
        // Life goes on at once, under another key, with the devices that there are.
        assert_ne!(verify(&sign_in(&idp, &phone).await, &keys), old);
        let evidence: Evidence = serde_json::from_value(before["evidence"].clone()).unwrap();
        evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
    })
    .await;
}
