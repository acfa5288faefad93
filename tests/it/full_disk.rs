//! What goes on while SQLite's disk is full: access is taken away, by whatever operation does nothing else, and nothing
//! else is written. A folder in the place of the reserve stands for a disk without room for it; `countersign-proof disk`
//! fills a real one.

use std::{fs, path::PathBuf};

use countersign::http::operations;
use countersign_core::ports::tenants::SwitchTenantOutcome;
use countersign_proto::vocabulary::RevokeReason;
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Db, Device, TestApp, text};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::PATIENCE;

fn reserve(app: &TestApp) -> PathBuf {
    let mut path = app.database.sqlite_file().into_os_string();
    path.push("-reserve");
    path.into()
}

fn fill(app: &TestApp) {
    fs::remove_file(reserve(app)).unwrap();
    fs::create_dir(reserve(app)).unwrap();
}

async fn phone_of(idp: &ApiClient, user: &str, installation: &str) -> Device {
    let mut options = EnrollOptions::named("Phone");
    options.device.installation_id = Some(installation.to_owned());
    idp.enroll_with(user, options).await
}

fn device(phone: &Device) -> String {
    format!("/v1/devices/{}", phone.device_id())
}

fn user(phone: &Device) -> String {
    format!("/v1/users/{}", phone.registration().user.id)
}

/// Each operation that takes access away, asked about something of its own.
async fn prepare(idp: &ApiClient) -> Vec<(&'static str, Method, String, Value)> {
    let invitation = idp.create_enrollment(json!({"user": {"external_id": "invited"}})).await;
    let (suspended, revoked) = (idp.enroll("suspended").await, idp.enroll("revoked").await);
    let (reported, all) = (idp.enroll("reported").await, idp.enroll("all").await);
    let _installed = phone_of(idp, "installed", "lost").await;
    let _filtered = idp.enroll("filtered").await;
    let filter = json!({"external_id": "filtered"});
    let dry_run = idp.post("/v1/devices/revoke", json!({"filter": filter, "dry_run": true})).await.ok(200);
    let confirmation = &dry_run["confirmation"];
    let new_client = json!({"name": "lost", "scopes": ["users:read"]});
    let client = idp.post("/v1/api-clients", new_client).await.ok(201);
    let client = format!("/v1/api-clients/{}", text(&client, "id"));
    let key = idp.post(&format!("{client}/keys"), json!({})).await.ok(201);
    let nothing = Value::Null;
    vec![
        (
            "enrollments.cancel",
            Method::POST,
            format!("/v1/enrollments/{}/cancel", text(&invitation, "id")),
            nothing.clone(),
        ),
        ("users.report", Method::POST, format!("{}/report", user(&reported)), json!({})),
        ("users.revoke_all", Method::POST, format!("{}/devices/revoke-all", user(&all)), json!({})),
        ("devices.suspend", Method::POST, format!("{}/suspend", device(&suspended)), nothing.clone()),
        ("devices.revoke", Method::DELETE, device(&revoked), nothing.clone()),
        (
            "devices.revoke_many",
            Method::POST,
            "/v1/devices/revoke".to_owned(),
            json!({"filter": filter, "dry_run": false, "confirmation": confirmation}),
        ),
        ("installations.revoke", Method::DELETE, "/v1/installations/lost".to_owned(), nothing.clone()),
        ("api_clients.revoke_key", Method::DELETE, format!("{client}/keys/{}", text(&key, "id")), nothing.clone()),
        ("api_clients.revoke", Method::DELETE, client, nothing),
    ]
}

#[tokio::test]
async fn whatever_takes_access_away_goes_on_also_for_clients_that_sign() {
    let app = TestApp::start(Db::Sqlite).await;
    let (idp, signing) = (app.admin().await, app.proving_client("admin").await);
    let elsewhere = app.proving_client("challenges").await;
    let mut named: Vec<_> = operations::ALL
        .iter()
        .filter(|operation| operation.takes_access_away())
        .map(|operation| operation.id)
        .collect();
    named.sort_unstable();
    let (left, kept) = (idp.enroll("leaves").await, idp.enroll("kept").await);
    let challenge = idp.plain_challenge("kept").await;
    let shown = kept.only_pending().await;
    let disabled = app.tenant("disabled").await;
    let asks = prepare(&idp).await;
    fill(&app);
    let mut asked = Vec::new();
    for (id, method, path, body) in asks {
        let request = signing.request(method, &path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let done = signing.send(request).await;
        assert!((200..300).contains(&done.status), "{id}: {} {}", done.status, done.text());
        asked.push(id);
    }
    asked.sort_unstable();
    assert_eq!(asked, named, "each of them is asked here");
    left.deregister(Some(RevokeReason::Lost)).await.unwrap();
    assert_eq!(app.disable(&disabled).await, SwitchTenantOutcome::Switched);
    // What is kept is not for whoever may not revoke, however often it asks.
    let before = app.database.number("SELECT count(*) FROM client_proof_jtis").await;
    elsewhere.delete(&device(&kept)).await.problem("unavailable");
    assert_eq!(app.database.number("SELECT count(*) FROM client_proof_jtis").await, before);
    // Nobody gets in, and what is refused is refused for now.
    assert!(kept.approve(&shown, None, None).await.unwrap_err().is_problem("unavailable"));
    for refused in [
        idp.post("/v1/challenges", json!({"user": {"external_id": "kept"}})).await,
        idp.post("/v1/enrollments", json!({"user": {"external_id": "new"}})).await,
        signing.post("/v1/enrollments", json!({"user": {"external_id": "new"}})).await,
        signing.post_empty(&format!("{}/resume", device(&kept))).await,
        // Who reads the log is shown all of it, and what is new has no position yet.
        idp.get("/v1/events").await,
    ] {
        refused.problem("unavailable");
        assert_eq!(refused.header("retry-after"), "1");
    }
    assert_eq!(idp.show(&challenge).await["status"], "pending", "reading goes on");

    // With room again everything does, and the log has it all.
    fs::remove_dir(reserve(&app)).unwrap();
    let has_room = async {
        while idp.get("/v1/events").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, has_room).await.is_ok(), "refused for ever");
    let events = idp.get("/v1/events?limit=100").await.ok(200).to_string();
    for kind in ["device.revoked", "device.suspended", "device.deregistered", "api_client.key_revoked", "user.reported"]
    {
        assert!(events.contains(&format!("\"{kind}\"")), "{kind} is not in the log");
    }
    kept.approve(&shown, None, None).await.unwrap();
    app.finish().await;
}
