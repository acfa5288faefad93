//! The user's other phones hear of what happens to their registrations, and may say "that was not me" (protocol 8.8).

use countersign_proto::jose::Kind;
use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    ApiClient, Device, Reply,
    providers::{SOON, apns_options, apns_token, both_with_providers, fcm_options},
    text,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::drain_notices;

async fn notices(phone: &Device) -> Vec<Value> {
    phone.get("/v1/device").await.ok(200)["notices"].as_array().unwrap().clone()
}

fn dispute_token(phone: &Device, notice_id: &str) -> String {
    phone.sign(Kind::Dispute, &phone.claims_with(json!({"sub": notice_id}))).unwrap()
}

async fn dispute(app: &countersign_tests::TestApp, phone: &Device, notice_id: &str) -> Reply {
    let token = dispute_token(phone, notice_id);
    app.http.artefact(Method::POST, &format!("/v1/device/notices/{notice_id}/dispute"), token).await
}

async fn status(idp: &ApiClient, phone: &Device) -> Value {
    idp.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200)["status"].clone()
}

#[tokio::test]
async fn a_new_device_rings_the_others_and_that_was_not_me_turns_it_off() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let old = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let stranger = idp.enroll_with("bob", fcm_options("fcm-token-bob")).await;
        app.clock.advance(5);
        let new = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let push = providers.next_apns(&apns_token('a'), "notice").await;
        assert_eq!(push.payload["device_id"], old.device_id());
        assert!(push.payload["challenge_id"].is_null());
        let told = notices(&old).await;
        assert_eq!(told[0]["type"], "device.added");
        assert_eq!(told[0]["device"]["name"], "Android");
        assert_eq!(told[0]["is_disputable"], true);
        let notice_id = text(&told[0], "id").to_owned();

        // Whose notice it is not learns nothing; the new device cannot turn the old one off.
        dispute(app, &stranger, &notice_id).await.problem("not-found");
        dispute(app, &new, &notice_id).await.problem("not-found");
        let told_to_new = notices(&new).await;
        assert_eq!(
            (&told_to_new[0]["type"], &told_to_new[0]["is_disputable"]),
            (&json!("device.added"), &json!(false))
        );
        dispute(app, &new, text(&told_to_new[0], "id")).await.problem("notice-not-disputable");
        // What was signed is what counts.
        let other_path = format!("/v1/device/notices/{}/dispute", stranger.device_id());
        let token = dispute_token(&old, &notice_id);
        app.http.artefact(Method::POST, &other_path, token.clone()).await.problem("not-found");

        let challenge = idp.plain_challenge("ada").await;
        let waiting = new.only_pending().await;
        let path = format!("/v1/device/notices/{notice_id}/dispute");
        let first = app.http.artefact(Method::POST, &path, token.clone()).await;
        assert_eq!(first.ok(200), json!({"notice_id": notice_id, "suspended": true}));
        assert_eq!(status(&idp, &new).await, "suspended");
        new.approve(&waiting, None, None).await.unwrap_err();
        assert_eq!(idp.show(&challenge).await["status"], "pending", "it waits for the old phone still");
        // A lost reply is given again; a second dispute changes nothing more.
        let again = app.http.artefact(Method::POST, &path, token).await;
        assert_eq!(again.text(), first.text());
        dispute(app, &old, &notice_id).await.ok(200);
        app.sweep().await;
        let events = idp.get("/v1/events?limit=200").await.ok(200);
        let of = |kind: &str| {
            let items = events["items"].as_array().unwrap();
            items.iter().filter(|event| event["type"] == kind).cloned().collect::<Vec<_>>()
        };
        let disputed = of("device.disputed");
        assert_eq!(disputed.len(), 1, "{disputed:?}");
        assert_eq!(disputed[0]["device_id"], new.device_id());
        assert_eq!(disputed[0]["actor"], json!({"type": "device", "id": old.device_id()}));
        assert_eq!(of("device.suspended").len(), 1);
        // The admin decides: a mistake is undone.
        idp.post_empty(&format!("/v1/devices/{}/resume", new.device_id())).await.ok(200);
        assert_eq!(status(&idp, &new).await, "active");
        old.approve(&old.only_pending().await, None, None).await.unwrap();
        drain_notices(app).await;
    })
    .await;
}

#[tokio::test]
async fn a_device_that_may_not_act_disputes_nothing() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let old = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        app.clock.advance(5);
        let new = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let notice_id = text(&notices(&old).await[0], "id").to_owned();
        idp.post_empty(&format!("/v1/devices/{}/suspend", old.device_id())).await.ok(200);
        dispute(app, &old, &notice_id).await.problem("device-not-active");
        assert_eq!(status(&idp, &new).await, "active");
        // The suspension is a notice of its own, about which nothing can be undone.
        let told = notices(&new).await;
        let suspension = told.iter().find(|notice| notice["type"] == "device.suspended").unwrap();
        assert_eq!(suspension["is_disputable"], false);
        dispute(app, &new, text(suspension, "id")).await.problem("notice-not-disputable");
        drain_notices(app).await;
    })
    .await;
}

#[tokio::test]
async fn each_kind_of_notice_rings_the_other_phones_once() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let keeper = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let other = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let path = format!("/v1/devices/{}", other.device_id());
        // Each is sent before the next one happens: unsent notices of a device are one.
        drain_notices(app).await;
        idp.post_empty(&format!("{path}/suspend")).await.ok(200);
        drain_notices(app).await;
        idp.post_empty(&format!("{path}/suspend")).await.ok(200);
        idp.post_empty(&format!("{path}/resume")).await.ok(200);
        drain_notices(app).await;
        idp.delete(&path).await.ok(200);
        drain_notices(app).await;
        let third = idp.enroll_with("ada", fcm_options("fcm-token-3")).await;
        drain_notices(app).await;
        third.deregister(None).await.unwrap();
        drain_notices(app).await;
        let rung = providers.apns.received();
        let rung = rung.iter().filter(|push| push.push.payload["kind"] == "notice").count();
        let mut types: Vec<_> = notices(&keeper).await.iter().map(|notice| text(notice, "type").to_owned()).collect();
        types.sort();
        let expected = ["device.added", "device.added", "device.deregistered", "device.revoked", "device.suspended"];
        assert_eq!(types, expected);
        assert_eq!(rung, expected.len(), "one push for each");
    })
    .await;
}

#[tokio::test]
async fn however_much_happens_a_phone_that_cannot_be_reached_is_rung_once_when_it_can() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let keeper = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let other = idp.enroll("ada").await;
        drain_notices(app).await;
        providers.apns.always(Some(Behaviour::status(503)));
        let path = format!("/v1/devices/{}", other.device_id());
        for _ in 0..20 {
            idp.post_empty(&format!("{path}/suspend")).await.ok(200);
            idp.post_empty(&format!("{path}/resume")).await.ok(200);
        }
        assert!(app.database.number("SELECT count(*) FROM notifications").await <= 1, "one notice waits");
        providers.apns.always(None);
        let before = providers.apns.accepted_count();
        let rung = async {
            while app.database.number("SELECT count(*) FROM notifications").await > 0 {
                app.clock.advance(5);
                app.node().dispatch().await;
                app.node().turn().await;
            }
        };
        tokio::time::timeout(SOON, rung).await.expect("it is sent once its provider is back");
        assert_eq!(providers.apns.accepted_count() - before, 1);
        assert!(notices(&keeper).await.len() > 20, "and all of it can be read");
    })
    .await;
}
