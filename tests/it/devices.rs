//! What admins and devices do to registrations: suspend, resume, revoke, deregister, update push, lists.

use countersign_proto::{jose::Kind, push::PushBinding, vocabulary::RevokeReason};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{both, providers::both_with_providers, text};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_suspended_device_answers_nothing_until_it_is_resumed() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        let shown = phone.only_pending().await;
        let path = format!("/v1/devices/{}", phone.device_id());
        for _ in 0..2 {
            assert_eq!(idp.post_empty(&format!("{path}/suspend")).await.ok(200)["status"], "suspended");
        }
        let ended = idp.show(&challenge).await;
        assert_eq!((text(&ended, "status"), text(&ended, "reason")), ("cancelled", "device_suspended"));
        for refused in [
            phone.approve(&shown, None, None).await.unwrap_err(),
            phone.deny(&shown, None).await.unwrap_err(),
            phone.fetch_self().await.unwrap_err(),
            phone.update_push(PushBinding::None).await.unwrap_err(),
        ] {
            assert!(refused.is_problem("device-not-active"), "{refused}");
            assert_eq!(refused.problem().unwrap().extensions["device_status"], "suspended");
        }
        for _ in 0..2 {
            assert_eq!(idp.post_empty(&format!("{path}/resume")).await.ok(200)["status"], "active");
        }
        assert_eq!(idp.show(&challenge).await["status"], "cancelled");
        idp.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_revoked_device_never_comes_back() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, tablet) = (idp.enroll("ada").await, idp.enroll("ada").await);
        let both_asked = idp.plain_challenge("ada").await;
        let ids = json!([phone.device_id()]);
        let one_asked = idp.create_challenge(json!({"user": {"external_id": "ada"}, "device_ids": ids})).await;
        let shown = phone.all_pending().await;
        let path = format!("/v1/devices/{}", phone.device_id());
        for _ in 0..2 {
            let revoked = idp.delete(&format!("{path}?reason=stolen")).await.ok(200);
            assert_eq!((text(&revoked, "status"), text(&revoked, "revoke_reason")), ("revoked", "stolen"));
        }
        assert_eq!(idp.show(&one_asked).await["reason"], "device_revoked");
        assert_eq!(idp.show(&both_asked).await["status"], "pending");
        let refused = phone.approve(&shown[0], None, None).await.unwrap_err();
        assert_eq!(refused.problem().unwrap().extensions["device_status"], "revoked");
        let conflict = idp.post_empty(&format!("{path}/resume")).await;
        assert_eq!(conflict.problem("device-status-conflict")["device_status"], "revoked");
        idp.post_empty(&format!("{path}/suspend")).await.problem("device-status-conflict");
        idp.delete(&format!("{path}?reason=boredom")).await.problem("invalid-request");
        tablet.approve(&tablet.only_pending().await, None, None).await.unwrap();
        assert_eq!(idp.show(&both_asked).await["device"]["id"], tablet.device_id());
    })
    .await;
}

#[tokio::test]
async fn a_deregistration_repeated_byte_for_byte_gives_the_first_reply() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        let token = phone.sign(Kind::Deregistration, &phone.claims_with(json!({"reason": "replaced"}))).unwrap();
        let post = async || app.http.artefact(Method::POST, "/v1/device/deregistration", token.clone()).await;
        let first = post().await;
        assert_eq!(
            (text(&first.ok(200), "status"), first.json()["device_id"].as_str()),
            ("revoked", Some(&*phone.device_id()))
        );
        assert_eq!(idp.show(&challenge).await["reason"], "device_revoked");
        app.clock.advance(3600);
        assert_eq!((post().await.status, post().await.body), (200, first.body.clone()));
        // A fresh one of the revoked device says the same.
        let again = phone.deregister(Some(RevokeReason::Lost)).await.unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), first.json());
        let device = idp.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        assert_eq!(text(&device, "revoke_reason"), "replaced");
    })
    .await;
}

#[tokio::test]
async fn an_unconfirmed_device_may_deregister_and_update_its_push() {
    both(async |app| {
        let idp = app.admin().await;
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let phone = idp.claim(&enrollment, EnrollOptions::named("Phone")).await;
        phone.update_push(PushBinding::None).await.unwrap();
        phone.deregister(None).await.unwrap();
        let code = phone.registration().confirmation_code.clone().unwrap();
        idp.confirm(&enrollment, &code).await.problem("enrollment-closed");
    })
    .await;
}

#[tokio::test]
async fn a_push_update_counts_once_and_its_token_is_never_shown() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let push = json!({"channel": "fcm", "token": "canary-push-token"});
        let claims = phone.claims_with(json!({"push": push}));
        let token = phone.sign(Kind::PushUpdate, &claims).unwrap();
        let put = async |token: &str| app.http.artefact(Method::PUT, "/v1/device/push", token).await;
        let updated = put(&token).await;
        assert_eq!(updated.ok(200)["push"]["channel"], "fcm");
        put(&token).await.problem("invalid-device-signature");
        let device = idp.get(&format!("/v1/devices/{}", phone.device_id())).await;
        assert_eq!(device.ok(200)["push"]["channel"], "fcm");
        let events = idp.get("/v1/events?limit=200").await;
        for shown in [&updated, &device, &events] {
            assert!(!shown.text().contains("canary-push-token"));
        }
        let nonsense = json!({"channel": "webpush", "endpoint": "http://example.org/", "p256dh": "x", "auth": "y"});
        let token = phone.sign(Kind::PushUpdate, &phone.claims_with(json!({"push": nonsense}))).unwrap();
        put(&token).await.problem("invalid-request");
        // A challenge is delivered by the new channel, and pulled all the same.
        let challenge = idp.plain_challenge("ada").await;
        let shown = idp.get(&format!("/v1/challenges/{}?include=deliveries", text(&challenge, "id"))).await.ok(200);
        assert_eq!(shown["deliveries"][0]["channel"], "fcm");
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    })
    .await;
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| text(item, "id").to_owned()).collect()
}

/// Every id of a list, page by page.
async fn walk(idp: &countersign_tests::ApiClient, path: &str, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = idp.get(&format!("{path}limit={limit}{cursor}")).await.ok(200);
        let items = ids(&page);
        assert!(items.len() <= limit);
        all.extend(items);
        match page.get("next_cursor") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
            None => return all,
        }
    }
}

#[tokio::test]
async fn lists_come_newest_first_in_pages_without_gaps_or_repeats() {
    both(async |app| {
        let idp = app.admin().await;
        let mut devices = Vec::new();
        let mut challenges = Vec::new();
        for user in ["ada", "grace", "mary"] {
            app.clock.advance(1);
            devices.insert(0, idp.enroll(user).await.device_id());
            challenges.insert(0, text(&idp.plain_challenge(user).await, "id").to_owned());
        }
        for limit in [1, 2, 3, 200] {
            assert_eq!(walk(&idp, "/v1/devices?", limit).await, devices);
            assert_eq!(walk(&idp, "/v1/challenges?", limit).await, challenges);
            assert_eq!(walk(&idp, "/v1/users?", limit).await.len(), 3);
        }
        let graces = idp.get("/v1/devices?external_id=grace&status=active&platform=other").await.ok(200);
        assert_eq!(ids(&graces), [devices[1].clone()]);
        assert!(ids(&idp.get("/v1/devices?platform=ios").await.ok(200)).is_empty());
        let pending = idp.get("/v1/challenges?external_id=mary&status=pending").await.ok(200);
        assert_eq!(ids(&pending), [challenges[0].clone()]);
        let user = idp.get("/v1/users?external_id=ada").await.ok(200)["items"][0].clone();
        assert_eq!((&user["device_count"], &user["pending_challenges"]), (&json!(1), &json!(1)));
        let own = idp.get(&format!("/v1/users/{}/devices", text(&user, "id"))).await.ok(200);
        assert_eq!(ids(&own), [devices[2].clone()]);
        app.clock.advance(120);
        assert!(ids(&idp.get("/v1/challenges?status=pending").await.ok(200)).is_empty());
        assert_eq!(ids(&idp.get("/v1/challenges?status=expired").await.ok(200)), challenges);
        let after = text(&idp.get(&format!("/v1/challenges/{}", challenges[1])).await.ok(200), "created_at").to_owned();
        let newer = idp.get(&format!("/v1/challenges?created_after={after}")).await.ok(200);
        assert_eq!(ids(&newer), challenges[..1]);
    })
    .await;
}

#[tokio::test]
async fn a_list_refuses_what_it_does_not_know() {
    both(async |app| {
        let idp = app.admin().await;
        for query in ["limit=0", "limit=201", "cursor=nonsense"] {
            for list in ["users", "devices", "challenges", "events"] {
                idp.get(&format!("/v1/{list}?{query}")).await.problem("invalid-request");
            }
        }
        for path in [
            "/v1/users?name=ada",
            "/v1/devices?status=broken",
            "/v1/challenges?limit=1&limit=2",
            "/v1/events?cursor=-1",
        ] {
            idp.get(path).await.problem("invalid-request");
        }
    })
    .await;
}

#[tokio::test]
async fn an_auditor_sees_every_challenge_of_the_tenant_without_its_result_token() {
    both(async |app| {
        let idp = app.client("enrollments,challenges").await;
        let stranger = app.client("challenges").await;
        let auditor = app.client("audit:read").await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        let path = countersign_tests::path_of(&challenge);
        assert!(idp.get(&path).await.ok(200).get("result_token").is_some());
        let seen = auditor.get(&path).await.ok(200);
        assert_eq!((text(&seen, "status"), seen.get("result_token")), ("approved", None));
        stranger.get(&path).await.problem("not-found");
        stranger.post_empty(&format!("{path}/cancel")).await.problem("not-found");
        assert_eq!(
            (
                ids(&auditor.get("/v1/challenges").await.ok(200)).len(),
                ids(&stranger.get("/v1/challenges").await.ok(200)).len()
            ),
            (1, 0)
        );
        auditor.post_empty(&format!("{path}/cancel")).await.problem("insufficient-scope");
    })
    .await;
}
