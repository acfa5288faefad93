//! Erasing somebody (protocol 10.8): nothing that names the person is found anywhere afterwards, nobody acts for the
//! person any more, and what was proven before is still proven.

use countersign::worker;
use countersign_core::ports::users::EraseUserOutcome;
use countersign_proto::{
    evidence::{self, Evidence},
    jose::Jwks,
    push::PushBinding,
};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Database, Db, Device, TestApp, both, path_of, text};
use serde_json::{Value, json};

use crate::{
    canaries::{Cage, without_times},
    log,
    process::Program,
};

const ENDPOINT: &str = "https://push.example.org/canary-endpoint";

/// A phone of somebody whose every text is a canary.
async fn canary_phone(idp: &ApiClient, cage: &mut Cage) -> Device {
    for canary in ["canary-external-id", "Canary Display Name", "Canary Phone", "canary-model", "canary-installation"] {
        cage.watch(canary, canary);
    }
    let user = json!({"external_id": "canary-external-id", "display_name": "Canary Display Name"});
    let mut options = EnrollOptions::named("Canary Phone").with_uv_key();
    options.device.model = Some("canary-model".to_owned());
    options.device.installation_id = Some("canary-installation".to_owned());
    let enrollment = idp.create_enrollment(json!({"user": user})).await;
    cage.watch("ticket", text(&enrollment, "ticket"));
    let phone = idp.claim(&enrollment, options).await;
    let code = phone.registration().confirmation_code.clone().unwrap();
    idp.confirm(&enrollment, &code).await.ok(200);
    cage.watch("binding", &phone.fetch_self().await.unwrap().binding.unwrap());
    phone
}

/// A sign-in of that person, approved if `is_approved`, with a key for its repeat.
async fn canary_sign_in(idp: &ApiClient, phone: &Device, cage: &mut Cage, round: usize) -> Value {
    let body = json!({
        "user": {"external_id": "canary-external-id"}, "application": "canary-application",
        "message": "canary-message", "context": {"ip": "203.0.113.77", "location": "canary-location"},
        "details": [{"label": "canary-label", "value": "canary-value"}], "client_reference": "canary-reference",
    });
    let key = format!("canary-idempotency-{round}");
    let request = idp.request(reqwest::Method::POST, "/v1/challenges").header("Idempotency-Key", key).json(&body);
    let challenge = idp.send(request).await.ok(201);
    let shown = phone.pending_of(&challenge).await;
    cage.watch("challenge", shown.text());
    match round % 3 {
        0 => drop(phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap()),
        1 => drop(phone.deny(&shown, None).await.unwrap()),
        _ => {}
    }
    for canary in ["canary-application", "canary-message", "203.0.113.77", "canary-location", "canary-label"] {
        cage.watch(canary, canary);
    }
    for canary in ["canary-value", "canary-reference", "canary-idempotency"] {
        cage.watch(canary, canary);
    }
    challenge
}

/// Others, before and beside the person: rows that move when the person's go.
async fn crowd(idp: &ApiClient, names: &str, count: usize) {
    for number in 0..count {
        let user = format!("{names}-{number}");
        let phone = idp.enroll(&user).await;
        idp.plain_challenge(&user).await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    }
}

/// Every row of every table, as text.
async fn all_rows(database: &Database) -> String {
    let tables = match database.db() {
        Db::Postgres => "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
        Db::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    };
    let mut rows = String::new();
    for table in database.texts(tables).await {
        let columns = match database.db() {
            Db::Postgres => format!(
                "SELECT column_name::text FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name = '{table}'"
            ),
            Db::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
        };
        for column in database.texts(&columns).await {
            let cells = format!(r#"SELECT COALESCE(CAST("{column}" AS TEXT), '') FROM {table}"#);
            // An id's bytes are no text on SQLite.
            let cells = match database.db() {
                Db::Postgres => cells,
                Db::Sqlite => format!(
                    r#"SELECT CASE typeof("{column}") WHEN 'blob' THEN hex("{column}") ELSE COALESCE(CAST("{column}" AS TEXT), '') END FROM {table}"#
                ),
            };
            for cell in database.texts(&cells).await {
                rows.push_str(&format!("{table}.{column}: {cell}\n"));
            }
        }
    }
    rows
}

/// Every file of the database's folder, as text.
fn all_files(database: &Database) -> String {
    let mut files = String::new();
    for entry in std::fs::read_dir(database.file(".")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push_str(&format!(
                "{}:\n{}\n",
                path.display(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap())
            ));
        }
    }
    files
}

fn finds(cage: &Cage, text: &str) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cage.check("what is searched", text))).is_err()
}

#[tokio::test]
async fn no_canary_of_an_erased_person_is_in_a_table_a_file_or_the_log() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await.set("log.filter", "debug");
        let server = program.serve().await;
        let idp = program.client(&server, "admin").await;
        let mut cage = Cage::default();
        crowd(&idp, "before", 12).await;
        let phone = canary_phone(&idp, &mut cage).await;
        let user_id = phone.registration().user.id;
        for binding in [
            json!({"channel": "webpush", "endpoint": ENDPOINT, "p256dh": P256DH, "auth": AUTH}),
            json!({"channel": "none"}),
        ] {
            let binding: PushBinding = serde_json::from_value(binding).unwrap();
            phone.update_push(binding).await.unwrap();
        }
        for round in 0..9 {
            canary_sign_in(&idp, &phone, &mut cage, round).await;
            crowd(&idp, &format!("beside-{round}"), 2).await;
        }
        idp.patch(&format!("/v1/users/{user_id}"), json!({"display_name": "Canary Display Name 2"})).await.ok(200);
        cage.watch("endpoint", "canary-endpoint");
        assert!(finds(&cage, &all_rows(&program.database).await), "a search that finds nothing proves nothing");
        if db == Db::Sqlite {
            assert!(finds(&cage, &all_files(&program.database)));
        }
        let export = idp.get(&format!("/v1/users/{user_id}/export")).await.ok(200);
        assert_eq!(export["complete"], true);

        assert_eq!(idp.delete(&format!("/v1/users/{user_id}")).await.status, 204);
        cage.check("the tables", &all_rows(&program.database).await);
        if db == Db::Sqlite {
            // While the server runs: the write-ahead log, too.
            cage.check("the files", &all_files(&program.database));
        }
        // Searching took so long that the server has closed the connections of before.
        crowd(&program.client(&server, "admin").await, "after", 3).await;
        let finished = server.stop().await;
        cage.check("the log", &without_times(&finished.stderr));
        if db == Db::Sqlite {
            cage.check("the files, later", &all_files(&program.database));
        }
    }
}

const P256DH: &str = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM";
const AUTH: &str = "tBHItJI5svbpez7KI4CCXg";

#[tokio::test]
async fn an_erased_user_is_unknown_and_a_challenge_of_the_erased_is_gone() {
    both(async |app| {
        let idp = app.admin().await;
        let auditor = app.client("audit:read").await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        let phone = idp.enroll("ada").await;
        let user = format!("/v1/users/{}", phone.registration().user.id);
        let approved = idp.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        let evidence = idp.get(&format!("{}?include=evidence", path_of(&approved))).await.ok(200)["evidence"].clone();
        let pending = idp.challenge("ada").await;
        let open = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let waiting = idp.hold(&format!("{}?wait=50", path_of(&pending)));
        app.until_held(1).await;
        let shown = phone.only_pending().await;

        stranger.delete(&user).await.problem("not-found");
        app.client("users:read").await.delete(&user).await.problem("insufficient-scope");
        assert_eq!(idp.delete(&user).await.status, 204);
        idp.delete(&user).await.problem("not-found");
        let ended = waiting.await.unwrap();
        // Who held a read hears of the end, or already that it is gone.
        if ended.status == 200 {
            assert_eq!(
                (&ended.json()["status"], &ended.json()["reason"]),
                (&json!("cancelled"), &json!("user_erased"))
            );
        } else {
            ended.problem("erased");
        }
        for path in [user.clone(), format!("{user}/methods"), format!("{user}/timeline"), format!("{user}/export")] {
            idp.get(&path).await.problem("not-found");
        }
        idp.patch(&user, json!({"display_name": "Ada"})).await.problem("not-found");
        idp.get(&format!("/v1/devices/{}", phone.device_id())).await.problem("not-found");
        idp.get(&format!("/v1/enrollments/{}", text(&open, "id"))).await.problem("not-found");
        for challenge in [&approved, &pending] {
            for client in [&idp, &auditor] {
                client.get(&path_of(challenge)).await.problem("erased");
                client.get(&format!("{}/events", path_of(challenge))).await.problem("erased");
            }
            idp.post_empty(&format!("{}/cancel", path_of(challenge))).await.problem("erased");
            stranger.get(&path_of(challenge)).await.problem("not-found");
        }
        assert_eq!(idp.get("/v1/challenges").await.ok(200)["items"], json!([]));
        assert_eq!(idp.get("/v1/users").await.ok(200)["items"], json!([]));
        assert_eq!(idp.get("/v1/devices").await.ok(200)["items"], json!([]));
        // The phone is nobody's.
        let token = phone.sign_response(&shown, &countersign_simulator::phone::Answer::approve(None)).unwrap();
        phone.respond_with(text(&pending, "id"), &token).await.problem("invalid-device-signature");
        phone.get("/v1/device").await.problem("invalid-device-signature");

        // What was proven is proven, by whoever kept it.
        let keys: Jwks = serde_json::from_value(app.http.get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let evidence: Evidence = serde_json::from_value(evidence).unwrap();
        evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
        let kinds = log::kinds(&auditor).await;
        for kind in ["user.erased", "device.revoked", "challenge.cancelled", "enrollment.cancelled"] {
            assert_eq!(kinds.iter().filter(|found| *found == kind).count(), 1, "{kind}: {kinds:?}");
        }
        // The same name is somebody new.
        let again = idp.enroll("ada").await;
        assert_ne!(again.registration().user.id, phone.registration().user.id);
        idp.get(&user).await.problem("not-found");
        idp.plain_challenge("ada").await;
        again.approve(&again.only_pending().await, None, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_erasure_that_broke_off_is_finished_by_whoever_finds_it() {
    both(async |app| {
        let idp = app.admin().await;
        for (name, finishes_by_request) in [("ada", false), ("bob", true)] {
            let phone = idp.enroll(name).await;
            let challenge = idp.plain_challenge(name).await;
            phone.approve(&phone.only_pending().await, None, None).await.unwrap();
            let id = phone.registration().user.id;
            // The server dies after the first step.
            let (node, now) = (app.node().app(), app.node().app().now());
            let stamp =
                node.stamp(countersign_core::actor::Actor::Operator, idp.tenant_id.parse().unwrap(), "test", now);
            assert_eq!(node.store.erase_user(stamp, id).await, Ok(EraseUserOutcome::Begun));
            idp.get(&format!("/v1/users/{id}")).await.problem("not-found");
            phone.get("/v1/device").await.problem("device-not-active");
            match finishes_by_request {
                true => assert_eq!(idp.delete(&format!("/v1/users/{id}")).await.status, 204),
                false => worker::erase::round(node).await.unwrap(),
            }
            idp.get(&path_of(&challenge)).await.problem("erased");
            idp.delete(&format!("/v1/users/{id}")).await.problem("not-found");
            assert_eq!(app.database.number("SELECT count(*) FROM erasures").await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn an_erasure_that_cannot_be_finished_keeps_no_other_from_it() {
    let app = TestApp::start(Db::Sqlite).await;
    let idp = app.admin().await;
    let node = app.node().app();
    for name in ["ada", "bob", "carl"] {
        let id = idp.enroll(name).await.registration().user.id;
        let stamp =
            node.stamp(countersign_core::actor::Actor::Operator, idp.tenant_id.parse().unwrap(), "test", node.now());
        assert_eq!(node.store.erase_user(stamp, id).await, Ok(EraseUserOutcome::Begun));
    }
    // Somebody writes into the database what no server wrote.
    let first = "UPDATE erasures SET blanked_until = x'00' WHERE user_id = (SELECT min(user_id) FROM erasures)";
    app.database.tamper(first).await;
    worker::erase::round(node).await.unwrap();
    assert_eq!(app.database.number("SELECT count(*) FROM erasures").await, 1);
    app.database.tamper("UPDATE erasures SET blanked_until = NULL").await;
    worker::erase::round(node).await.unwrap();
    assert_eq!(app.database.number("SELECT count(*) FROM erasures").await, 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_read_of_an_erased_persons_device_ends() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let device = phone.clone();
        let held = tokio::spawn(async move { device.get("/v1/device/challenges?wait=50").await });
        app.until_held(1).await;
        assert_eq!(idp.delete(&format!("/v1/users/{}", phone.registration().user.id)).await.status, 204);
        let told = held.await.unwrap();
        // Woken by the first step: the phone is revoked, until its key is blank.
        match told.status {
            403 => assert_eq!(told.problem("device-not-active")["device_status"], "revoked"),
            _ => drop(told.problem("invalid-device-signature")),
        }
        phone.get("/v1/device/challenges").await.problem("invalid-device-signature");
        app.finish().await;
    }
}
