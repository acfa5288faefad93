//! Many devices at once (protocol 10.7): all of a user's, those of an installation, those that a filter finds.

use countersign_simulator::{Phone, phone::EnrollOptions};
use countersign_tests::{ApiClient, Device, TestApp, both, text};
use reqwest::Method;
use serde_json::{Value, json};

fn ids(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn sorted(devices: &[&Device]) -> Vec<String> {
    let mut all: Vec<_> = devices.iter().map(|device| device.device_id()).collect();
    all.sort();
    all
}

/// A phone that says of which app, version and installation it is.
async fn phone(idp: &ApiClient, user: &str, version: &str, installation: &str) -> Device {
    let mut options = EnrollOptions::named("Phone");
    options.device.app_id = Some("org.example".to_owned());
    options.device.app_version = Some(version.to_owned());
    options.device.installation_id = Some(installation.to_owned());
    idp.enroll_with(user, options).await
}

async fn status(idp: &ApiClient, device: &Phone) -> String {
    text(&idp.get(&format!("/v1/devices/{}", device.id())).await.ok(200), "status").to_owned()
}

async fn patch(idp: &ApiClient, path: &str, body: Value) -> countersign_tests::Reply {
    idp.send(idp.request(Method::PATCH, path).json(&body)).await
}

#[tokio::test]
async fn revoking_all_leaves_nothing_that_could_approve() {
    both(async |app| {
        let idp = app.admin().await;
        let (one, two, bob) = (idp.enroll("ada").await, idp.enroll("ada").await, idp.enroll("bob").await);
        let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let waiting = idp.claim(&enrollment, EnrollOptions::named("Third")).await;
        let open = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let challenge = idp.plain_challenge("ada").await;
        let shown = one.pending_of(&challenge).await;
        let path = format!("/v1/users/{}/devices/revoke-all", one.registration().user.id);
        idp.post(&path, json!({"reason": "boredom"})).await.invalid(&["/reason"]);
        let revoked = idp.post(&path, json!({"reason": "stolen"})).await.ok(200);
        assert_eq!(ids(&revoked["revoked"]), sorted(&[&one, &two, &waiting]));
        assert_eq!(idp.post(&path, json!({})).await.ok(200), json!({"revoked": []}));
        let ended = idp.show(&challenge).await;
        assert_eq!((text(&ended, "status"), text(&ended, "reason")), ("cancelled", "device_revoked"));
        assert!(one.approve(&shown, None, None).await.unwrap_err().is_problem("device-not-active"));
        for enrollment in [&enrollment, &open] {
            let now = idp.get(&format!("/v1/enrollments/{}", text(enrollment, "id"))).await.ok(200);
            assert_eq!(now["status"], "cancelled");
        }
        let record = idp.get(&format!("/v1/devices/{}", one.device_id())).await.ok(200);
        assert_eq!((text(&record, "revoke_reason"), &record["push"]["channel"]), ("stolen", &json!("none")));
        assert_eq!(status(&idp, &bob).await, "active");
        for unknown in ["x", "01939b5e-7a2c-7def-8abc-000000000001"] {
            idp.post(&format!("/v1/users/{unknown}/devices/revoke-all"), json!({})).await.problem("not-found");
        }
    })
    .await;
}

async fn bulk(idp: &ApiClient, filter: &Value, further: Value) -> countersign_tests::Reply {
    let mut body = json!({"filter": filter});
    body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    idp.post("/v1/devices/revoke", body).await
}

async fn dry_run(idp: &ApiClient, filter: &Value) -> Value {
    bulk(idp, filter, json!({"dry_run": true})).await.ok(200)
}

async fn real_run(idp: &ApiClient, filter: &Value, confirmation: &Value) -> countersign_tests::Reply {
    bulk(idp, filter, json!({"dry_run": false, "confirmation": confirmation})).await
}

#[tokio::test]
async fn a_filter_revokes_what_its_dry_run_showed() {
    both(async |app| {
        let idp = app.admin().await;
        let old = phone(&idp, "ada", "1.9", "i1").await;
        let older = phone(&idp, "bob", "1.10", "i2").await;
        let new = phone(&idp, "bob", "2.0", "i3").await;
        let unknown = idp.enroll("eve").await;
        idp.post_empty(&format!("/v1/devices/{}/suspend", older.device_id())).await.ok(200);
        app.clock.advance(1);
        let filter = json!({"app_version_below": "2.0"});
        let seen = dry_run(&idp, &filter).await;
        assert_eq!((seen["matched"].as_u64(), ids(&seen["device_ids"])), (Some(2), sorted(&[&old, &older])));
        assert_eq!(status(&idp, &old).await, "active", "nothing was changed");
        app.clock.advance(1);
        let done = real_run(&idp, &filter, &seen["confirmation"]).await.ok(200);
        assert_eq!((ids(&done["revoked"]), &done["remaining"]), (sorted(&[&old, &older]), &json!(0)));
        // Called again, as after a lost reply: there is nothing left.
        let again = real_run(&idp, &filter, &seen["confirmation"]).await.ok(200);
        assert_eq!(again, json!({"revoked": [], "remaining": 0}));
        assert_eq!(status(&idp, &new).await, "active");
        assert_eq!(status(&idp, &unknown).await, "active", "a version that nobody knows is not below");
        assert_eq!(app.database.number("SELECT count(*) FROM events WHERE kind = 'device.revoked'").await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_real_run_is_held_to_its_dry_run() {
    both(async |app| {
        let idp = app.admin().await;
        let one = phone(&idp, "ada", "1.0", "i1").await;
        app.clock.advance(1);
        let filter = json!({"app_id": "org.example"});
        let seen = dry_run(&idp, &filter).await;
        let confirmation = &seen["confirmation"];
        let stale = async |filter: &Value, confirmation: &Value| {
            real_run(&idp, filter, confirmation).await.problem("confirmation-stale");
            assert_eq!(status(&idp, &one).await, "active");
        };
        // Another filter, another reason, another number, another tenant's, made up.
        stale(&json!({"app_id": "org.example", "status": "active"}), confirmation).await;
        let reason = json!({"dry_run": false, "confirmation": confirmation, "reason": "lost"});
        bulk(&idp, &filter, reason).await.problem("confirmation-stale");
        let parts: Vec<_> = confirmation.as_str().unwrap().split('.').collect();
        for forged in [
            format!("{}.100.{}", parts[0], parts[2]),
            format!("{}0.{}.{}", parts[0], parts[1], parts[2]),
            parts[..2].join("."),
            "x".to_owned(),
            String::new(),
        ] {
            stale(&filter, &json!(forged)).await;
        }
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        real_run(&stranger, &filter, confirmation).await.problem("confirmation-stale");
        // More match by now, of those that were there.
        app.clock.advance(1);
        let two = phone(&idp, "bob", "1.0", "i2").await;
        app.clock.advance(1);
        let suspended = json!({"status": "suspended"});
        let none = dry_run(&idp, &suspended).await;
        assert_eq!(none["matched"], 0);
        idp.post_empty(&format!("/v1/devices/{}/suspend", two.device_id())).await.ok(200);
        stale(&suspended, &none["confirmation"]).await;
        // What registered later is not touched; the rest is.
        let done = real_run(&idp, &filter, confirmation).await.ok(200);
        assert_eq!(ids(&done["revoked"]), sorted(&[&one]));
        assert_eq!(status(&idp, &two).await, "suspended");
        let late = dry_run(&idp, &filter).await;
        app.clock.advance(3_600);
        real_run(&idp, &filter, &late["confirmation"]).await.problem("confirmation-stale");
    })
    .await;
}

#[tokio::test]
async fn a_bulk_revocation_goes_in_portions_and_survives_being_broken_off() {
    both(async |app| {
        let idp = app.admin().await;
        // More than a portion: registered behind the server's back, from one that is real.
        let model = phone(&idp, "ada", "1.0", "i0").await;
        let copied = "id, tenant_id, user_id, name, platform, purpose, status, key_thumbprint, binding_id, binding, \
            push_channel, push, push_updated_at, created_at, activated_at, decision_id, app_id";
        for number in 1..=120 {
            let id = format!("01939b5e-7a2c-7def-8abc-{number:012x}");
            let select = copied.replacen("id,", &format!("{},", app.database.id(&id)), 1);
            let select = if app.database.db() == countersign_tests::Db::Postgres {
                select.replacen(&app.database.id(&id), &format!("{}::uuid", app.database.id(&id)), 1)
            } else {
                select
            };
            let model = app.database.id(&model.device_id());
            let sql = format!("INSERT INTO devices ({copied}) SELECT {select} FROM devices WHERE id = {model}");
            assert_eq!(app.database.tamper(&sql).await, 1);
        }
        app.database.tamper("UPDATE users SET device_count = 121").await;
        app.clock.advance(1);
        let filter = json!({"app_id": "org.example"});
        let seen = dry_run(&idp, &filter).await;
        assert_eq!((seen["matched"].as_u64(), ids(&seen["device_ids"]).len()), (Some(121), 50));
        app.clock.advance(1);
        let first = real_run(&idp, &filter, &seen["confirmation"]).await.ok(200);
        assert_eq!((ids(&first["revoked"]).len(), &first["remaining"]), (100, &json!(21)));
        // The reply is lost; whoever asked asks the same again.
        app.clock.advance(1);
        let second = real_run(&idp, &filter, &seen["confirmation"]).await.ok(200);
        assert_eq!((ids(&second["revoked"]).len(), &second["remaining"]), (21, &json!(0)));
        assert_eq!(app.database.number("SELECT count(*) FROM devices WHERE status <> 'revoked'").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_filter_that_means_everybody_or_breaks_a_rule_is_refused() {
    both(async |app| {
        let idp = app.admin().await;
        let device = phone(&idp, "ada", "1.0", "i1").await;
        bulk(&idp, &json!({}), json!({"dry_run": true})).await.invalid(&["/filter"]);
        let some = json!({"platform": "other"});
        bulk(&idp, &some, json!({"dry_run": false})).await.invalid(&["/confirmation"]);
        bulk(&idp, &some, json!({"dry_run": true, "confirmation": "x"})).await.invalid(&["/confirmation"]);
        for (body, pointer) in [
            (json!({"filter": some}), "/dry_run"),
            (json!({"filter": some, "dry_run": null}), "/dry_run"),
            (json!({"filter": {"platform": null}, "dry_run": true}), "/filter/platform"),
            (json!({"filter": {"platforms": "ios"}, "dry_run": true}), "/filter/platforms"),
            (json!({"filter": {"status": "revoked"}, "dry_run": true}), "/filter/status"),
            (json!({"filter": {"app_version_below": "v2"}, "dry_run": true}), "/filter/app_version_below"),
            (json!({"filter": {"inactive_for_days": 0}, "dry_run": true}), "/filter/inactive_for_days"),
            (json!({"filter": {"external_id": " ada"}, "dry_run": true}), "/filter/external_id"),
        ] {
            idp.post("/v1/devices/revoke", body).await.invalid(&[pointer]);
        }
        assert_eq!(status(&idp, &device).await, "active");
    })
    .await;
}

#[tokio::test]
async fn inactive_phones_are_found_as_of_the_dry_run() {
    both(async |app| {
        let idp = app.admin().await;
        let (busy, idle) = (idp.enroll("ada").await, idp.enroll("bob").await);
        app.clock.advance(20 * 86_400);
        idp.plain_challenge("ada").await;
        busy.approve(&busy.only_pending().await, None, None).await.unwrap();
        app.node().observe().await;
        let filter = json!({"inactive_for_days": 10});
        let seen = dry_run(&idp, &filter).await;
        assert_eq!(ids(&seen["device_ids"]), sorted(&[&idle]));
        app.clock.advance(1);
        let done = real_run(&idp, &filter, &seen["confirmation"]).await.ok(200);
        assert_eq!(ids(&done["revoked"]), sorted(&[&idle]));
    })
    .await;
}

#[tokio::test]
async fn all_registrations_of_an_installation_go_at_once_and_nobody_elses() {
    both(async |app| {
        let idp = app.admin().await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        let (ada, bob) = (phone(&idp, "ada", "1.0", "shared é").await, phone(&idp, "bob", "1.0", "shared é").await);
        let (other, theirs) = (phone(&idp, "ada", "1.0", "i2").await, phone(&stranger, "ada", "1.0", "shared é").await);
        let listed = idp.get("/v1/devices?installation_id=shared%20%C3%A9").await.ok(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        let path = "/v1/installations/shared%20%C3%A9";
        idp.delete(&format!("{path}?reason=boredom")).await.problem("invalid-request");
        let done = idp.delete(&format!("{path}?reason=lost")).await.ok(200);
        assert_eq!((ids(&done["revoked"]), &done["remaining"]), (sorted(&[&ada, &bob]), &json!(0)));
        let nothing = json!({"revoked": [], "remaining": 0});
        for again in [path, "/v1/installations/unknown", "/v1/installations/%07"] {
            assert_eq!(idp.delete(again).await.ok(200), nothing);
        }
        assert_eq!(status(&idp, &other).await, "active");
        assert_eq!(status(&stranger, &theirs).await, "active");
    })
    .await;
}

#[tokio::test]
async fn a_device_is_renamed_for_people() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let path = format!("/v1/devices/{}", phone.device_id());
        for _ in 0..2 {
            assert_eq!(patch(&idp, &path, json!({"name": "Küche"})).await.ok(200)["name"], "Küche");
        }
        assert_eq!(phone.fetch_self().await.unwrap().device.name, "Küche");
        let log = idp.get("/v1/events?limit=200").await;
        assert!(!log.text().contains("Küche"));
        assert_eq!(app.database.number("SELECT count(*) FROM events WHERE kind = 'device.renamed'").await, 1);
        for name in ["", "a\u{202e}b", &"x".repeat(65)] {
            patch(&idp, &path, json!({"name": name})).await.invalid(&["/name"]);
        }
        patch(&idp, &path, json!({})).await.invalid(&["/name"]);
        patch(&idp, &path, json!({"name": null})).await.invalid(&["/name"]);
        patch(&idp, &path, json!({"name": "a", "status": "active"})).await.invalid(&["/status"]);
        idp.delete(&path).await.ok(200);
        patch(&idp, &path, json!({"name": "b"})).await.problem("device-status-conflict");
    })
    .await;
}

async fn listed(idp: &ApiClient, path: &str) -> Vec<String> {
    let page = idp.get(path).await.ok(200);
    let mut all: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| text(item, "id").to_owned()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn devices_and_challenges_are_found_by_what_is_known_of_them() {
    both(async |app: &TestApp| {
        let idp = app.admin().await;
        app.change_policy(|policy| policy.dormant_after_days = Some(5)).await;
        let (ada, bob) = (phone(&idp, "ada", "1.0", "i1").await, phone(&idp, "bob", "2.0", "i1").await);
        let began = app.clock.time().to_string();
        app.clock.advance(10);
        let late = idp.enroll("ada").await;
        let user = ada.registration().user.id;
        assert_eq!(listed(&idp, &format!("/v1/devices?user_id={user}")).await, sorted(&[&ada, &late]));
        assert_eq!(listed(&idp, "/v1/devices?installation_id=i1").await, sorted(&[&ada, &bob]));
        assert_eq!(listed(&idp, &format!("/v1/devices?installation_id=i1&user_id={user}")).await, sorted(&[&ada]));
        assert_eq!(listed(&idp, "/v1/devices?app_id=org.example&status=active").await, sorted(&[&ada, &bob]));
        assert_eq!(listed(&idp, &format!("/v1/devices?created_after={began}")).await, sorted(&[&late]));
        assert!(listed(&idp, &format!("/v1/devices?created_before={began}")).await.is_empty());
        idp.get("/v1/devices?user_id=x").await.problem("invalid-request");
        idp.get("/v1/devices?app_id=%07").await.invalid(&["/app_id"]);

        let first = idp.plain_challenge("ada").await;
        ada.deny(&ada.pending_of(&first).await, None).await.unwrap();
        app.clock.advance(10);
        let second = idp.plain_challenge("ada").await;
        late.approve(&late.pending_of(&second).await, None, None).await.unwrap();
        let third = idp.plain_challenge("bob").await;
        idp.post_empty(&format!("{}/cancel", countersign_tests::path_of(&third))).await.ok(200);
        let one = |challenge: &Value| vec![text(challenge, "id").to_owned()];
        let by = |device: &Device| format!("/v1/challenges?device_id={}", device.device_id());
        assert_eq!(listed(&idp, &by(&ada)).await, one(&first));
        assert_eq!(listed(&idp, &by(&late)).await, one(&second));
        assert!(listed(&idp, &format!("{}&external_id=bob", by(&late))).await.is_empty());
        assert_eq!(listed(&idp, &format!("/v1/challenges?user_id={user}&status=denied")).await, one(&first));
        assert_eq!(listed(&idp, "/v1/challenges?reason=client").await, one(&third));
        let before = text(&second, "created_at");
        assert_eq!(listed(&idp, &format!("/v1/challenges?created_before={before}")).await, one(&first));
        app.clock.advance(6 * 86_400);
        let page = idp.get("/v1/devices").await.ok(200);
        assert!(page["items"].as_array().unwrap().iter().all(|device| device["dormant"] == true), "{page}");
    })
    .await;
}
