//! Webhooks: an organisation is told of what happens, at least once, signed, and nobody else is.

mod addresses;
mod forgery;
mod outage;
mod process;
mod rotation;

use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    ApiClient, TestApp, path_of,
    providers::SOON,
    receiver::{Hook, Receiver, both_with_receiver},
    text,
};
use serde_json::{Value, json};

/// What has become of the webhook's latest message of this type.
pub(crate) async fn delivery(client: &ApiClient, hook: &Hook, kind: &str) -> Value {
    let page = client.get(&format!("{}/deliveries?limit=200", hook.path())).await.ok(200);
    let items = page["items"].as_array().unwrap().clone();
    items.into_iter().find(|item| item["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {page}"))
}

/// Waits until the latest message of this type is in this status, by whichever worker.
pub(crate) async fn until(app: &TestApp, client: &ApiClient, hook: &Hook, kind: &str, status: &str) -> Value {
    let wait = async {
        loop {
            let delivery = delivery(client, hook, kind).await;
            if delivery["status"] == status {
                return delivery;
            }
            app.node().tell().await;
            app.node().turn().await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{kind} never became {status}"))
}

/// Waits until the latest message of this type has been tried so often.
pub(crate) async fn until_tried(app: &TestApp, client: &ApiClient, hook: &Hook, kind: &str, times: usize) -> Value {
    let wait = async {
        loop {
            let delivery = delivery(client, hook, kind).await;
            if delivery["attempts"].as_array().unwrap().len() >= times {
                return delivery;
            }
            app.node().tell().await;
            app.node().turn().await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{kind} was not tried {times} times"))
}

/// Tells until nothing waits any more.
pub(crate) async fn drain(app: &TestApp) {
    let nothing_waits = async {
        while app.database.number("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'").await > 0 {
            app.node().tell().await;
            app.node().turn().await;
        }
    };
    let outcome = tokio::time::timeout(SOON, nothing_waits).await;
    assert!(outcome.is_ok(), "not everything was told in time");
}

#[tokio::test]
async fn a_decision_is_told_with_its_result_token_and_what_proves_it() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let hook = receiver.hook(&idp, "idp", &["challenge.*", "webhook.*"]).await;
        let hello = receiver.next(&hook, "webhook.created").await;
        assert_eq!(hello["data"]["data"]["webhook_id"], hook.id.as_str());
        let phone = idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}, "client_reference": "session-7",
            "verification": {"mode": "none"}});
        let challenge = idp.create_challenge(body).await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();

        let told = receiver.next(&hook, "challenge.approved").await;
        let shown = idp.get(&format!("{}?include=evidence", path_of(&challenge))).await.ok(200);
        let (data, own) = (&told["data"], &told["data"]["challenge"]);
        assert_eq!((&data["challenge_id"], &data["device_id"]), (&challenge["id"], &json!(phone.device_id())));
        assert_eq!(data["actor"], json!({"type": "device", "id": phone.device_id()}));
        assert!(text(own, "result_token").split('.').count() == 3, "{own}");
        for member in ["id", "status", "user", "client_reference", "evidence", "decided_at", "amr", "device"] {
            assert_eq!(own[member], shown[member], "{member}");
        }
        assert_eq!(own["status"], "approved");
        // The token is for whoever asked, and names the session.
        let claims = text(own, "result_token").split('.').nth(1).unwrap();
        let claims = countersign_proto::jose::base64url::decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["aud"], &claims["client_reference"]), (&json!(idp.id), &json!("session-7")));

        let events = idp.get("/v1/events?limit=200").await.ok(200);
        let event = events["items"].as_array().unwrap().iter().find(|event| event["id"] == data["id"]).unwrap();
        for member in ["actor", "user_id", "device_id", "challenge_id", "request_id", "created_at", "data"] {
            assert_eq!(data[member], event[member], "{member}");
        }
        assert_eq!((&told["type"], &told["timestamp"]), (&event["type"], &event["created_at"]));
    })
    .await;
}

#[tokio::test]
async fn each_end_of_a_challenge_is_told_and_an_old_one_without_a_token() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let hook = receiver.hook(&idp, "idp", &["challenge.*"]).await;
        idp.plain_challenge("ada").await;
        phone.deny(&phone.only_pending().await, None).await.unwrap();
        let denied = receiver.next(&hook, "challenge.denied").await;
        assert_eq!(denied["data"]["challenge"]["status"], "denied");
        assert!(denied["data"]["challenge"]["evidence"].is_object());
        let cancelled = idp.plain_challenge("ada").await;
        idp.post_empty(&format!("{}/cancel", path_of(&cancelled))).await.ok(200);
        let cancelled = receiver.next(&hook, "challenge.cancelled").await;
        assert_eq!(cancelled["data"]["challenge"]["reason"], "client");
        receiver.hooks.always(Some(Behaviour::status(503)));
        idp.plain_challenge("ada").await;
        app.clock.advance(601);
        app.sweep().await;
        until_tried(app, &idp, &hook, "challenge.expired", 1).await;
        receiver.hooks.always(None);
        app.clock.advance(3_600);
        // The worker may have looked just before time jumped, and time stands still for it now.
        drain(app).await;
        let expired = receiver.next(&hook, "challenge.expired").await;
        assert_eq!(expired["data"]["challenge"]["status"], "expired");
        assert!(expired["data"]["challenge"].get("result_token").is_none(), "{expired}");
        let created = receiver.taken(&hook).into_iter().filter(|(_, kind)| kind == "challenge.created").count();
        assert_eq!(created, 3);
    })
    .await;
}

#[tokio::test]
async fn attempts_are_shown_without_anything_of_the_receivers() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.*"]).await;
        let answer = |code| Behaviour::Status {
            code,
            reason: None,
            body: Some("canary of the receiver".to_owned()),
            retry_after: None,
        };
        receiver.hooks.script("idp", [answer(500), Behaviour::ResetConnection {}, answer(302)]);
        let queued = admin.post_empty(&format!("{}/test", hook.path())).await.ok(202);
        assert_eq!((&queued["type"], &queued["status"]), (&json!("webhook.test"), &json!("pending")));
        for (times, seconds) in [(1, 5), (2, 400), (3, 800)] {
            until_tried(app, &admin, &hook, "webhook.test", times).await;
            app.clock.advance(seconds);
        }
        let delivered = until(app, &admin, &hook, "webhook.test", "delivered").await;
        let attempts = delivered["attempts"].as_array().unwrap();
        let told: Vec<_> = attempts.iter().map(|it| (it["number"].as_u64(), it["status_code"].as_u64())).collect();
        assert_eq!(told, [(Some(1), Some(500)), (Some(2), None), (Some(3), Some(302)), (Some(4), Some(204))]);
        assert_eq!(attempts[0]["error"], "unexpected-status");
        assert!(attempts[1]["error"].is_string() && attempts[3].get("error").is_none(), "{attempts:?}");
        assert!(!delivered.to_string().contains("canary"), "{delivered}");
        let one = admin.get(&format!("{}/deliveries/{}", hook.path(), text(&queued, "id"))).await.ok(200);
        assert_eq!(one, delivered);
        let test = receiver.next(&hook, "webhook.test").await;
        assert_eq!(test["data"], json!({"data": {"webhook_id": hook.id}}));
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_listed_changed_and_deleted() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let body = json!({"url": receiver.hooks.url("idp"), "description": "The identity provider"});
        let made = admin.post("/v1/webhooks", body).await.ok(201);
        let hook = Hook::of(&made, "idp");
        assert_eq!((&made["events"], &made["enabled"]), (&json!(["*"]), &json!(true)));
        let other = receiver.hook(&admin, "other", &["user.created"]).await;
        let listed = admin.get("/v1/webhooks").await.ok(200);
        let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| text(item, "id")).collect();
        let mut newest_first = [other.id.as_str(), hook.id.as_str()];
        newest_first.sort_unstable();
        newest_first.reverse();
        assert_eq!(ids, newest_first);
        assert!(!listed.to_string().contains("whsec_"));

        let change = json!({"events": ["device.*"], "description": "Phones only", "enabled": false});
        let changed = admin.patch(&hook.path(), change).await.ok(200);
        assert_eq!((&changed["enabled"], &changed["disabled_reason"]), (&json!(false), &json!("client")));
        assert_eq!(admin.get(&hook.path()).await.ok(200), changed);
        assert_eq!(admin.patch(&hook.path(), json!({})).await.ok(200), changed);
        let enabled = admin.patch(&hook.path(), json!({"enabled": true})).await.ok(200);
        assert_eq!((&enabled["enabled"], &enabled["events"]), (&json!(true), &json!(["device.*"])));
        for (body, pointer) in [
            (json!({"events": []}), "/events"),
            (json!({"events": ["challenge.won"]}), "/events"),
            (json!({"description": ""}), "/description"),
            (json!({"description": "x".repeat(257)}), "/description"),
            (json!({"url": format!("https://a.example/{}", "x".repeat(2_048))}), "/url"),
        ] {
            admin.patch(&hook.path(), body).await.invalid(&[pointer]);
        }
        for body in [json!({"url": null}), json!({"unknown": 1}), json!([])] {
            let reply = admin.patch(&hook.path(), body.clone()).await;
            assert!(matches!(reply.status, 400 | 422), "{body}: {}", reply.text());
        }
        let gone = admin.delete(&hook.path()).await;
        assert_eq!(gone.status, 204);
        for reply in [
            admin.delete(&hook.path()).await,
            admin.get(&hook.path()).await,
            admin.get(&format!("{}/deliveries", hook.path())).await,
            admin.post_empty(&format!("{}/test", hook.path())).await,
        ] {
            reply.problem("not-found");
        }
        let mut kinds: Vec<_> = events(&admin).await.into_iter().filter(|kind| kind.starts_with("webhook.")).collect();
        // The clock stands still: what happened at one time has no order.
        kinds.sort_unstable();
        let expected = ["changed", "created", "created", "deleted", "disabled"].map(|word| format!("webhook.{word}"));
        assert_eq!(kinds, expected);
    })
    .await;
}

async fn events(client: &ApiClient) -> Vec<String> {
    let page = client.get("/v1/events?limit=200").await.ok(200);
    page["items"].as_array().unwrap().iter().map(|event| text(event, "type").to_owned()).collect()
}

#[tokio::test]
async fn an_organisation_has_ten_webhooks() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        for number in 0..10 {
            receiver.hook(&admin, &format!("hook-{number}"), &["user.created"]).await;
        }
        let body = json!({"url": receiver.hooks.url("one-more")});
        let refused = admin.post("/v1/webhooks", body).await.problem("quota-exceeded");
        assert_eq!((&refused["quota"], &refused["limit"]), (&json!("webhooks"), &json!(10)));
    })
    .await;
}

#[tokio::test]
async fn an_address_that_answers_410_is_told_nothing_more_until_it_is_enabled_again() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let witness = receiver.hook(&admin, "witness", &["webhook.disabled"]).await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        receiver.hooks.script("idp", [Behaviour::status(410)]);
        admin.enroll("ada").await;
        let told = receiver.next(&witness, "webhook.disabled").await;
        assert_eq!(told["data"]["data"], json!({"webhook_id": hook.id, "reason": "gone"}));
        assert_eq!(told["data"]["actor"], json!({"type": "system"}));
        let shown = admin.get(&hook.path()).await.ok(200);
        assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(false), &json!("gone")));
        assert_eq!(delivery(&admin, &hook, "user.created").await["status"], "failed");
        admin.enroll("grace").await;
        app.node().tell().await;
        assert_eq!(receiver.taken(&hook).len(), 0);
        let kept = admin.patch(&hook.path(), json!({"enabled": false})).await.ok(200);
        assert_eq!(kept["disabled_reason"], "gone", "whoever disables what is disabled changes nothing");

        admin.patch(&hook.path(), json!({"enabled": true})).await.ok(200);
        let replayed = admin.post(&format!("{}/replay", hook.path()), json!({})).await.ok(202);
        assert_eq!(replayed, json!({"queued": 1, "has_more": false}));
        receiver.next(&hook, "user.created").await;
        assert_eq!(receiver.taken(&hook).len(), 1, "what happened meanwhile was not queued");
    })
    .await;
}

#[tokio::test]
async fn a_message_is_sent_again_by_wish_under_its_id() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        admin.enroll("ada").await;
        let first = receiver.hooks.next("idp", SOON).await.unwrap().push;
        drain(app).await;
        let delivered = until(app, &admin, &hook, "user.created", "delivered").await;
        let path = format!("{}/deliveries/{}", hook.path(), text(&delivered, "id"));
        app.clock.advance(100);
        admin.post_empty(&format!("{path}/replay")).await.ok(202);
        let second = receiver.hooks.next("idp", SOON).await.unwrap().push;
        assert_eq!((&first.id, &first.body), (&second.id, &second.body));
        assert_ne!(first.timestamp, second.timestamp, "a receiver that checks the time takes it");
        assert!(hook.verifies(&second));
        until(app, &admin, &hook, "user.created", "delivered").await;
        let body = json!({"status": "delivered", "from": "2020-01-01T00:00:00Z", "to": "2040-01-01T00:00:00Z"});
        let replayed = admin.post(&format!("{}/replay", hook.path()), body).await.ok(202);
        assert_eq!(replayed["queued"], 1);
        receiver.hooks.next("idp", SOON).await.unwrap();
        admin.post(&format!("{}/replay", hook.path()), json!({"status": "pending"})).await.invalid(&["/status"]);
        let unknown = format!("{}/deliveries/{}/replay", hook.path(), hook.id);
        admin.post_empty(&unknown).await.problem("not-found");
        until(app, &admin, &hook, "user.created", "delivered").await;
    })
    .await;
}

#[tokio::test]
async fn another_organisations_webhook_is_told_nothing_of_ours() {
    both_with_receiver(async |app, receiver| {
        let tenant = app.tenant("other").await;
        let (ours, theirs) = (app.admin().await, app.client_of(&tenant, "admin").await);
        let hook = receiver.hook(&ours, "ours", &["*"]).await;
        let stranger = receiver.hook(&theirs, "theirs", &["*"]).await;
        let phone = ours.enroll("canary-of-ours").await;
        let body = json!({"user": {"external_id": "canary-of-ours"}, "message": "canary-message",
            "verification": {"mode": "none"}});
        ours.create_challenge(body).await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        let told = receiver.next(&hook, "challenge.approved").await;
        assert!(told.to_string().contains("canary-message"), "ours is told: the search below could find it");
        theirs.enroll("grace").await;
        receiver.next(&stranger, "device.confirmed").await;
        let heard: Vec<_> = receiver.hooks.attempts().into_iter().filter(|it| it.token == "theirs").collect();
        let heard = format!("{heard:?}");
        for canary in ["canary", &ours.tenant_id, &ours.id, &phone.device_id(), &hook.id] {
            assert!(!heard.contains(canary), "{canary} was told to another organisation");
        }
        for path in [hook.path(), format!("{}/deliveries", hook.path())] {
            theirs.get(&path).await.problem("not-found");
        }
        theirs.delete(&hook.path()).await.problem("not-found");
        theirs.patch(&hook.path(), json!({"url": receiver.hooks.url("theirs")})).await.problem("not-found");
    })
    .await;
}

#[tokio::test]
async fn of_several_nodes_one_tells_each_message() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["challenge.created"]).await;
        let second = app.second_node().await;
        for user in 0..6 {
            admin.enroll(&format!("user-{user}")).await;
        }
        let clients = [admin.clone(), admin.at(&second.http)];
        for round in 0..24 {
            clients[round % 2].plain_challenge(&format!("user-{}", round % 6)).await;
        }
        assert!(receiver.hooks.wait_for_accepted(24, SOON).await);
        assert_eq!(receiver.taken(&hook).len(), 24);
        assert_eq!(receiver.hooks.attempts().len(), 24, "once each");
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_program_that_may_not_tell_a_network_says_so_at_start() {
    let receiver = Receiver::start(&countersign_tests::TestClock::default()).await;
    let mut settings = countersign::config::Settings::defaults().unwrap();
    receiver.configure(&mut settings);
    let clock = std::sync::Arc::new(countersign_tests::TestClock::default());
    settings.webhooks.additional_networks = vec!["10.0.0.0/33".to_owned()];
    let refused = countersign::telling::open(&settings.webhooks, clock.clone()).await.err().unwrap();
    assert_eq!(refused.to_string(), "webhooks: 10.0.0.0/33 is not a network like 10.1.0.0/16");
    receiver.configure(&mut settings);
    settings.webhooks.extra_ca_file = "/nowhere/ca.pem".into();
    let refused = countersign::telling::open(&settings.webhooks, clock).await.err().unwrap();
    assert!(refused.to_string().starts_with("webhooks.extra_ca_file: cannot read /nowhere/ca.pem"), "{refused}");
    receiver.hooks.stop().await;
}
