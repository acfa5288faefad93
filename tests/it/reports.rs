//! Reports for administrators: every device that somebody should look after is in one, with all its reasons.

use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Device, both, text};
use serde_json::{Value, json};

async fn enroll(admin: &ApiClient, external_id: &str, app_version: Option<&str>, has_uv_key: bool) -> Device {
    let mut options = EnrollOptions::named("Phone");
    options.device.app_version = app_version.map(str::to_owned);
    options.has_uv_key = has_uv_key;
    admin.enroll_with(external_id, options).await
}

fn reasons<'v>(report: &'v Value, device: &Device) -> Vec<&'v str> {
    let items = report["items"].as_array().unwrap();
    let found = items.iter().find(|item| item["id"] == device.device_id());
    found
        .map(|item| item["reasons"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn every_device_that_is_at_risk_is_listed_with_its_reasons_and_no_other() {
    both(async |app| {
        let admin = app.admin().await;
        let reader = app.client("devices:read,users:read").await;
        let report = async || reader.get("/v1/reports/at-risk").await.ok(200);
        let good = enroll(&admin, "ada", Some("2.1.0"), true).await;
        let old = enroll(&admin, "bob", Some("2.0.9"), true).await;
        let odd = enroll(&admin, "eve", Some("2.1-beta"), false).await;
        assert_eq!(report().await["items"], json!([]), "nothing is asked yet");

        let shown = admin.get(&format!("/v1/devices/{}", good.device_id())).await.ok(200);
        let platform = text(&shown, "platform");
        let asked = json!({"dormant_after_days": 30, "device_requirements":
            {"user_verification_key": true, "minimum_app_versions": {platform: "2.1"}}});
        admin.put("/v1/policy", asked).await.ok(200);
        let found = report().await;
        assert_eq!(reasons(&found, &good), [""; 0]);
        assert_eq!(reasons(&found, &old), ["app_version_too_old"]);
        assert_eq!(reasons(&found, &odd), ["app_version_unknown", "no_user_verification_key"]);
        let newest = found["items"].as_array().unwrap().iter().find(|item| item["id"] == odd.device_id()).unwrap();
        assert_eq!((&newest["app_version"], &newest["user"]["external_id"]), (&json!("2.1-beta"), &json!("eve")));

        app.clock.advance(30 * 86_400);
        let found = report().await;
        assert_eq!(reasons(&found, &good), ["dormant"]);
        assert_eq!(reasons(&found, &old), ["app_version_too_old", "dormant"]);
        admin.delete(&format!("/v1/devices/{}", old.device_id())).await.ok(200);
        assert_eq!(reasons(&report().await, &old), [""; 0], "who is gone is no risk");
        let user = format!("/v1/users/{}", good.registration().user.id);
        admin.post(&format!("{user}/report"), json!({})).await.ok(200);
        assert_eq!(reasons(&report().await, &good), ["dormant", "user_reported"]);
        let of_devices = app.client("devices:read").await.get("/v1/reports/at-risk").await.ok(200);
        assert_eq!(reasons(&of_devices, &good), ["dormant"], "what is said of a user is for who reads users");
    })
    .await;
}

#[tokio::test]
async fn a_report_is_read_page_by_page_without_a_gap() {
    both(async |app| {
        let admin = app.admin().await;
        let mut wanted = Vec::new();
        for number in 0..5 {
            // Newest first: by the time in their ids.
            app.clock.advance(1);
            let phone = enroll(&admin, &format!("user-{number}"), None, number % 2 == 0).await;
            if number % 2 == 1 {
                wanted.push(phone.device_id());
            }
        }
        wanted.reverse();
        admin.put("/v1/policy", json!({"device_requirements": {"user_verification_key": true}})).await.ok(200);
        let first = admin.get("/v1/reports/at-risk?limit=1").await.ok(200);
        assert_eq!(first["items"].as_array().unwrap().len(), 1);
        let next = format!("/v1/reports/at-risk?limit=1&cursor={}", text(&first, "next_cursor"));
        let second = admin.get(&next).await.ok(200);
        let found = [&first["items"][0]["id"], &second["items"][0]["id"]];
        assert_eq!(found, [&json!(wanted[0]), &json!(wanted[1])]);
        admin.get("/v1/reports/at-risk?cursor=x").await.invalid(&["/cursor"]);
        admin.get("/v1/reports/at-risk?limit=201").await.invalid(&["/limit"]);
        app.client("users:read").await.get("/v1/reports/at-risk").await.problem("insufficient-scope");
    })
    .await;
}
