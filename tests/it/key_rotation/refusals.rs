//! What a rotation is refused for: each time nothing has changed, and the old key still works.

use countersign_proto::jose::{Kind, SigningKey};
use countersign_simulator::phone::{EnrollOptions, Replace};
use countersign_tests::{ApiClient, Device, TestApp, both, forge};
use serde_json::{Value, json};

fn fresh(app: &TestApp) -> SigningKey {
    app.surroundings().new_key().unwrap()
}

fn jwk(key: &SigningKey) -> Value {
    serde_json::to_value(key.public_key().to_jwk()).unwrap()
}

/// The proof of a new key, with members that replace its own.
fn proof(phone: &Device, key: &SigningKey, further: Value) -> String {
    let mut claims = phone.claims_with(json!({"rotate_from": phone.device_id()}));
    claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    key.sign(Kind::KeyProof, &claims).unwrap()
}

/// A rotation to `key` with members that replace its own.
fn token(phone: &Device, key: &SigningKey, further: Value) -> String {
    let mut claims = phone.claims_with(json!({"new_jwk": jwk(key), "proofs": [proof(phone, key, json!({}))]}));
    claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    phone.sign(Kind::KeyRotation, &claims).unwrap()
}

async fn unchanged(app: &TestApp, phone: &Device) {
    phone.get("/v1/device").await.ok(200);
    assert_eq!(app.database.number("SELECT count(*) FROM events WHERE kind = 'device.key_changed'").await, 0);
    assert_eq!(app.database.number("SELECT count(*) FROM device_keys WHERE retired_at IS NOT NULL").await, 0);
}

#[tokio::test]
async fn each_new_key_proves_itself_for_this_device_here_and_now() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, other) = (idp.enroll("ada").await, idp.enroll("ada").await);
        let (key, stranger) = (fresh(app), fresh(app));
        let now = app.clock.time().as_seconds();
        for wrong in [
            json!({"aud": "https://approve.example.org"}),
            json!({"rotate_from": other.device_id()}),
            json!({"iat": now - 61}),
            json!({"iat": now + 61}),
        ] {
            let proofs = json!({"proofs": [proof(&phone, &key, wrong)]});
            phone.rotate_with(&token(&phone, &key, proofs)).await.invalid(&["/proofs/0"]);
        }
        let good = proof(&phone, &key, json!({}));
        let by_kid = forge::sign_json(&key, &forge::header(Kind::KeyProof.typ(), &key), &json!({}));
        let registration = key.sign(Kind::Registration, &json!({"aud": app.issuer(), "iat": now})).unwrap();
        for wrong in [
            proof(&phone, &stranger, json!({})),
            by_kid,
            registration,
            String::new(),
            forge::with_signature(&good, &[1; 64]),
        ] {
            let proofs = json!({"proofs": [wrong]});
            phone.rotate_with(&token(&phone, &key, proofs)).await.invalid(&["/proofs/0", "/proofs"]);
        }
        phone.rotate_with(&token(&phone, &key, json!({"proofs": []}))).await.invalid(&["/proofs"]);
        let twice = json!({"proofs": [good.clone(), good]});
        phone.rotate_with(&token(&phone, &key, twice)).await.invalid(&["/proofs/1"]);
        unchanged(app, &phone).await;
    })
    .await;
}

#[tokio::test]
async fn the_device_key_adds_and_replaces_no_second_key() {
    both(async |app| {
        let idp = app.admin().await;
        for options in [EnrollOptions::named("Phone"), EnrollOptions::named("Phone").with_uv_key()] {
            let phone = idp.enroll_with("ada", options).await;
            let (key, uv_key) = (fresh(app), fresh(app));
            let proofs = [proof(&phone, &key, json!({})), proof(&phone, &uv_key, json!({}))];
            let further = json!({"new_uv_jwk": jwk(&uv_key), "proofs": proofs});
            phone.rotate_with(&token(&phone, &key, further)).await.invalid(&["/new_uv_jwk"]);
            unchanged(app, &phone).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_second_key_signs_responses_and_its_own_replacement_only() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
        let key = fresh(app);
        let claims = phone.claims_with(json!({"new_jwk": jwk(&key), "proofs": [proof(&phone, &key, json!({}))]}));
        let only_device_key = phone.sign_with_user_verification(Kind::KeyRotation, &claims).unwrap();
        phone.rotate_with(&only_device_key).await.invalid(&["/new_uv_jwk"]);
        let same = phone.claims_with(json!({"new_jwk": jwk(&key), "new_uv_jwk": jwk(&key), "proofs": []}));
        let same = phone.sign_with_user_verification(Kind::KeyRotation, &same).unwrap();
        phone.rotate_with(&same).await.invalid(&["/new_uv_jwk"]);
        let leave = phone.sign_with_user_verification(Kind::Deregistration, &phone.claims()).unwrap();
        let leave = app.http.artefact(reqwest::Method::POST, "/v1/device/deregistration", leave).await;
        leave.problem("invalid-device-signature");
        unchanged(app, &phone).await;
    })
    .await;
}

#[tokio::test]
async fn members_that_are_no_keys_are_named_only_to_whoever_holds_the_key() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let (key, stranger) = (fresh(app), fresh(app));
        let mut off_curve = jwk(&key);
        off_curve["y"] = off_curve["x"].clone();
        let further = json!({"new_jwk": off_curve});
        phone.rotate_with(&token(&phone, &key, further.clone())).await.invalid(&["/new_jwk"]);
        let nothing = phone.sign(Kind::KeyRotation, &phone.claims_with(json!({"proofs": []}))).unwrap();
        phone.rotate_with(&nothing).await.invalid(&["/new_jwk"]);
        let forged = stranger.sign(Kind::KeyRotation, &phone.claims_with(further)).unwrap();
        phone.rotate_with(&forged).await.problem("invalid-device-signature");
        unchanged(app, &phone).await;
    })
    .await;
}

#[tokio::test]
async fn a_key_that_was_ever_registered_by_anybody_is_refused() {
    both(async |app| {
        let idp = app.admin().await;
        let elsewhere = app.client_of(&app.tenant("other").await, "admin").await;
        let foreign = elsewhere.enroll("ada").await;
        let phone = idp.enroll("ada").await;
        let own = phone.registration().device_key.clone();
        let retired = foreign.registration().device_key.clone();
        for taken in [&own, &retired] {
            phone.rotate_with(&token(&phone, taken, json!({}))).await.problem("key-already-registered");
        }
        unchanged(app, &phone).await;
        // Also when it is nobody's any more.
        foreign.rotated(Replace::DeviceKey).await;
        phone.rotate_with(&token(&phone, &retired, json!({}))).await.problem("key-already-registered");
        let next = phone.rotated(Replace::DeviceKey).await;
        app.clock.advance(60);
        next.rotate_with(&token(&next, &own, json!({}))).await.problem("key-already-registered");
    })
    .await;
}

async fn refused_as(phone: &Device, app: &TestApp, status: &str) {
    let refused = phone.rotate_with(&token(phone, &fresh(app), json!({}))).await;
    assert_eq!(refused.problem("device-not-active")["device_status"], status);
}

#[tokio::test]
async fn only_an_active_device_rotates() {
    both(async |app| {
        let idp: ApiClient = app.admin().await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        refused_as(&phone, app, "pending_confirmation").await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.ok(200);
        let path = format!("/v1/devices/{}", phone.device_id());
        idp.post_empty(&format!("{path}/suspend")).await.ok(200);
        refused_as(&phone, app, "suspended").await;
        idp.delete(&path).await.ok(200);
        refused_as(&phone, app, "revoked").await;
        let skewed = json!({"iat": app.clock.time().as_seconds() - 61});
        phone.rotate_with(&token(&phone, &fresh(app), skewed)).await.problem("clock-skew");
        assert_eq!(app.database.number("SELECT count(*) FROM device_keys").await, 1);
    })
    .await;
}
