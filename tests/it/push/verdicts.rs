//! What a provider's answer does to the push, the delivery and the device (protocol 8.5).

use countersign_proto::push::PushBinding;
use countersign_simulator::stand_in::Behaviour;
use countersign_tests::providers::{
    TOPIC, apns_options, apns_token, both_with_providers, fcm_options, webpush_options,
};
use serde_json::{Value, json};

use super::{delivery, drain_notices, until_state};

async fn push_of(idp: &countersign_tests::ApiClient, device_id: &str) -> Value {
    idp.get(&format!("/v1/devices/{device_id}")).await.ok(200)["push"].clone()
}

fn apns_binding(token: &str) -> PushBinding {
    let binding = json!({"channel": "apns", "token": token, "topic": TOPIC, "environment": "production"});
    serde_json::from_value(binding).unwrap()
}

#[tokio::test]
async fn a_token_that_is_gone_is_cleared_on_every_channel_and_the_device_stays_and_pulls() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let browser = providers.webpush.subscribe().unwrap();
        let token = apns_token('a');
        let phones = [
            idp.enroll_with("ada", apns_options(&token)).await,
            idp.enroll_with("ada", fcm_options("fcm-token-1")).await,
            idp.enroll_with("ada", webpush_options(&browser)).await,
        ];
        drain_notices(app).await;
        let gone_at = app.clock.time().as_millis();
        providers.apns.script(&token, [Behaviour::Gone { timestamp_millis: Some(gone_at) }]);
        providers.fcm.script("fcm-token-1", [Behaviour::Gone { timestamp_millis: None }]);
        providers.webpush.script(&browser.id, [Behaviour::Gone { timestamp_millis: None }]);
        let challenge = idp.plain_challenge("ada").await;
        for phone in &phones {
            until_state(app, &idp, &challenge, &phone.device_id(), "token_gone").await;
            assert_eq!(push_of(&idp, &phone.device_id()).await["state"], "token_gone");
        }
        assert_eq!(idp.show(&challenge).await["push_status"], "degraded");
        phones[0].approve(&phones[0].only_pending().await, None, None).await.unwrap();
        // Nobody is tried again, and the next challenge says so at once.
        let next = idp.plain_challenge("ada").await;
        assert_eq!(next["push_status"], "degraded");
        assert_eq!(app.node().dispatch().await, 0);
        // A new token, and it rings.
        phones[0].update_push(apns_binding(&apns_token('b'))).await.unwrap();
        assert_eq!(push_of(&idp, &phones[0].device_id()).await["state"], "ok");
        let third = idp.plain_challenge("ada").await;
        until_state(app, &idp, &third, &phones[0].device_id(), "delivered").await;
    })
    .await;
}

#[tokio::test]
async fn what_apple_said_of_a_token_before_it_was_registered_again_clears_nothing() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let token = apns_token('a');
        let phone = idp.enroll_with("ada", apns_options(&token)).await;
        let before = app.clock.time().as_millis() - 60_000;
        providers.apns.script(&token, [Behaviour::Gone { timestamp_millis: Some(before) }]);
        let challenge = idp.plain_challenge("ada").await;
        let retried = until_state(app, &idp, &challenge, &phone.device_id(), "retrying").await;
        assert_eq!(retried["last_error"], "unregistered-stale 410");
        assert_eq!(push_of(&idp, &phone.device_id()).await["state"], "ok");
        app.clock.advance(3);
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_replaced_while_its_push_was_on_the_way_is_not_cleared() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let old = apns_token('a');
        let phone = idp.enroll_with("ada", apns_options(&old)).await;
        let gone_at = app.clock.time().plus_seconds(30).as_millis();
        // The normal answer of a token that is none any more, held back until the phone has told its new one.
        providers.apns.register(&old, TOPIC);
        providers.apns.unregister(&old, gone_at);
        providers.apns.script(&old, [Behaviour::Slow { millis: 1_500 }]);
        app.clock.advance(40);
        let challenge = idp.plain_challenge("ada").await;
        let leased = "SELECT count(*) FROM notifications WHERE leased_until IS NOT NULL";
        while app.database.number(leased).await == 0 {
            app.node().turn().await;
        }
        phone.update_push(apns_binding(&apns_token('b'))).await.unwrap();
        // What met the old token is sent to the new one, at once.
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
        assert_eq!(providers.next_apns(&apns_token('b'), "challenge").await.payload["challenge_id"], challenge["id"]);
        assert_eq!(push_of(&idp, &phone.device_id()).await["state"], "ok", "the new token is a good one");
        let next = idp.plain_challenge("ada").await;
        until_state(app, &idp, &next, &phone.device_id(), "delivered").await;
        providers.next_apns(&apns_token('b'), "challenge").await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_token_stays_with_its_reason_is_left_alone_and_comes_back_by_itself() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let token = apns_token('a');
        let phone = idp.enroll_with("ada", apns_options(&token)).await;
        let pixel = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        drain_notices(app).await;
        for reason in ["BadDeviceToken", "DeviceTokenNotForTopic"] {
            providers.apns.script(&token, [Behaviour::refusal(400, reason)]);
            let challenge = idp.plain_challenge("ada").await;
            let refused = until_state(app, &idp, &challenge, &phone.device_id(), "rejected").await;
            let shown = push_of(&idp, &phone.device_id()).await;
            assert_eq!((&shown["state"], &shown["reason"]), (&json!("undeliverable"), &refused["last_error"]));
            // Within the hour nobody asks again, and the delivery says why.
            app.clock.advance(3_000);
            app.sweep().await;
            let next = idp.plain_challenge("ada").await;
            let left_alone = delivery(&idp, &next, &phone.device_id()).await;
            assert_eq!((&left_alone["state"], &left_alone["last_error"]), (&json!("rejected"), &refused["last_error"]));
            // After it the next challenge tries, and a success clears the mark.
            app.clock.advance(601);
            app.sweep().await;
            let after = idp.plain_challenge("ada").await;
            until_state(app, &idp, &after, &phone.device_id(), "delivered").await;
            assert_eq!(push_of(&idp, &phone.device_id()).await["state"], "ok");
            until_state(app, &idp, &after, &pixel.device_id(), "delivered").await;
            app.clock.advance(700);
            app.sweep().await;
        }
        providers.fcm.script("fcm-token-1", [Behaviour::refusal(403, "SENDER_ID_MISMATCH")]);
        let challenge = idp.plain_challenge("ada").await;
        until_state(app, &idp, &challenge, &pixel.device_id(), "rejected").await;
        assert_eq!(push_of(&idp, &pixel.device_id()).await["reason"], "sender-id-mismatch 403");
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_asks_for_time_gets_it_and_nothing_is_sent_after_the_end() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        // Withdrawals are another matter: an alert that was shown goes when its challenge is over.
        let attempts = || {
            let all = providers.fcm.attempts();
            all.iter().filter(|attempt| attempt.push.data.get("kind") != Some(&json!("withdrawn"))).count()
        };
        providers.fcm.script("fcm-token-1", [Behaviour::retry_after(429, "30")]);
        let challenge = idp.plain_challenge("ada").await;
        let told = until_state(app, &idp, &challenge, &phone.device_id(), "retrying").await;
        assert!(told["last_error"].as_str().unwrap().ends_with(" 429"), "{told}");
        for _ in 0..30 {
            assert_eq!((app.node().dispatch().await, attempts()), (0, 1), "never early");
            app.clock.advance(1);
        }
        app.clock.advance(2);
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
        assert_eq!(attempts(), 2);

        // Longer than the challenge lives: it is dropped, and says why.
        providers.fcm.script("fcm-token-1", [Behaviour::retry_after(503, "600")]);
        let second = idp.plain_challenge("ada").await;
        let dropped = until_state(app, &idp, &second, &phone.device_id(), "expired").await;
        assert_eq!(dropped["last_error"], "unavailable 503");
        app.clock.advance(700);
        app.sweep().await;
        drain_notices(app).await;
        assert_eq!(attempts(), 3);
    })
    .await;
}
