//! A device that decides nothing for too long is asked no more, and only a fresh enrollment leads back.

use countersign_tests::{TestApp, both, text};
use serde_json::json;

const DAY: i64 = 86_400;

async fn after_thirty_days(app: &TestApp) {
    app.change_policy(|policy| policy.dormant_after_days = Some(30)).await;
}

#[tokio::test]
async fn a_device_that_decides_nothing_is_asked_no_more_and_asking_does_not_revive_it() {
    both(async |app| {
        after_thirty_days(app).await;
        let idp = app.admin().await;
        let (used, idle) = (idp.enroll("ada").await, idp.enroll("ada").await);
        app.clock.advance(20 * DAY);
        let challenge = idp.challenge("ada").await;
        used.approve(&used.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
        app.node().observe().await;
        let decided_at = app.clock.time().floor_to_second().to_string();
        app.clock.advance(10 * DAY);
        // It still polls.
        assert!(idle.all_pending().await.is_empty());
        app.node().observe().await;

        let challenge = idp.challenge("ada").await;
        assert!(idle.all_pending().await.is_empty());
        let shown = used.only_pending().await;
        assert_eq!(shown.claims().aud, [used.device_id()]);
        let named = json!({"user": {"external_id": "ada"}, "device_ids": [idle.device_id()]});
        idp.post("/v1/challenges", named).await.problem("no-eligible-device");
        let view = idp.get(&format!("/v1/devices/{}", idle.device_id())).await.ok(200);
        assert_eq!((&view["status"], &view["dormant"]), (&json!("active"), &json!(true)));
        assert!(view.get("last_decision_at").is_none() && view["push_health"]["last_pull_at"].is_string(), "{view}");
        let view = idp.get(&format!("/v1/devices/{}", used.device_id())).await.ok(200);
        assert_eq!((view["last_decision_at"].as_str(), view.get("dormant")), (Some(decided_at.as_str()), None));
        used.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_user_with_nothing_but_dormant_devices_enrolls_again() {
    both(async |app| {
        after_thirty_days(app).await;
        let idp = app.admin().await;
        idp.enroll("ada").await;
        app.clock.advance(30 * DAY - 1);
        idp.challenge("ada").await;
        app.clock.advance(1);
        let refused = idp.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await;
        assert_eq!(refused.problem("no-eligible-device")["enrollment_required"], true);
        let fresh = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        fresh.approve(&fresh.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_denial_counts_as_use_and_a_wrong_number_too() {
    both(async |app| {
        after_thirty_days(app).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        for is_denial in [true, false, true] {
            app.clock.advance(29 * DAY);
            let challenge = idp.challenge("ada").await;
            let shown = phone.only_pending().await;
            if is_denial {
                phone.deny(&shown, None).await.unwrap();
            } else {
                let wrong = if text(&challenge, "number") == "000000" { "000001" } else { "000000" };
                phone.approve(&shown, Some(wrong), None).await.unwrap_err();
            }
            app.node().observe().await;
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_limit_no_device_is_ever_dormant() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        app.clock.advance(3_000 * DAY);
        idp.challenge("ada").await;
        let view = idp.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        assert!(view.get("dormant").is_none());
    })
    .await;
}
