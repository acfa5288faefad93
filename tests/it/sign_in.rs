//! The life of a challenge, as an identity provider and a phone see it.

use countersign_proto::{
    evidence::{self, Evidence, SignedBy},
    jose::{Jwks, claims::ResultClaims, verify_server},
    vocabulary::{ChallengeStatus, DenyReason, UvMethod},
};
use countersign_simulator::phone::{Answer, EnrollOptions};
use countersign_tests::{both, path_of, text};
use serde_json::{Value, json};

#[tokio::test]
async fn an_approval_ends_the_waiting_call() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        assert_eq!((text(&challenge, "status"), text(&challenge, "push_status")), ("pending", "none"));
        assert_eq!(challenge["verification"], json!({"mode": "enter", "digits": 6}));
        let waiting = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
        app.until_held(1).await;
        let shown = phone.only_pending().await;
        let recorded = phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(recorded.status, ChallengeStatus::Approved);
        let decided = waiting.await.unwrap().ok(200);
        assert_eq!(text(&decided, "status"), "approved");
        assert_eq!(decided["device"]["id"], phone.device_id());
        assert_eq!(decided["amr"], json!(["pop", "mca", "user"]));
        assert!(decided.get("number").is_none() && decided.get("reason").is_none());
        assert!(phone.all_pending().await.is_empty());
    })
    .await;
}

/// What anybody can verify with nothing but the server's public keys.
async fn verify_offline(
    idp: &countersign_tests::ApiClient,
    keys: &Jwks,
    challenge: &Value,
) -> (ResultClaims, SignedBy) {
    let decided = idp.get(&format!("{}?include=evidence", path_of(challenge))).await.ok(200);
    let result: ResultClaims = verify_server(text(&decided, "result_token"), &|kid| keys.find(kid)).unwrap();
    let evidence: Evidence = serde_json::from_value(decided["evidence"].clone()).unwrap();
    let proven = evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
    assert_eq!((&proven.challenge.jti, &proven.binding.sub), (&result.jti, &result.sub));
    assert_eq!(proven.binding.external_id, result.external_id);
    (result, proven.signed_by)
}

#[tokio::test]
async fn a_decision_in_each_mode_verifies_with_only_the_public_keys() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        for mode in ["enter", "choose", "none"] {
            let challenge = idp
                .create_challenge(json!({"user": {"external_id": "ada"}, "application": "VPN", "message": "Büro",
                    "context": {"ip": "192.0.2.1"}, "details": [{"label": "Amount", "value": "12 €"}],
                    "client_reference": "session-1", "verification": {"mode": mode},
                    "user_verification": "required"}))
                .await;
            let shown = phone.only_pending().await;
            let claims = shown.claims();
            assert_eq!((claims.message.as_deref(), claims.application.as_deref()), (Some("Büro"), Some("VPN")));
            let number = challenge.get("number").and_then(Value::as_str);
            match mode {
                "choose" => {
                    assert!(claims.verification.choices.as_ref().unwrap().iter().any(|it| Some(&**it) == number))
                }
                _ => assert!(claims.verification.choices.is_none()),
            }
            phone.approve(&shown, number, Some(UvMethod::Face)).await.unwrap();
            let (result, signed_by) = verify_offline(&idp, &keys, &challenge).await;
            assert_eq!(signed_by, SignedBy::UvKey);
            assert_eq!(result.status, ChallengeStatus::Approved);
            assert_eq!((&result.aud, result.client_reference.as_deref()), (&idp.id, Some("session-1")));
            assert_eq!(result.amr.unwrap(), ["pop", "mca", "user", "mfa", "face"]);
            assert_eq!((result.exp - result.iat, result.device_id), (300, Some(phone.device_id())));
        }
    })
    .await;
}

#[tokio::test]
async fn a_denial_carries_its_reason() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let reasons = [
            (Some(DenyReason::NotMe), "not_me"),
            (Some(DenyReason::Mistake), "mistake"),
            (Some(DenyReason::Other), "other"),
        ];
        for (reason, word) in reasons {
            let challenge = idp.challenge("ada").await;
            phone.deny(&phone.only_pending().await, reason).await.unwrap();
            let denied = idp.show(&challenge).await;
            assert_eq!((text(&denied, "status"), text(&denied, "reason")), ("denied", word));
            assert_eq!(denied.get("amr"), None);
        }
        let challenge = idp.challenge("ada").await;
        phone.deny(&phone.only_pending().await, None).await.unwrap();
        assert_eq!(idp.show(&challenge).await.get("reason"), None);
    })
    .await;
}

#[tokio::test]
async fn from_its_end_on_a_challenge_is_expired_swept_or_not() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.create_challenge(json!({"user": {"external_id": "ada"}, "ttl_seconds": 10})).await;
        let shown = phone.only_pending().await;
        let waiting = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
        app.until_held(1).await;
        app.clock.advance(10);
        let expired = waiting.await.unwrap().ok(200);
        assert_eq!((text(&expired, "status"), expired.get("decided_at")), ("expired", expired.get("expires_at")));
        assert!(phone.all_pending().await.is_empty());
        let number = text(&challenge, "number");
        let refused = phone.approve(&shown, Some(number), None).await.unwrap_err();
        assert!(refused.is_problem("challenge-closed"), "{refused}");
        assert_eq!(refused.problem().unwrap().extensions["challenge_status"], "expired");
        let gone = phone.get(&format!("/v1/device/challenges/{}", text(&challenge, "id"))).await;
        assert_eq!(gone.problem("challenge-gone")["challenge_status"], "expired");
        app.sweep().await;
        assert_eq!(idp.show(&challenge).await["status"], "expired");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_challenge_can_no_longer_be_answered() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        let shown = phone.only_pending().await;
        let cancel = format!("{}/cancel", path_of(&challenge));
        for _ in 0..2 {
            let cancelled = idp.post_empty(&cancel).await.ok(200);
            assert_eq!((text(&cancelled, "status"), text(&cancelled, "reason")), ("cancelled", "client"));
        }
        let refused = phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
        assert!(refused.is_problem("challenge-closed"), "{refused}");
        let other = idp.challenge("ada").await;
        phone.deny(&phone.only_pending().await, None).await.unwrap();
        let late = idp.post_empty(&format!("{}/cancel", path_of(&other))).await;
        assert_eq!(late.problem("challenge-closed")["challenge_status"], "denied");
    })
    .await;
}

#[tokio::test]
async fn a_device_that_waits_hears_of_arrival_and_decision() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let other = idp.enroll("ada").await;
        let waiting = tokio::spawn({
            let phone = phone.clone();
            async move { phone.pending(50, None).await.unwrap().unwrap() }
        });
        app.until_held(1).await;
        let challenge = idp.plain_challenge("ada").await;
        let set = waiting.await.unwrap();
        assert_eq!(set.challenges[0].id.to_string(), text(&challenge, "id"));
        let etag = set.etag.unwrap();
        assert!(phone.pending(0, Some(&etag)).await.unwrap().is_none());
        let waiting = tokio::spawn({
            let phone = phone.clone();
            async move { phone.pending(50, Some(&etag)).await.unwrap().unwrap() }
        });
        app.until_held(1).await;
        other.approve(&other.only_pending().await, None, None).await.unwrap();
        assert!(waiting.await.unwrap().challenges.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_waiting_call_ends_when_its_time_is_up() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let waiting = tokio::spawn({
            let phone = phone.clone();
            async move { phone.pending(5, None).await.unwrap().unwrap() }
        });
        app.until_held(1).await;
        app.clock.advance(5);
        assert!(waiting.await.unwrap().challenges.is_empty());
        let challenge = idp.plain_challenge("ada").await;
        let waiting = idp.hold(&format!("{}?wait=5", path_of(&challenge)));
        app.until_held(1).await;
        app.clock.advance(5);
        assert_eq!(waiting.await.unwrap().ok(200)["status"], "pending");
    })
    .await;
}

#[tokio::test]
async fn a_stream_tells_the_status_now_and_at_the_end() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        let events = format!("{}/events", path_of(&challenge));
        let mut stream = idp.request(reqwest::Method::GET, &events).send().await.unwrap();
        // The first status is read once the stream is there: an approval could come before it.
        let first = stream.chunk().await.unwrap().unwrap();
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&first), stream.text().await.unwrap());
        assert_eq!(statuses(&told), ["pending", "approved"]);
        let over = idp.get(&events).await;
        assert_eq!((over.status, over.header("content-type")), (200, "text/event-stream"));
        assert_eq!(over.header("cache-control"), "no-store");
        assert_eq!(statuses(&over.text()), ["approved"]);
    })
    .await;
}

/// The statuses of a stream's events. The stream has ended: its connection is done.
fn statuses(stream: &str) -> Vec<String> {
    let events = stream.split("\n\n").filter(|event| event.contains("event: status"));
    let data = events.map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap());
    data.map(|json| serde_json::from_str::<Value>(json).unwrap()["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_idempotency_key_gives_the_first_reply_again() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}});
        let create = async |client: &countersign_tests::ApiClient, body: &Value| {
            let request = client.request(reqwest::Method::POST, "/v1/challenges").json(body);
            client.send(request.header("idempotency-key", "sign-in-1")).await
        };
        let first = create(&idp, &body).await;
        assert_eq!(first.header("idempotent-replay"), "");
        let replay = create(&idp, &body).await;
        assert_eq!((replay.header("idempotent-replay"), replay.ok(201)), ("true", first.ok(201)));
        assert_eq!(replay.header("location"), first.header("location"));
        assert_eq!(phone.all_pending().await.len(), 1);
        create(&idp, &json!({"user": {"external_id": "ada"}, "push": false})).await.problem("idempotency-key-reused");
        // Another client's key is another key.
        let other = app.client("challenges").await;
        assert_ne!(create(&other, &body).await.ok(201)["id"], first.json()["id"]);
        for shown in phone.all_pending().await {
            phone.deny(&shown, None).await.unwrap();
        }
        let late = create(&idp, &body).await;
        assert_eq!(late.header("idempotent-replay"), "true");
        assert_eq!((late.ok(201).get("number"), late.ok(201)["id"].clone()), (None, first.json()["id"].clone()));
        app.clock.advance(24 * 3600);
        assert_ne!(create(&idp, &body).await.ok(201)["id"], first.json()["id"]);
    })
    .await;
}

#[tokio::test]
async fn only_a_users_active_devices_are_asked() {
    both(async |app| {
        let idp = app.admin().await;
        let stranger = json!({"user": {"external_id": "nobody"}});
        assert_eq!(
            idp.post("/v1/challenges", stranger).await.problem("no-eligible-device")["enrollment_required"],
            true
        );
        let phone = idp.enroll("ada").await;
        let other = idp.enroll("grace").await;
        let asking = |ids: Value| json!({"user": {"external_id": "ada"}, "device_ids": ids});
        idp.post("/v1/challenges", asking(json!([phone.device_id(), other.device_id()])))
            .await
            .invalid(&["/device_ids/1"]);
        idp.post("/v1/challenges", asking(json!(["nonsense"]))).await.invalid(&["/device_ids/0"]);
        let needs_uv = json!({"user": {"external_id": "ada"}, "user_verification": "required"});
        idp.post("/v1/challenges", needs_uv).await.problem("no-eligible-device");
        idp.post_empty(&format!("/v1/devices/{}/suspend", phone.device_id())).await.ok(200);
        idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await.problem("no-eligible-device");
    })
    .await;
}

#[tokio::test]
async fn a_challenge_addressed_to_one_device_is_unknown_to_the_users_others() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let (phone, tablet) = (idp.enroll("ada").await, idp.enroll("ada").await);
        let challenge =
            idp.create_challenge(json!({"user": {"external_id": "ada"}, "device_ids": [phone.device_id()]})).await;
        assert!(tablet.all_pending().await.is_empty());
        tablet.get(&format!("/v1/device/challenges/{}", text(&challenge, "id"))).await.problem("not-found");
        let delivered = idp.get(&format!("{}?include=deliveries", path_of(&challenge))).await.ok(200);
        assert_eq!(delivered["deliveries"].as_array().unwrap().len(), 1);
        assert_eq!(delivered["deliveries"][0]["state"], "pull_only");
        phone.deny(&phone.only_pending().await, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn beyond_twenty_pending_challenges_of_a_user_there_is_no_other() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        for _ in 0..20 {
            idp.plain_challenge("ada").await;
        }
        let refused = idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await;
        refused.problem("too-many-pending");
        assert!(!refused.header("retry-after").is_empty());
        phone.deny(&phone.all_pending().await[0], None).await.unwrap();
        idp.plain_challenge("ada").await;
    })
    .await;
}

#[tokio::test]
async fn another_node_wakes_a_waiting_call_and_decides_by_the_same_rules() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        let second = app.second_node().await;
        let challenge = idp.plain_challenge("ada").await;
        let waiting = idp.at(&second.http).hold(&format!("{}?wait=50", path_of(&challenge)));
        second.until_held(1).await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        // Whatever way the news travels, one round of the poller is enough.
        second.poll().await;
        assert_eq!(waiting.await.unwrap().ok(200)["status"], "approved");
        second.stop().await;
    })
    .await;
}

/// Found by `countersign-proof time`: it was decided, and from then on nobody could read it.
#[tokio::test]
async fn a_device_that_was_bound_before_the_clock_was_set_back_decides_nothing_that_would_not_verify() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let phone = idp.enroll("ada").await;
        app.clock.advance(-3_600);
        let challenge = idp.challenge("ada").await;
        let shown = phone.only_pending().await;
        for answer in [Answer::approve(Some(text(&challenge, "number"))), Answer::deny(None)] {
            let token = phone.sign_response(&shown, &answer).unwrap();
            phone.respond_with(text(&challenge, "id"), &token).await.problem("clock-skew");
        }
        assert_eq!(idp.get(&path_of(&challenge)).await.ok(200)["status"], "pending");
        app.clock.advance(3_600);
        let challenge = idp.challenge("ada").await;
        phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(idp.get(&path_of(&challenge)).await.ok(200)["status"], "approved");
    })
    .await;
}
