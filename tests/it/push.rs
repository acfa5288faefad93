//! Phones ring: fan-out, withdrawal, and what a provider's trouble may and may not do.

mod canaries;
mod credentials;
mod doctor;
mod health;
mod notices;
mod outage;
mod verdicts;

use countersign_tests::{
    TestApp,
    providers::{SOON, apns_options, apns_token, both_with_providers, fcm_options, webpush_options},
    text,
};
use serde_json::{Value, json};

/// The delivery of a challenge to this device, as the creator sees it.
pub(crate) async fn delivery(idp: &countersign_tests::ApiClient, challenge: &Value, device_id: &str) -> Value {
    let path = format!("/v1/challenges/{}?include=deliveries", text(challenge, "id"));
    let shown = idp.get(&path).await.ok(200);
    let all = shown["deliveries"].as_array().unwrap();
    all.iter().find(|delivery| delivery["device_id"] == device_id).unwrap_or_else(|| panic!("{shown}")).clone()
}

/// Waits until the delivery to this device is in this state: until the dispatcher has stored its verdict.
pub(crate) async fn until_state(
    app: &TestApp,
    idp: &countersign_tests::ApiClient,
    challenge: &Value,
    device_id: &str,
    state: &str,
) -> Value {
    let wait = async {
        loop {
            let delivery = delivery(idp, challenge, device_id).await;
            if delivery["state"] == state {
                return delivery;
            }
            app.node().turn().await;
        }
    };
    let last = tokio::time::timeout(SOON, wait).await;
    match last {
        Ok(delivery) => delivery,
        Err(_) => panic!("never {state}: {}", delivery(idp, challenge, device_id).await),
    }
}

#[tokio::test]
async fn a_challenge_rings_every_channel_at_once_and_says_only_where_to_look() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let browser = providers.webpush.subscribe().unwrap();
        let phones = [
            idp.enroll_with("ada", apns_options(&apns_token('a'))).await,
            idp.enroll_with("ada", fcm_options("fcm-token-1")).await,
            idp.enroll_with("ada", webpush_options(&browser)).await,
        ];
        drain_notices(app).await;
        let challenge = idp.plain_challenge("ada").await;
        assert_eq!(challenge["push_status"], "ok");
        let id = text(&challenge, "id");

        let iphone = providers.next_apns(&apns_token('a'), "challenge").await;
        assert_eq!(iphone.collapse_id.as_deref(), Some(id));
        assert_eq!(iphone.push_type.as_deref(), Some("alert"));
        assert_eq!(iphone.priority, 10);
        let ends_at = app.clock.time().floor_to_second().plus_seconds(120).as_seconds();
        assert_eq!(iphone.expiration, Some(ends_at));
        assert_eq!(iphone.payload["kind"], "challenge");
        assert_eq!(iphone.payload["challenge_id"], id);
        assert_eq!(iphone.payload["device_id"], phones[0].device_id());

        let android = providers.next_fcm("fcm-token-1", "challenge").await;
        assert_eq!(android.data["kind"], "challenge");
        assert_eq!(android.data["challenge_id"], id);
        assert_eq!(android.collapse_key.as_deref(), Some(id));
        assert_eq!(android.priority.as_deref(), Some("HIGH"));

        let shown = providers.next_webpush(&browser, "challenge").await;
        assert_eq!(shown["challenge_id"], id);
        for phone in &phones {
            let delivery = until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
            assert!(delivery["accepted_at"].is_string() && delivery["last_error"].is_null(), "{delivery}");
            phone.pending_of(&challenge).await;
        }
        app.node().observe().await;
        for phone in &phones {
            assert!(delivery(&idp, &challenge, &phone.device_id()).await["fetched_at"].is_string());
        }
        assert_eq!(idp.show(&challenge).await["push_status"], "ok");
        phones[1].approve(&phones[1].pending_of(&challenge).await, None, None).await.unwrap();
        // The other phone's alert goes; the one that answered needs none; a browser is never told.
        let gone = providers.next_apns(&apns_token('a'), "withdrawn").await;
        assert_eq!(gone.payload["challenge_id"], id);
        assert_eq!(gone.push_type.as_deref(), Some("background"));
        assert_eq!(gone.priority, 5);
        until_state(app, &idp, &challenge, &phones[0].device_id(), "withdrawn").await;
        assert_eq!(app.node().dispatch().await, 0, "nothing is left to send");
        assert_eq!(delivery(&idp, &challenge, &phones[1].device_id()).await["state"], "delivered");
        assert_eq!(delivery(&idp, &challenge, &phones[2].device_id()).await["state"], "delivered");
        assert_eq!(providers.fcm.received().iter().filter(|push| push.push.data["kind"] == "withdrawn").count(), 0);
    })
    .await;
}

/// Sends what enrolling has queued: notices to the user's other phones.
pub(crate) async fn drain_notices(app: &TestApp) {
    let queued = async {
        while app.database.number("SELECT count(*) FROM notifications").await > 0 {
            app.node().dispatch().await;
            app.node().turn().await;
        }
    };
    assert!(tokio::time::timeout(SOON, queued).await.is_ok(), "the notices are sent");
}

#[tokio::test]
async fn a_response_that_came_first_suppresses_the_push() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let phones = [
            idp.enroll_with("ada", apns_options(&apns_token('a'))).await,
            idp.enroll_with("ada", fcm_options("fcm-token-1")).await,
        ];
        drain_notices(app).await;
        // The provider has trouble, so that the push waits for its next attempt.
        providers.fcm.always(Some(countersign_simulator::stand_in::Behaviour::status(503)));
        let challenge = idp.plain_challenge("ada").await;
        until_state(app, &idp, &challenge, &phones[1].device_id(), "retrying").await;
        phones[0].approve(&phones[0].only_pending().await, None, None).await.unwrap();
        providers.fcm.always(None);
        assert_eq!(delivery(&idp, &challenge, &phones[1].device_id()).await["state"], "withdrawn");
        app.clock.advance(60);
        app.node().dispatch().await;
        let rung = providers.fcm.received();
        assert!(rung.iter().all(|push| push.push.data["kind"] != "challenge"), "nobody is rung for what is decided");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_wants_no_push_gets_none_and_the_phone_pulls() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let body = json!({"user": {"external_id": "ada"}, "push": false, "verification": {"mode": "none"}});
        let challenge = idp.create_challenge(body).await;
        assert_eq!(challenge["push_status"], "none");
        app.node().dispatch().await;
        assert_eq!(delivery(&idp, &challenge, &phone.device_id()).await["state"], "pull_only");
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        assert_eq!(providers.fcm.attempted_count(), 0);
    })
    .await;
}
