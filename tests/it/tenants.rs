//! Organisations: what their administrators set, what their operators allow, and what it means to be disabled.

use countersign::{config::Retention, worker};
use countersign_core::ports::tenants::{Quota, SetQuotas, SwitchTenantOutcome};
use countersign_simulator::phone::{Answer, EnrollOptions};
use countersign_tests::{Db, Reply, TestApp, both, path_of, text};
use serde_json::json;

use crate::{log, process::Program};

#[tokio::test]
async fn an_administrator_sets_what_is_the_organisations_own() {
    both(async |app| {
        let tenant = app.tenant("example").await;
        let admin = app.client_of(&tenant, "admin").await;
        let before = admin.get("/v1/tenant").await.ok(200);
        assert_eq!((&before["slug"], &before["settings_version"]), (&json!("example"), &json!(1)));
        assert_eq!((&before["retention"], &before["quotas"]["users"]), (&json!({}), &json!({"count": 0})));
        let change = json!({"name": "Example Ltd", "retention": {"challenge_days": 7}});
        let after = admin.patch("/v1/tenant", change).await.ok(200);
        assert_eq!((&after["name"], &after["retention"]), (&json!("Example Ltd"), &json!({"challenge_days": 7})));
        assert_eq!(after["settings_version"], 2);
        assert_eq!(admin.patch("/v1/tenant", json!({})).await.ok(200), after);
        let phone = admin.enroll("ada").await;
        assert_eq!(phone.fetch_self().await.unwrap().tenant.name, "Example Ltd");
        assert_eq!(admin.get("/v1/tenant").await.ok(200)["quotas"]["users"]["count"], 1);

        for (body, pointer) in [
            (json!({"name": ""}), "/name"),
            (json!({"name": null}), "/name"),
            (json!({"retention": {"challenge_days": 1}}), "/retention/challenge_days"),
            (json!({"retention": {"enrollment_days": 36_501}}), "/retention/enrollment_days"),
            (json!({"quotas": {"users": 9}}), "/quotas"),
            (json!({"slug": "another"}), "/slug"),
        ] {
            admin.patch("/v1/tenant", body).await.invalid(&[pointer]);
        }
        app.client_of(&tenant, "users:write").await.get("/v1/tenant").await.problem("insufficient-scope");
        // Nobody else's has changed.
        let other = app.admin().await.get("/v1/tenant").await.ok(200);
        assert_eq!((&other["settings_version"], &other["retention"]), (&json!(1), &json!({})));
        let events = log::events(&admin).await;
        let changes: Vec<_> = events.iter().filter(|event| event["type"] == "tenant.changed").collect();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0]["data"]["changed"], json!(["name", "retention"]));
    })
    .await;
}

#[tokio::test]
async fn an_organisation_forgets_what_it_keeps_for_less_long_and_no_other_does() {
    both(async |app| {
        let admin = app.client_of(&app.tenant("example").await, "admin").await;
        let other = app.admin().await;
        admin.patch("/v1/tenant", json!({"retention": {"challenge_days": 3, "enrollment_days": 2}})).await.ok(200);
        let mut challenges = Vec::new();
        for client in [&admin, &other] {
            let phone = client.enroll("ada").await;
            challenges.push(client.plain_challenge("ada").await);
            phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        }
        let forget = async || {
            let retention = Retention { challenge_days: 90, enrollment_days: 90 };
            worker::forget::round(app.node().app(), &retention).await.unwrap();
        };
        let enrollments = "SELECT count(*) FROM enrollments";
        app.clock.advance(2 * 86_400 + 60);
        forget().await;
        assert_eq!(admin.show(&challenges[0]).await["status"], "approved");
        assert_eq!(app.database.number(enrollments).await, 1);
        app.clock.advance(86_400);
        forget().await;
        admin.get(&path_of(&challenges[0])).await.problem("not-found");
        assert_eq!(other.show(&challenges[1]).await["status"], "approved");
    })
    .await;
}

#[tokio::test]
async fn a_quota_is_told_and_who_is_known_already_takes_no_place() {
    both(async |app| {
        let tenant = app.tenant("example").await;
        let admin = app.client_of(&tenant, "admin").await;
        let node = app.node().app();
        let stamp = node.stamp(countersign_core::actor::Actor::Operator, tenant.id, "test", node.now());
        let limits = vec![(Quota::Users, Some(1))];
        node.store.set_quotas(SetQuotas { stamp, limits }).await.unwrap();
        let invite = async |name: &str| admin.post("/v1/enrollments", json!({"user": {"external_id": name}})).await;
        invite("ada").await.ok(201);
        invite("ada").await.ok(201);
        let refused = invite("bob").await.problem("quota-exceeded");
        assert_eq!((&refused["quota"], &refused["limit"]), (&json!("users"), &json!(1)));
        let users = admin.get("/v1/users").await.ok(200);
        assert_eq!(users["items"].as_array().unwrap().len(), 1, "nothing of the refused is left");
        // An erasure makes room.
        let ada = text(&users["items"][0], "id");
        assert_eq!(admin.delete(&format!("/v1/users/{ada}")).await.status, 204);
        invite("bob").await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn enabling_revives_nothing_that_a_disable_which_died_has_left_waiting() {
    both(async |app| {
        let tenant = app.tenant("example").await;
        let admin = app.client_of(&tenant, "admin").await;
        let phone = admin.enroll("ada").await;
        let pending = admin.plain_challenge("ada").await;
        let shown = phone.only_pending().await;
        let enrollment = admin.create_enrollment(json!({"user": {"external_id": "bob"}})).await;
        let node = app.node().app();
        let stamp = node.stamp(countersign_core::actor::Actor::Operator, tenant.id, "test", node.now());
        assert_eq!(node.store.disable_tenant(stamp).await, Ok(SwitchTenantOutcome::Switched));
        assert_eq!(app.enable(&tenant).await, SwitchTenantOutcome::Switched);
        let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
        phone.respond_with(text(&pending, "id"), &token).await.problem("challenge-closed");
        assert_eq!(admin.show(&pending).await["reason"], "tenant_disabled");
        let path = format!("/v1/enrollments/{}", text(&enrollment, "id"));
        assert_eq!(admin.get(&path).await.ok(200)["status"], "cancelled");
        // Of one that is not disabled, nothing ends.
        let challenge = admin.plain_challenge("ada").await;
        assert_eq!(app.enable(&tenant).await, SwitchTenantOutcome::Already);
        assert_eq!(admin.show(&challenge).await["status"], "pending");
    })
    .await;
}

#[tokio::test]
async fn a_disabled_organisation_is_refused_everywhere_and_what_waited_has_ended() {
    both(async |app| {
        let tenant = app.tenant("example").await;
        let (admin, other) = (app.client_of(&tenant, "admin").await, app.admin().await);
        let phone = admin.enroll("ada").await;
        let neighbour = other.enroll("ada").await;
        let pending = admin.plain_challenge("ada").await;
        let shown = phone.only_pending().await;
        let enrollment = admin.create_enrollment(json!({"user": {"external_id": "bob"}})).await;
        let waiting = admin.hold(&format!("{}?wait=50", path_of(&pending)));
        let device = phone.clone();
        let inbox = tokio::spawn(async move {
            let etag = device.pending(0, None).await.unwrap().unwrap().etag;
            device.pending(50, etag.as_deref()).await.unwrap_err().to_string()
        });
        app.until_held(2).await;
        assert_eq!(app.disable(&tenant).await, SwitchTenantOutcome::Switched);

        waiting.await.unwrap().problem("unauthenticated");
        let told = inbox.await.unwrap();
        assert!(told.contains("tenant-disabled"), "{told}");
        admin.get("/v1/users").await.problem("unauthenticated");
        admin.post("/v1/challenges", json!({"user": {"external_id": "ada"}})).await.problem("unauthenticated");
        let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
        let disabled = |reply: Reply| drop(reply.problem("tenant-disabled"));
        disabled(phone.respond_with(text(&pending, "id"), &token).await);
        disabled(phone.get("/v1/device").await);
        disabled(phone.get("/v1/device/challenges").await);
        disabled(phone.get(&format!("/v1/device/challenges/{}", text(&pending, "id"))).await);
        let push = phone.claims_with(json!({"push": {"channel": "none"}}));
        let push = phone.sign(countersign_proto::jose::Kind::PushUpdate, &push).unwrap();
        disabled(app.http.artefact(reqwest::Method::PUT, "/v1/device/push", push).await);
        let leave = phone.sign(countersign_proto::jose::Kind::Deregistration, &phone.claims()).unwrap();
        disabled(app.http.artefact(reqwest::Method::POST, "/v1/device/deregistration", leave).await);
        let uri = countersign_simulator::phone::EnrollmentUri::parse(text(&enrollment, "enrollment_uri")).unwrap();
        let (server, surroundings) = admin.phones();
        let options = EnrollOptions::named("Phone");
        let refused =
            countersign_simulator::Phone::enroll_at(server.clone(), uri.ticket(), options, surroundings.clone()).await;
        assert!(refused.is_err(), "an invitation of a disabled organisation is none");
        // Whoever cannot sign learns nothing.
        let mut forged = phone.proof("GET", &format!("{}/v1/device", app.issuer())).unwrap();
        forged.truncate(forged.len() - 4);
        let request = app.http.request(reqwest::Method::GET, "/v1/device");
        let request = request.header("authorization", format!("DeviceProof {forged}AAAA"));
        app.http.send(request).await.problem("invalid-device-signature");

        // Nobody else notices, and public pages stay.
        other.plain_challenge("ada").await;
        neighbour.approve(&neighbour.only_pending().await, None, None).await.unwrap();
        app.http.get("/.well-known/jwks.json").await.ok(200);

        assert_eq!(app.enable(&tenant).await, SwitchTenantOutcome::Switched);
        let ended = admin.show(&pending).await;
        assert_eq!((&ended["status"], &ended["reason"]), (&json!("cancelled"), &json!("tenant_disabled")));
        let ended = admin.get(&format!("/v1/enrollments/{}", text(&enrollment, "id"))).await.ok(200);
        assert_eq!(ended["status"], "cancelled");
        assert!(phone.all_pending().await.is_empty());
        admin.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        let kinds = log::kinds(&admin).await;
        assert!(kinds.contains(&"tenant.disabled".to_owned()) && kinds.contains(&"tenant.enabled".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn operators_show_set_disable_and_enable_by_the_command_line() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let admin = program.client(&server, "admin").await;
        let set = ["tenant", "set", "default", "--max-users", "1", "--challenge-days", "9", "--display-name", "Us"];
        let shown = program.json(&set).await;
        assert_eq!((&shown["name"], &shown["retention"]), (&json!("Us"), &json!({"challenge_days": 9})));
        assert_eq!(shown["quotas"]["users"], json!({"count": 0, "limit": 1}));
        assert_eq!(program.json(&["tenant", "show", "default"]).await, shown);
        admin.enroll("ada").await;
        admin.post("/v1/enrollments", json!({"user": {"external_id": "bob"}})).await.problem("quota-exceeded");
        let set = ["tenant", "set", "default", "--max-users", "none", "--challenge-days", "none"];
        let shown = program.json(&set).await;
        assert_eq!((&shown["retention"], &shown["quotas"]["users"]), (&json!({}), &json!({"count": 1})));
        admin.post("/v1/enrollments", json!({"user": {"external_id": "bob"}})).await.ok(201);

        assert_eq!(program.json(&["tenant", "disable", "default"]).await["status"], "disabled");
        admin.get("/v1/users").await.problem("unauthenticated");
        assert!(program.json(&["tenant", "show", "default"]).await["disabled_at"].is_string());
        program.json(&["tenant", "disable", "default"]).await;
        assert_eq!(program.json(&["tenant", "enable", "default"]).await["status"], "enabled");
        admin.get("/v1/users").await.ok(200);
        for arguments in [
            &["tenant", "show", "nobody"][..],
            &["tenant", "disable", "nobody"],
            &["tenant", "set", "default", "--challenge-days", "1"],
        ] {
            let failed = program.run(arguments).await;
            assert_eq!(failed.code, Some(1), "{failed:?}");
        }
        assert_eq!(program.run(&["tenant", "set", "default", "--max-users", "many"]).await.code, Some(2));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_organisation_is_disabled_on_every_node() {
    let app = TestApp::start(Db::Postgres).await;
    let second = app.second_node().await;
    let tenant = app.tenant("example").await;
    let admin = app.client_of(&tenant, "admin").await;
    let phone = admin.enroll("ada").await;
    // The second node knows the key, and the challenge, from memory.
    let pending = admin.at(&second.http).plain_challenge("ada").await;
    let shown = phone.only_pending().await;
    phone.at(&second.http).get("/v1/device").await.ok(200);
    app.disable(&tenant).await;
    let token = phone.sign_response(&shown, &Answer::approve(None)).unwrap();
    phone.at(&second.http).respond_with(text(&pending, "id"), &token).await.problem("tenant-disabled");
    phone.at(&second.http).get("/v1/device").await.problem("tenant-disabled");
    admin.at(&second.http).get("/v1/users").await.problem("unauthenticated");
    second.stop().await;
    app.finish().await;
}
