//! Whoever may create challenges cannot make a phone ring until its owner gives in; and the owner always gets in.

use countersign_tests::{
    ApiClient, Device, TestApp, at_once,
    proof::rounds,
    providers::{Providers, apns_options, apns_token, both_with_providers},
    text,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::push::{drain_notices, until_state};

/// How often APNs was told to ring the phone for a challenge.
fn rung(providers: &Providers) -> usize {
    let received = providers.apns.received();
    received.iter().filter(|push| push.push.payload["kind"] == "challenge").count()
}

/// Asks once; if the phone is rung for it, waits until it was. Then takes the challenge back.
async fn bother(app: &TestApp, idp: &ApiClient, phone: &Device) -> bool {
    let challenge = idp.challenge("ada").await;
    let rings = challenge["push_status"] == "ok";
    let wanted = if rings { "delivered" } else { "suppressed" };
    until_state(app, idp, &challenge, &phone.device_id(), wanted).await;
    idp.post_empty(&format!("/v1/challenges/{}/cancel", text(&challenge, "id"))).await.ok(200);
    rings
}

/// The honest person's sign-in: the app is opened, and the number typed.
async fn sign_in(idp: &ApiClient, phone: &Device) {
    let challenge = idp.challenge("ada").await;
    let shown = phone.pending_of(&challenge).await;
    phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
    assert_eq!(idp.show(&challenge).await["status"], "approved");
}

#[tokio::test]
async fn a_flood_of_ten_minutes_rings_five_times_and_ten_times_until_an_approval() {
    let flood = rounds(200, 1_000);
    both_with_providers(async |app, providers| {
        let idp = app.client("challenges,enrollments").await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        drain_notices(app).await;
        let second = app.second_node().await;
        let nodes = [idp.clone(), idp.at(&second.http)];
        for number in 0..flood {
            if number % (flood / 200) == 0 {
                app.clock.advance(3);
            }
            let rings = bother(app, &nodes[number % 2], &phone).await;
            // Ten minutes after the first one there is room for the next.
            assert_eq!(rings, number < 5 || number + 1 == flood, "challenge {number}");
            if number + 2 == flood {
                assert_eq!(rung(providers), 5);
                app.clock.advance(3);
            }
        }
        for _ in 0..9 {
            app.clock.advance(600);
            bother(app, &nodes[0], &phone).await;
        }
        assert_eq!(rung(providers), 10, "since the last approval");
        sign_in(&nodes[1], &phone).await;
        assert!(bother(app, &nodes[0], &phone).await, "an approval begins a new count");
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn after_not_me_nobody_is_rung_for_half_an_hour_and_the_person_still_signs_in() {
    both_with_providers(async |app, providers| {
        let idp = app.client("challenges,enrollments").await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        drain_notices(app).await;
        let challenge = idp.challenge("ada").await;
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
        let not_me = Some(countersign_proto::vocabulary::DenyReason::NotMe);
        phone.deny(&phone.only_pending().await, not_me).await.unwrap();
        for _ in 0..6 {
            assert!(!bother(app, &idp, &phone).await);
            app.clock.advance(299);
        }
        let suppressed = idp.challenge("ada").await;
        let delivery = crate::push::delivery(&idp, &suppressed, &phone.device_id()).await;
        assert_eq!((&delivery["state"], &delivery["last_error"]), (&json!("suppressed"), &json!("reported")));
        sign_in(&idp, &phone).await;
        assert_eq!(rung(providers), 1);
        app.clock.advance(6);
        assert!(bother(app, &idp, &phone).await);
    })
    .await;
}

#[tokio::test]
async fn forty_at_once_on_two_nodes_never_pass_the_budget_by_one() {
    both_with_providers(async |app, _| {
        app.change_policy(|policy| policy.max_pending_per_user = 20).await;
        let idp = app.admin().await;
        idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let second = app.second_node().await;
        let nodes = [idp.clone(), idp.at(&second.http)];
        let create = |number: usize| {
            let idp = nodes[number % 2].clone();
            async move { idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await }
        };
        let replies = at_once((0..40).map(create)).await;
        let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
        assert_eq!((made.len(), refused.len()), (20, 20));
        let rings = made.iter().filter(|reply| reply.json()["push_status"] == "ok").count();
        let silent = made.iter().filter(|reply| reply.json()["push_status"] == "suppressed").count();
        assert_eq!((rings, silent), (5, 15));
        for refusal in refused {
            refusal.problem("too-many-pending");
        }
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_asks_is_told_what_is_left() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let policy = "\"pushes-10m\";q=5;w=600, \"pending\";q=20";
        for (left, status) in [(19, "ok"), (18, "ok"), (17, "ok"), (16, "suppressed")] {
            let reply = idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await;
            assert_eq!(reply.ok(201)["push_status"], status);
            assert_eq!(reply.header("ratelimit-policy"), policy);
            // The fourth one rings nobody, and takes nothing from the budget.
            let pushes = if left > 16 { left - 15 } else { 2 };
            assert_eq!(reply.header("ratelimit"), format!("\"pushes-10m\";r={pushes};t=600, \"pending\";r={left}"));
        }
        for _ in 0..16 {
            idp.challenge("ada").await;
        }
        let refused = idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await;
        refused.problem("too-many-pending");
        assert_eq!(refused.header("retry-after"), "30");
        assert_eq!(refused.header("ratelimit-policy"), policy);
        assert_eq!(refused.header("ratelimit"), "\"pushes-10m\";r=2;t=600, \"pending\";r=0");
    })
    .await;
}

#[tokio::test]
async fn a_repeat_of_a_request_that_rang_nobody_is_told_so_too() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        app.change_policy(|policy| policy.pushes_per_user.per_10_minutes = 1).await;
        let ask = async |key: &str| {
            let request = idp.request(Method::POST, "/v1/challenges").header("idempotency-key", key);
            idp.send(request.json(&json!({"user": {"external_id": "ada"}}))).await
        };
        for (key, status) in [("one", "ok"), ("two", "suppressed")] {
            let first = ask(key).await.ok(201);
            assert_eq!(first["push_status"], status);
            let again = ask(key).await;
            assert_eq!((again.header("idempotent-replay"), again.ok(201)), ("true", first));
        }
        assert_eq!(ask("three").await.ok(201)["push_status"], "suppressed");
    })
    .await;
}

#[tokio::test]
async fn who_wants_no_pushes_or_has_none_spends_none() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let silent = json!({"user": {"external_id": "ada"}, "push": false});
        let reply = idp.post("/v1/challenges", silent).await;
        assert_eq!(reply.ok(201)["push_status"], "none");
        assert!(reply.header("ratelimit").starts_with("\"pushes-10m\";r=5,"), "{}", reply.header("ratelimit"));
        app.change_policy(|policy| policy.allow_push = false).await;
        let challenge = idp.challenge("ada").await;
        assert_eq!(challenge["push_status"], "none");
        assert_eq!(crate::push::delivery(&idp, &challenge, &phone.device_id()).await["state"], "pull_only");
        phone.approve(&phone.pending_of(&challenge).await, Some(text(&challenge, "number")), None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_suppressed_delivery_stays_so_however_the_challenge_ends() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        app.change_policy(|policy| policy.pushes_per_user.since_approval = 0).await;
        let challenge: Value = idp.challenge("ada").await;
        phone.approve(&phone.pending_of(&challenge).await, Some(text(&challenge, "number")), None).await.unwrap();
        let delivery = crate::push::delivery(&idp, &challenge, &phone.device_id()).await;
        assert_eq!(delivery["state"], "suppressed");
        assert_eq!(delivery["last_error"], "push-budget-since-approval");
        assert_eq!(idp.show(&challenge).await["push_status"], "suppressed");
    })
    .await;
}
