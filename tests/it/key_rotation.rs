//! Key rotation (protocol 10.6): a phone replaces its keys, and the old ones stop when that is answered.
//!
//! What is refused is in `key_rotation/refusals.rs`, the command-line phone in `key_rotation/command_line.rs`, the races
//! in `barrier/phones.rs`.

mod command_line;
mod refusals;

use countersign_proto::{
    evidence::{self, Evidence},
    jose::{Jwks, Kind, claims::BindingClaims, verify_server},
    push::PushBinding,
    vocabulary::UvMethod,
};
use countersign_simulator::phone::{Answer, EnrollOptions, Replace};
use countersign_tests::{ApiClient, Db, Device, TestApp, both, path_of, text};
use serde_json::{Value, json};

use crate::log::events;

/// The event of the latest rotation.
async fn latest_change(idp: &ApiClient) -> Value {
    let all = events(idp).await;
    all.into_iter().rfind(|event| event["type"] == "device.key_changed").unwrap()
}

/// Everything that a phone can do is refused to these keys.
async fn is_dead(phone: &Device, idp: &ApiClient) {
    let challenge = idp.plain_challenge(&phone.registration().user.external_id).await;
    let pending = idp.show(&challenge).await;
    phone.get("/v1/device").await.problem("invalid-device-signature");
    phone.get("/v1/device/challenges").await.problem("invalid-device-signature");
    let answer = Answer::approve(None);
    let claims = phone.response_claims(text(&challenge, "id"), "x", &answer);
    phone.respond_claims(text(&challenge, "id"), &claims).await.problem("invalid-device-signature");
    assert!(phone.update_push(PushBinding::None).await.unwrap_err().is_problem("invalid-device-signature"));
    assert!(phone.deregister(None).await.unwrap_err().is_problem("invalid-device-signature"));
    let again = phone.prepare_rotation(Replace::DeviceKey).unwrap();
    phone.rotate_with(again.token()).await.problem("invalid-device-signature");
    assert_eq!(idp.show(&challenge).await["status"], pending["status"]);
    idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
}

#[tokio::test]
async fn a_new_key_works_at_once_and_the_old_one_nowhere() {
    both(async |app| {
        let idp = app.admin().await;
        let (old, tablet) = (idp.enroll("ada").await, idp.enroll("ada").await);
        // Both nodes have met the old key.
        let second = app.second_node().await;
        old.at(&second.http).get("/v1/device").await.ok(200);
        app.clock.advance(1);
        let new = old.rotated(Replace::DeviceKey).await;
        is_dead(&old, &idp).await;
        is_dead(&old.at(&second.http), &idp).await;
        let path = format!("/v1/devices/{}", new.device_id());
        let thumbprint = new.registration().device_key.thumbprint().to_string();
        assert_eq!(idp.get(&path).await.ok(200)["key_thumbprint"], thumbprint);

        let challenge = idp.plain_challenge("ada").await;
        let shown = new.at(&second.http).pending_of(&challenge).await;
        let token = new.sign_response(&shown, &Answer::approve(None)).unwrap();
        new.at(&second.http).respond_with(text(&challenge, "id"), &token).await.ok(200);
        assert_eq!(idp.show(&challenge).await["status"], "approved");

        let event = latest_change(&idp).await;
        let binding = new.fetch_self().await.unwrap().binding.unwrap();
        let binding_sha256 = countersign_proto::jose::sha256(binding);
        assert_eq!(event["data"], json!({"binding_sha256": binding_sha256, "key_sha256": thumbprint}));
        assert_eq!(event["actor"], json!({"type": "device", "id": new.device_id()}));
        assert_eq!(event["device_id"], new.device_id());
        // The others are told; the one that did it is not.
        let notices = tablet.fetch_self().await.unwrap().notices;
        assert_eq!(notices[0].kind, "device.key_changed");
        assert!(new.fetch_self().await.unwrap().notices.iter().all(|notice| notice.kind != "device.key_changed"));
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_binding_states_all_keys_and_who_they_are_of() {
    both(async |app| {
        let idp = app.admin().await;
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let read = |jws: &str| -> BindingClaims { verify_server(jws, &|kid| keys.find(kid)).unwrap() };
        let phone = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
        let first = read(&phone.fetch_self().await.unwrap().binding.unwrap());
        let mut last = first.clone();
        let mut now = phone;
        for replace in [Replace::DeviceKey, Replace::UserVerificationKey, Replace::Both] {
            app.clock.advance(60);
            let next = now.rotated(replace).await;
            let binding = read(&next.fetch_self().await.unwrap().binding.unwrap());
            assert_eq!(binding.cnf.jwk != last.cnf.jwk, replace != Replace::UserVerificationKey);
            assert_eq!(binding.uv_jwk != last.uv_jwk, replace != Replace::DeviceKey);
            let (iat, jti) = (binding.iat, binding.jti.clone());
            assert!(iat > last.iat && jti != last.jti);
            // All else is as it was.
            let (cnf, uv_jwk) = (binding.cnf.clone(), binding.uv_jwk.clone());
            assert_eq!(BindingClaims { iat, jti, cnf, uv_jwk, ..first.clone() }, binding);
            (now, last) = (next, binding);
        }
        let names = latest_change(&idp).await;
        let names: Vec<_> = names["data"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["binding_sha256", "key_sha256", "uv_key_sha256"]);
    })
    .await;
}

#[tokio::test]
async fn a_rotated_second_key_verifies_the_person_and_the_old_one_does_not() {
    both(async |app| {
        let idp = app.admin().await;
        let old = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
        let new = old.rotated(Replace::UserVerificationKey).await;
        let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"},
            "user_verification": "required"});
        let challenge = idp.create_challenge(body).await;
        // The device key is the same and reads; the uv key is dead.
        let shown = old.pending_of(&challenge).await;
        let refused = old.approve(&shown, None, Some(UvMethod::Pin)).await.unwrap_err();
        assert!(refused.is_problem("invalid-device-signature"), "{refused}");
        assert_eq!(idp.show(&challenge).await["status"], "pending");
        new.approve(&shown, None, Some(UvMethod::Pin)).await.unwrap();
        let amr = idp.show(&challenge).await["amr"].clone();
        assert!(amr.as_array().unwrap().contains(&json!("mfa")), "{amr}");
    })
    .await;
}

#[tokio::test]
async fn evidence_verifies_across_a_rotation() {
    both(async |app| {
        let idp = app.admin().await;
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let mut phone = idp.enroll("ada").await;
        let mut signers = Vec::new();
        let mut decided = Vec::new();
        for _ in 0..3 {
            let challenge = idp.plain_challenge("ada").await;
            phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
            decided.push(challenge);
            signers.push(phone.registration().device_key.public_key().to_jwk());
            phone = phone.rotated(Replace::DeviceKey).await;
            app.clock.advance(60);
        }
        for (challenge, signer) in decided.iter().zip(signers) {
            let shown = idp.get(&format!("{}?include=evidence", path_of(challenge))).await.ok(200);
            let evidence: Evidence = serde_json::from_value(shown["evidence"].clone()).unwrap();
            let proven = evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
            assert_eq!(proven.binding.cnf.jwk, signer);
            assert_eq!(shown["status"], "approved");
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_phone_that_changed_its_key_can_be_disputed_by_an_older_one() {
    both(async |app| {
        let idp = app.admin().await;
        let old = idp.enroll("ada").await;
        app.clock.advance(1);
        let new = idp.enroll("ada").await;
        app.clock.advance(1);
        let new = new.rotated(Replace::DeviceKey).await;
        let old = old.rotated(Replace::DeviceKey).await;
        // The newer one does not turn the older off with it.
        let notice = new.fetch_self().await.unwrap().notices.remove(0);
        assert_eq!((notice.kind.as_str(), notice.is_disputable), ("device.key_changed", false));
        assert!(new.dispute(notice.id).await.unwrap_err().is_problem("notice-not-disputable"));
        let notices = old.fetch_self().await.unwrap().notices;
        let notice = notices.iter().find(|notice| notice.kind == "device.key_changed").unwrap();
        assert!(notice.is_disputable);
        assert!(old.dispute(notice.id).await.unwrap().suspended);
        let path = format!("/v1/devices/{}", new.device_id());
        assert_eq!(idp.get(&path).await.ok(200)["status"], "suspended");
    })
    .await;
}

#[tokio::test]
async fn a_code_that_was_shown_under_the_old_key_is_of_no_use() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "display"}});
        let challenge = idp.create_challenge(body).await;
        let recorded = phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
        let phone = phone.rotated(Replace::DeviceKey).await;
        let code = json!({"code": recorded.display_code.unwrap()});
        idp.post(&format!("{}/code", path_of(&challenge)), code).await.problem("not-awaiting-code");
        assert_eq!(idp.show(&challenge).await["status"], "pending");
        phone.deny(&phone.pending_of(&challenge).await, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_repeated_confirmation_code_is_known_after_a_rotation() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone").with_uv_key()).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.ok(200);
        let phone = phone.rotated(Replace::Both).await;
        assert_eq!(idp.confirm(&enrollment, &code).await.ok(200)["status"], "completed");
        phone.fetch_self().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lost_reply_is_repeated_for_a_day_although_the_key_that_signed_is_dead() {
    both(async |app| {
        let idp = app.admin().await;
        let old = idp.enroll("ada").await;
        let rotation = old.prepare_rotation(Replace::DeviceKey).unwrap();
        let first = old.rotate_with(rotation.token()).await;
        let new = Device::new(old.rotate(&rotation).await.unwrap(), app.http.clone());
        assert_eq!(events(&idp).await.iter().filter(|event| event["type"] == "device.key_changed").count(), 1);
        app.clock.advance(60);
        let newer = new.rotated(Replace::DeviceKey).await;
        app.clock.advance(3_600);
        idp.delete(&format!("/v1/devices/{}", newer.device_id())).await.ok(200);
        app.clock.advance(20 * 3_600);
        assert_eq!(old.rotate_with(rotation.token()).await.ok(200), first.ok(200));
        // What is not these bytes is judged anew.
        let other = countersign_tests::forge::with_other_s(rotation.token());
        old.rotate_with(&other).await.problem("invalid-device-signature");
        app.clock.advance(3 * 3_600);
        old.rotate_with(rotation.token()).await.problem("invalid-device-signature");
    })
    .await;
}

#[tokio::test]
async fn keys_are_replaced_once_in_a_minute_and_a_repeat_is_no_rotation() {
    both(async |app| {
        let idp = app.admin().await;
        let old = idp.enroll("ada").await;
        let first = old.prepare_rotation(Replace::DeviceKey).unwrap();
        let new = Device::new(old.rotate(&first).await.unwrap(), app.http.clone());
        app.clock.advance(20);
        let second = new.prepare_rotation(Replace::DeviceKey).unwrap();
        let refused = new.rotate_with(second.token()).await;
        refused.problem("too-many-requests");
        assert_eq!(refused.header("retry-after"), "40");
        old.rotate_with(first.token()).await.ok(200);
        app.clock.advance(40);
        // Nothing but the time stood in its way.
        new.rotate_with(second.token()).await.ok(200);
        assert_eq!(events(&idp).await.iter().filter(|event| event["type"] == "device.key_changed").count(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_held_read_of_the_old_key_ends() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let held = phone.clone();
        let held = tokio::spawn(async move { held.get("/v1/device/challenges?wait=50").await });
        app.until_held(1).await;
        phone.rotated(Replace::DeviceKey).await;
        held.await.unwrap().problem("invalid-device-signature");
    })
    .await;
}

#[tokio::test]
async fn a_held_read_of_the_old_key_that_no_wake_reached_is_not_answered() {
    // Nodes on one file do not wake each other.
    let app = TestApp::start(Db::Sqlite).await;
    let second = app.second_node().await;
    let idp = app.admin().await;
    let old = idp.enroll("ada").await;
    let thief = old.at(&second.http);
    let held = tokio::spawn(async move { thief.get("/v1/device/challenges?wait=50").await });
    second.until_held(1).await;
    let new = old.rotated(Replace::DeviceKey).await.at(&second.http);
    // The owner's next read ends the thief's.
    let owners = tokio::spawn(async move { new.get("/v1/device/challenges?wait=50").await });
    held.await.unwrap().problem("invalid-device-signature");
    owners.abort();
    second.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn two_nodes_that_get_the_same_rotation_at_once_give_one_answer() {
    let app = TestApp::start(Db::Postgres).await;
    let second = app.second_node().await;
    let idp = app.admin().await;
    let mut phone = idp.enroll("ada").await;
    for _ in 0..10 {
        let rotation = phone.prepare_rotation(Replace::DeviceKey).unwrap();
        let nodes = [phone.clone(), phone.at(&second.http), phone.clone(), phone.at(&second.http)];
        let replies = countersign_tests::at_once(nodes.map(|node| {
            let token = rotation.token().to_owned();
            async move { node.rotate_with(&token).await }
        }));
        let replies = replies.await;
        assert!(replies.iter().all(|reply| reply.ok(200) == replies[0].ok(200)));
        phone = Device::new(phone.rotate(&rotation).await.unwrap(), app.http.clone());
        app.clock.advance(60);
    }
    assert_eq!(app.database.number("SELECT count(*) FROM device_keys").await, 11);
    second.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn a_broker_stays_one() {
    both(async |app| {
        let idp = app.admin().await;
        let body = json!({"user": {"external_id": "ada"}, "purpose": "broker", "confirmation": "none"});
        let enrollment = idp.create_enrollment(body).await;
        let broker = idp.claim(&enrollment, EnrollOptions::named("Broker")).await;
        let broker = broker.rotated(Replace::DeviceKey).await;
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let binding = broker.fetch_self().await.unwrap().binding.unwrap();
        let binding: BindingClaims = verify_server(&binding, &|kid| keys.find(kid)).unwrap();
        assert_eq!(json!(binding.purpose), json!("broker"));
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        let shown = phone.pending_of(&challenge).await;
        let claims = broker.response_claims(text(&challenge, "id"), shown.text(), &Answer::approve(None));
        let token = broker.sign(Kind::Response, &claims).unwrap();
        broker.respond_with(text(&challenge, "id"), &token).await.problem("not-found");
    })
    .await;
}
