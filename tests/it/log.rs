//! The event log: one row per change, in order, ids and digests only.

use countersign_proto::vocabulary::DenyReason;
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, TestApp, both, path_of, text};
use serde_json::{Value, json};

/// The whole log.
pub(crate) async fn events(auditor: &ApiClient) -> Vec<Value> {
    auditor.get("/v1/events?limit=200").await.ok(200)["items"].as_array().unwrap().clone()
}

/// The kinds of the whole log, oldest first.
pub(crate) async fn kinds(auditor: &ApiClient) -> Vec<String> {
    events(auditor).await.iter().map(|event| text(event, "type").to_owned()).collect()
}

/// What has been added to the log since the last look; within one moment in the order of the alphabet.
struct Follower {
    auditor: ApiClient,
    cursor: String,
    seen: Vec<Value>,
}

impl Follower {
    /// Expects exactly these kinds, and moves on to another moment.
    async fn expect(&mut self, app: &TestApp, kinds: &[&str]) {
        let page = self.auditor.get(&format!("/v1/events?cursor={}", self.cursor)).await.ok(200);
        text(&page, "next_cursor").clone_into(&mut self.cursor);
        let items = page["items"].as_array().unwrap().clone();
        let mut found: Vec<_> = items.iter().map(|event| text(event, "type").to_owned()).collect();
        found.sort();
        assert_eq!(found, kinds);
        self.seen.extend(items);
        app.clock.advance(1);
    }
}

#[tokio::test]
async fn every_change_has_its_event_in_order() {
    both(async |app| {
        let tenant = app.tenant("example").await;
        let idp = app.client_of(&tenant, "admin").await;
        let mut log = Follower { auditor: idp.clone(), cursor: "0".to_owned(), seen: Vec::new() };
        log.expect(app, &["api_client.created", "tenant.created"]).await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        log.expect(app, &["enrollment.created", "user.created"]).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        log.expect(app, &["enrollment.claimed"]).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.ok(200);
        log.expect(app, &["device.added", "device.confirmed", "enrollment.completed"]).await;
        let challenge = idp.challenge("ada").await;
        log.expect(app, &["challenge.created"]).await;
        phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
        log.expect(app, &["challenge.approved"]).await;
        let approved = log.seen.last().unwrap().clone();
        assert_eq!(approved["actor"], json!({"type": "device", "id": phone.device_id()}));
        assert_eq!(text(&approved, "challenge_id"), text(&challenge, "id"));
        assert_eq!(text(&approved, "device_id"), phone.device_id());
        idp.challenge("ada").await;
        phone.deny(&phone.only_pending().await, Some(DenyReason::NotMe)).await.unwrap();
        log.expect(app, &["challenge.created", "challenge.denied", "challenge.reported", "user.reported"]).await;
        let cancelled = idp.challenge("ada").await;
        idp.post_empty(&format!("{}/cancel", path_of(&cancelled))).await.ok(200);
        log.expect(app, &["challenge.cancelled", "challenge.created"]).await;
        idp.challenge("ada").await;
        app.clock.advance(120);
        app.sweep().await;
        log.expect(app, &["challenge.created", "challenge.expired"]).await;
        assert_eq!(log.seen.iter().filter(|event| event["actor"]["type"] == "system").count(), 1);
        let path = format!("/v1/devices/{}", phone.device_id());
        for _ in 0..2 {
            idp.post_empty(&format!("{path}/suspend")).await.ok(200);
        }
        log.expect(app, &["device.suspended"]).await;
        idp.post_empty(&format!("{path}/resume")).await.ok(200);
        log.expect(app, &["device.resumed"]).await;
        idp.delete(&path).await.ok(200);
        log.expect(app, &["device.revoked"]).await;
        let positions: Vec<_> = log.seen.iter().map(|event| event["position"].as_u64().unwrap()).collect();
        assert_eq!(positions, (1..=21).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_reader_follows_the_log_with_the_cursor_alone() {
    both(async |app| {
        let idp = app.admin().await;
        let first = idp.get("/v1/events?limit=1").await.ok(200);
        let mut cursor = text(&first, "next_cursor").to_owned();
        assert_eq!(first["items"].as_array().unwrap().len(), 1);
        // At the end the cursor stays; what comes next comes behind it.
        loop {
            let page = idp.get(&format!("/v1/events?cursor={cursor}")).await.ok(200);
            if page["items"].as_array().unwrap().is_empty() {
                assert_eq!(text(&page, "next_cursor"), cursor);
                break;
            }
            cursor = text(&page, "next_cursor").to_owned();
        }
        idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let next = idp.get(&format!("/v1/events?cursor={cursor}")).await.ok(200);
        let kinds: Vec<_> = next["items"].as_array().unwrap().iter().map(|event| text(event, "type")).collect();
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert!(kinds.contains(&"user.created") && kinds.contains(&"enrollment.created"));
    })
    .await;
}

#[tokio::test]
async fn the_log_holds_no_name_text_number_or_secret_and_no_other_tenants_rows() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment =
            idp.create_enrollment(json!({"user": {"external_id": "canary-id", "display_name": "Canary Name"}})).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Canary Phone")).await;
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.ok(200);
        let challenge = idp
            .create_challenge(json!({"user": {"external_id": "canary-id"}, "message": "canary text",
                "verification": {"mode": "enter", "digits": 8}}))
            .await;
        let number = text(&challenge, "number");
        phone.approve(&phone.only_pending().await, Some(number), None).await.unwrap();
        let log = idp.get("/v1/events?limit=200").await.text();
        for secret in
            ["canary-id", "Canary Name", "Canary Phone", "canary text", number, text(&enrollment, "ticket"), &idp.key]
        {
            assert!(!log.contains(secret), "{secret}");
        }
        let other = app.client_of(&app.tenant("other").await, "admin").await;
        let mut theirs = kinds(&other).await;
        theirs.sort();
        assert_eq!(theirs, ["api_client.created", "tenant.created"]);
    })
    .await;
}
