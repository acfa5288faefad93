//! A user's whole life but for its end (which is in `erasure.rs`): names, methods, timeline, search, export.

mod held;
mod inventory;
mod search;

use std::time::Duration;

use countersign::http::users::export::MAX_EXPORTS;
use countersign_proto::{
    evidence::{self, Evidence},
    jose::Jwks,
};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, TestApp, both, path_of, text};
use serde_json::{Value, json};

use crate::log;

#[tokio::test]
async fn a_display_name_is_changed_removed_and_shown_in_what_comes_after() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let user = format!("/v1/users/{}", phone.registration().user.id);
        let before = idp.plain_challenge("ada").await;
        let named = idp.patch(&user, json!({"display_name": "Ada Lovelace"})).await.ok(200);
        assert_eq!(named["display_name"], "Ada Lovelace");
        assert_eq!(idp.get(&user).await.ok(200), named);
        let after = idp.plain_challenge("ada").await;
        assert_eq!(after["user"]["display_name"], "Ada Lovelace");
        // What was signed before stays as it was signed.
        let shown = phone.pending_of(&before).await;
        assert_eq!(shown.claims().user.display_name, None);
        phone.approve(&shown, None, None).await.unwrap();
        assert_eq!(idp.show(&before).await["status"], "approved");

        assert_eq!(idp.patch(&user, json!({})).await.ok(200)["display_name"], "Ada Lovelace");
        assert_eq!(idp.patch(&user, json!({"display_name": ""})).await.ok(200).get("display_name"), None);
        idp.patch(&user, json!({"display_name": null})).await.invalid(&["/display_name"]);
        idp.patch(&user, json!({"display_name": "a\u{202e}b"})).await.invalid(&["/display_name"]);
        idp.patch(&user, json!({"display_name": "x".repeat(129)})).await.invalid(&["/display_name"]);
        idp.patch(&user, json!({"external_id": "eve"})).await.problem("invalid-request");
        let changes: Vec<Value> =
            log::events(&idp).await.into_iter().filter(|event| event["type"] == "user.changed").collect();
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes.iter().all(|event| event["data"] == json!({"changed": ["display_name"]})), "{changes:?}");
    })
    .await;
}

#[tokio::test]
async fn methods_say_what_the_next_challenge_would_find() {
    both(async |app| {
        let idp = app.admin().await;
        let support = app.client("users:read").await;
        let phone = idp.enroll("ada").await;
        let user = format!("/v1/users/{}/methods", phone.registration().user.id);
        let methods = async || support.get(&user).await.ok(200)["methods"].as_array().unwrap().clone();
        let only = methods().await.remove(0);
        assert_eq!((&only["type"], &only["state"]), (&json!("push"), &json!("pull_only")));
        assert_eq!((&only["device"]["id"], &only["update"]), (&json!(phone.device_id()), &json!("current")));
        assert_eq!(only["age_seconds"], 0);
        let waiting = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        idp.claim(&waiting, EnrollOptions::named("Second")).await;
        idp.post_empty(&format!("/v1/devices/{}/suspend", phone.device_id())).await.ok(200);
        let mut states: Vec<_> = methods().await.iter().map(|method| text(method, "state").to_owned()).collect();
        states.sort_unstable();
        assert_eq!(states, ["pending_confirmation", "suspended"]);
        idp.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        assert_eq!(methods().await.len(), 1, "what is revoked is no method");
        app.change_policy(|policy| policy.dormant_after_days = Some(1)).await;
        let bob = idp.enroll("bob").await;
        app.clock.advance(2 * 86_400);
        let bobs = format!("/v1/users/{}/methods", bob.registration().user.id);
        let method = &support.get(&bobs).await.ok(200)["methods"][0];
        assert_eq!((&method["state"], &method["risks"]), (&json!("dormant"), &json!(["dormant"])));
        support.get("/v1/users/nobody/methods").await.problem("not-found");
    })
    .await;
}

#[tokio::test]
async fn a_timeline_tells_what_happened_newest_first_in_pages() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        idp.enroll("bob").await;
        app.clock.advance(1);
        let approved = idp.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        app.clock.advance(1);
        let expired = idp.plain_challenge("ada").await;
        app.clock.advance(200);
        let waiting = idp.plain_challenge("ada").await;
        app.clock.advance(1);
        let user = format!("/v1/users/{}/timeline", phone.registration().user.id);
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let page = idp.get(&format!("{user}?limit=3{cursor}")).await.ok(200);
            seen.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let told: Vec<_> =
            seen.iter().take(3).map(|entry| (text(entry, "type"), text(entry, "challenge_id"))).collect();
        let wanted = [
            ("challenge.created", text(&waiting, "id")),
            ("challenge.expired", text(&expired, "id")),
            ("challenge.approved", text(&approved, "id")),
        ];
        assert_eq!(told, wanted);
        assert_eq!(seen[2]["device_id"], phone.device_id());
        assert!(seen[0].get("ended_at").is_none() && seen[1]["ended_at"] == expired["expires_at"]);
        let mut kinds: Vec<_> = seen[3..].iter().map(|entry| text(entry, "type")).collect();
        kinds.sort_unstable();
        let first_day = [
            "device.added",
            "device.confirmed",
            "enrollment.claimed",
            "enrollment.completed",
            "enrollment.created",
            "user.created",
        ];
        assert_eq!(kinds, first_day);
        assert!(seen[3..].iter().all(|entry| entry["actor"]["type"].is_string()), "{seen:?}");
        idp.get(&format!("{user}?cursor=nothing")).await.invalid(&["/cursor"]);
    })
    .await;
}

#[tokio::test]
async fn an_export_holds_all_that_is_held_and_says_when_it_is_whole() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", EnrollOptions::named("Ada's phone").with_uv_key()).await;
        let id = phone.registration().user.id;
        // More than one page of some.
        for round in 0..60 {
            let challenge = idp.plain_challenge("ada").await;
            if round % 2 == 0 {
                phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
            } else {
                idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
            }
        }
        let pending = idp.challenge("ada").await;
        let others = idp.enroll("bob").await;
        let path = format!("/v1/users/{id}/export");
        let few = app.client("users:read,devices:read").await.get(&path).await.problem("insufficient-scope");
        assert_eq!(few["required_scope"], "users:read and audit:read and devices:read");
        let export = app.client("users:read,audit:read,devices:read").await.get(&path).await;
        assert_eq!(export.header("content-type"), "application/json");
        let export = export.ok(200);
        assert_eq!((text(&export, "format"), &export["complete"]), ("countersign-user-export/1", &json!(true)));
        assert_eq!(export["user"]["external_id"], "ada");
        let list = |name: &str| export[name].as_array().unwrap().clone();
        assert_eq!(list("devices").len(), 1);
        assert_eq!(list("devices")[0]["keys"].as_array().unwrap().len(), 2);
        assert!(list("devices")[0]["binding"].is_string());
        assert!(list("devices")[0]["push_health"].is_object());
        assert_eq!(list("enrollments").len(), 1);
        assert_eq!(list("challenges").len(), 61);
        assert_eq!(list("challenges")[1]["deliveries"].as_array().unwrap().len(), 1);
        // The number of what waits is nobody's business, and nothing of others is in it.
        assert!(!export.to_string().contains(&format!("\"{}\"", text(&pending, "number"))));
        // As a whole text: in so many signatures any three letters are found sooner or later.
        assert!(!export.to_string().contains(&others.device_id()) && !export.to_string().contains("\"bob\""));
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let proven: Vec<Evidence> = list("challenges")
            .iter()
            .filter(|challenge| challenge["status"] == "approved")
            .map(|challenge| serde_json::from_value(challenge["evidence"].clone()).unwrap())
            .collect();
        assert_eq!(proven.len(), 30);
        for evidence in &proven {
            evidence::verify(evidence, &|kid| keys.find(kid)).unwrap();
        }
        assert!(list("events").iter().any(|event| event["type"] == "device.added"));
        // Sign-ins too, and nobody else's.
        assert_eq!(list("events").iter().filter(|event| event["type"] == "challenge.approved").count(), 30);
        assert!(list("events").iter().all(|event| event["user_id"] == json!(id)), "{export}");
        assert_eq!(log::kinds(&idp).await.iter().filter(|kind| *kind == "user.exported").count(), 1);
    })
    .await;
}

/// The end of an export that is whole.
const COMPLETE: &str = ",\"complete\":true}";

/// Somebody with a history, and where the export of it is.
async fn with_a_history(idp: &ApiClient, external_id: &str) -> String {
    let phone = idp.enroll(external_id).await;
    for _ in 0..30 {
        let challenge = idp.plain_challenge(external_id).await;
        idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
    }
    format!("/v1/users/{}/export", phone.registration().user.id)
}

/// Begins to read an export, and takes no more of it in than it asks for.
async fn read_slowly(client: &ApiClient, path: &str) -> reqwest::Response {
    let builder = reqwest::Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(1_024);
    let url = format!("{}{path}", client.http.base());
    builder.build().unwrap().get(url).bearer_auth(&client.key).send().await.unwrap()
}

/// All that comes, until it ends or breaks off.
async fn rest(mut reply: reqwest::Response) -> String {
    let mut all = Vec::new();
    while let Ok(Some(chunk)) = reply.chunk().await {
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn an_export_breaks_off_when_its_reader_or_its_person_is_gone() {
    both(async |app| {
        let admin = app.admin().await;
        for (name, is_erased) in [("ada", false), ("bob", true)] {
            let path = with_a_history(&admin, name).await;
            let reader = app.client("users:read,audit:read,devices:read").await;
            let whole = rest(read_slowly(&reader, &path).await).await;
            assert_eq!(whole.matches("\"push_status\"").count(), 30);
            assert!(whole.ends_with(COMPLETE));
            let mut slow = read_slowly(&reader, &path).await;
            slow.chunk().await.unwrap();
            match is_erased {
                true => assert_eq!(admin.delete(path.trim_end_matches("/export")).await.status, 204),
                false => app.revoke_client(&reader).await,
            }
            let rest = rest(slow).await;
            // What was on its way.
            assert!(rest.matches("\"push_status\"").count() < 10 && !rest.contains(COMPLETE), "{rest}");
        }
    })
    .await;
}

#[tokio::test]
async fn exports_that_nobody_reads_make_room() {
    let app = TestApp::start(countersign_tests::Db::Sqlite).await;
    let admin = app.admin().await;
    let path = with_a_history(&admin, "ada").await;
    let mut held = Vec::new();
    for _ in 0..MAX_EXPORTS {
        held.push(read_slowly(&admin, &path).await);
        assert_eq!(held.last().unwrap().status(), 200);
    }
    let refused = admin.get(&path).await;
    refused.problem("unavailable");
    assert!(!refused.header("retry-after").is_empty());
    // Each that is not read gives its place back, also one that is still reading its next page when time jumps.
    let wait = async {
        loop {
            app.clock.advance(31);
            let mut fresh = Vec::new();
            for _ in 0..MAX_EXPORTS {
                fresh.push(read_slowly(&admin, &path).await);
            }
            if fresh.iter().all(|reply| reply.status() == 200) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    for slow in held {
        assert!(!rest(slow).await.contains(COMPLETE));
    }
    app.finish().await;
}

#[tokio::test]
async fn a_user_of_another_organisation_looks_like_none() {
    let app = TestApp::start(countersign_tests::Db::Sqlite).await;
    let idp = app.admin().await;
    let stranger = app.client_of(&app.tenant("other").await, "admin").await;
    let id = idp.enroll("ada").await.registration().user.id.to_string();
    let unknown = "01939b5e-7a2c-7def-8abc-000000000001";
    let what = |reply: countersign_tests::Reply| {
        let mut document = reply.problem("not-found");
        document["request_id"] = json!("");
        (reply.status, document)
    };
    for path in ["", "/methods", "/timeline", "/export", "/devices"] {
        let foreign = what(stranger.get(&format!("/v1/users/{id}{path}")).await);
        assert_eq!(foreign, what(stranger.get(&format!("/v1/users/{unknown}{path}")).await));
        assert_eq!(foreign, what(stranger.get(&format!("/v1/users/none{path}")).await));
    }
    let change = json!({"display_name": "Eve"});
    assert_eq!(
        what(stranger.patch(&format!("/v1/users/{id}"), change.clone()).await),
        what(stranger.patch(&format!("/v1/users/{unknown}"), change).await)
    );
    assert_eq!(
        what(stranger.delete(&format!("/v1/users/{id}")).await),
        what(stranger.delete(&format!("/v1/users/{unknown}")).await)
    );
    assert_eq!(idp.get(&format!("/v1/users/{id}")).await.ok(200)["external_id"], "ada");
    app.finish().await;
}
