//! Why did the phone not ring? (protocol 10.5)

use countersign_simulator::stand_in::Behaviour;
use countersign_tests::providers::{apns_options, apns_token, both_with_providers, fcm_options};
use countersign_tests::text;
use serde_json::json;

use super::{drain_notices, until_state};

#[tokio::test]
async fn a_device_shows_when_it_was_last_rung_when_it_last_asked_and_what_went_wrong() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let show = async || idp.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        assert_eq!(show().await["push_health"], json!({"token_age_seconds": 0}));
        app.clock.advance(60);
        let challenge = idp.plain_challenge("ada").await;
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
        let rung_at = app.clock.time().to_string();
        app.clock.advance(7);
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        app.node().observe().await;
        let health = show().await["push_health"].clone();
        assert_eq!(health["last_accepted_at"], json!(rung_at));
        assert_eq!(health["last_pull_at"], json!(app.clock.time().to_string()));
        assert_eq!(health["token_age_seconds"], 67);
        assert!(health["last_error"].is_null());

        providers.fcm.always(Some(Behaviour::status(503)));
        let challenge = idp.plain_challenge("ada").await;
        until_state(app, &idp, &challenge, &phone.device_id(), "retrying").await;
        providers.fcm.always(None);
        let health = show().await["push_health"].clone();
        assert_eq!(health["last_error"], "unavailable 503");
        assert_eq!(health["last_error_at"], json!(app.clock.time().to_string()));
        // A list is short.
        let listed = idp.get("/v1/devices").await.ok(200);
        assert!(listed["items"][0]["push_health"].is_null());
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_not_told_for_thirty_days_is_flagged() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let puller = idp.enroll("bob").await;
        let flag = async |device_id: String| {
            idp.get(&format!("/v1/devices/{device_id}")).await.ok(200)["push"]["is_unconfirmed"].clone()
        };
        app.clock.advance(30 * 86_400 - 1);
        assert_eq!(flag(phone.device_id()).await, false);
        app.clock.advance(1);
        assert_eq!(flag(phone.device_id()).await, true);
        assert_eq!(flag(puller.device_id()).await, false, "it has no token to confirm");
        let binding = serde_json::from_value(json!({"channel": "fcm", "token": "fcm-token-1"})).unwrap();
        phone.update_push(binding).await.unwrap();
        assert_eq!(flag(phone.device_id()).await, false);
    })
    .await;
}

#[tokio::test]
async fn a_test_push_rings_the_device_and_says_what_came_of_it() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let path = format!("/v1/devices/{}/test-push", phone.device_id());
        let queued = idp.post_empty(&path).await.ok(202);
        assert_eq!((&queued["state"], &queued["channel"]), (&json!("queued"), &json!("apns")));
        let rung = providers.next_apns(&apns_token('a'), "test").await;
        assert_eq!(rung.apns_id, text(&queued, "id"));
        let asked = format!("{path}/{}", text(&queued, "id"));
        let until = async |state: &str, path: &str| {
            let wait = async {
                while idp.get(path).await.ok(200)["state"] != state {
                    app.node().turn().await;
                }
                idp.get(path).await.ok(200)
            };
            tokio::time::timeout(countersign_tests::providers::SOON, wait).await.expect("the test push ends")
        };
        until("delivered", &asked).await;

        let too_soon = idp.post_empty(&path).await;
        too_soon.problem("too-many-requests");
        app.clock.advance(11);
        providers.apns.script(&apns_token('a'), [Behaviour::refusal(400, "BadDeviceToken")]);
        let second = idp.post_empty(&path).await.ok(202);
        let refused = until("rejected", &format!("{path}/{}", text(&second, "id"))).await;
        assert_eq!(refused["last_error"], "bad-device-token 400");

        // Nobody else's business, and nothing to ring.
        let other = app.tenant("other").await;
        let stranger = app.client_of(&other, "admin").await;
        stranger.get(&asked).await.problem("not-found");
        stranger.post_empty(&path).await.problem("not-found");
        app.client("devices:read").await.post_empty(&path).await.problem("insufficient-scope");
        app.client("devices:read").await.get(&asked).await.ok(200);
        let puller = idp.enroll("bob").await;
        let unreachable = format!("/v1/devices/{}/test-push", puller.device_id());
        idp.post_empty(&unreachable).await.problem("device-not-reachable");
        idp.get(&format!("{unreachable}/{}", text(&queued, "id"))).await.problem("not-found");
        idp.post_empty(&format!("/v1/devices/{}/suspend", phone.device_id())).await.ok(200);
        app.clock.advance(11);
        idp.post_empty(&path).await.problem("device-status-conflict");
        // A week later it is forgotten.
        app.clock.advance(7 * 86_400);
        countersign::worker::forget::round(app.node().app(), &app.settings().retention).await.unwrap();
        idp.get(&asked).await.problem("not-found");
        drain_notices(app).await;
    })
    .await;
}
