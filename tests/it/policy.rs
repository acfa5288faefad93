//! What an organisation asks of approvals: set by administrators, tried before it is set, and held to by every challenge
//! that is made from then on.

use countersign_proto::jose::{Kind, claims::PolicyClaims};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Db, TestApp, both, text};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::Program;

async fn put(admin: &ApiClient, tag: &str, body: Value) -> countersign_tests::Reply {
    let request = admin.request(Method::PUT, "/v1/policy").header("if-match", tag).json(&body);
    admin.send(request).await
}

fn of_vpn(body: &Value) -> Value {
    let mut body = body.clone();
    body["user"] = json!({"external_id": "ada"});
    body["application"] = json!("VPN");
    body
}

#[tokio::test]
async fn a_policy_is_read_changed_as_a_whole_and_holds_for_the_next_challenge() {
    both(async |app| {
        let admin = app.admin().await;
        admin.enroll("ada").await;
        let first = admin.get("/v1/policy").await;
        assert_eq!(first.header("etag"), "\"1\"");
        let mut policy = first.ok(200);
        assert_eq!((&policy["version"], &policy["verification_floor"]), (&json!(1), &json!("none")));
        let before = admin.challenge("ada").await;

        policy["digits"] = json!(8);
        policy["verification_floor"] = json!("enter");
        let second = admin.put("/v1/policy", policy.clone()).await;
        assert_eq!(second.header("etag"), "\"2\"");
        assert_eq!(second.ok(200)["version"], 2);
        let after = admin.challenge("ada").await;
        assert_eq!((&after["verification"]["digits"], &after["policy"]["version"]), (&json!(8), &json!(2)));
        assert_eq!(admin.show(&before).await["policy"]["version"], 1, "what was made before is as it was");
        let weak = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"}});
        admin.post("/v1/challenges", weak.clone()).await.problem("below-policy-floor");

        // Absent members get their defaults. (Events of one millisecond come in any order.)
        app.clock.advance(1);
        assert_eq!(admin.put("/v1/policy", json!({})).await.ok(200)["digits"], 6);
        admin.post("/v1/challenges", weak).await.ok(201);
        // Every version stays readable.
        assert_eq!(admin.get("/v1/policy?version=2").await.ok(200)["digits"], 8);
        assert_eq!(admin.get("/v1/policy?version=1").await.ok(200)["digits"], 6);
        admin.get("/v1/policy?version=4").await.problem("not-found");
        app.sweep().await;
        let events = admin.get("/v1/events?limit=200").await.ok(200);
        let changed: Vec<_> =
            events["items"].as_array().unwrap().iter().filter(|event| event["type"] == "policy.changed").collect();
        assert_eq!(changed.len(), 2, "{events}");
        assert_eq!(changed[0]["data"]["changed"], json!(["digits", "verification_floor"]));
        assert_eq!(changed[0]["data"]["version"], 2);
    })
    .await;
}

#[tokio::test]
async fn of_two_administrators_the_later_is_told_and_overwrites_nothing() {
    both(async |app| {
        let (one, other) = (app.admin().await, app.admin().await);
        assert_eq!(put(&one, "\"1\"", json!({"digits": 8})).await.ok(200)["version"], 2);
        assert_eq!(
            put(&other, "\"1\"", json!({"digits": 7})).await.problem("policy-version-conflict")["policy_version"],
            2
        );
        let stale = other.put("/v1/policy", json!({"version": 1, "digits": 7})).await;
        assert_eq!(stale.problem("policy-version-conflict")["policy_version"], 2);
        assert_eq!(one.get("/v1/policy").await.ok(200)["digits"], 8);
        // From what is in force it can be changed again, by either way of saying so.
        assert_eq!(other.put("/v1/policy", json!({"version": 2, "digits": 7})).await.ok(200)["version"], 3);
        assert_eq!(put(&one, "\"2\", \"3\"", json!({})).await.ok(200)["version"], 4);
        assert_eq!(put(&one, "*", json!({})).await.ok(200)["version"], 5);
    })
    .await;
}

#[tokio::test]
async fn what_no_organisation_may_ask_is_refused_with_the_members_at_fault() {
    both(async |app| {
        let admin = app.admin().await;
        let wrong = json!({"digits": 9, "challenge_ttl_seconds": 5, "user_verification_methods": [],
            "risk": {"low": "refuse", "medium": "push", "high": "push"}});
        let pointers = ["/digits", "/challenge_ttl_seconds", "/user_verification_methods", "/risk"];
        admin.put("/v1/policy", wrong).await.invalid(&pointers);
        for unknown in [json!({"verification_flour": "enter"}), json!({"profile": "nist"}), json!({"profile": null})] {
            admin.put("/v1/policy", unknown).await.problem("invalid-request");
        }
        assert_eq!(admin.get("/v1/policy").await.ok(200)["version"], 1);
    })
    .await;
}

#[tokio::test]
async fn an_application_asks_for_more_than_its_organisation_and_never_for_less() {
    both(async |app| {
        let admin = app.admin().await;
        admin.enroll("ada").await;
        let path = "/v1/policy/applications/VPN";
        let stricter = json!({"digits": 8, "verification_floor": "enter", "challenge_ttl_seconds": 60});
        let set = admin.put(path, stricter.clone()).await;
        assert_eq!((set.header("etag"), set.ok(200)), ("\"2\"", stricter.clone()));
        assert_eq!(admin.get(path).await.ok(200), stricter);
        let vpn = admin.create_challenge(of_vpn(&json!({}))).await;
        assert_eq!((&vpn["verification"]["digits"], &vpn["policy"]["version"]), (&json!(8), &json!(2)));
        for weaker in [
            json!({"verification": {"mode": "none"}}),
            json!({"verification": {"mode": "choose"}}),
            json!({"verification": {"mode": "enter", "digits": 6}}),
            json!({"ttl_seconds": 61}),
        ] {
            admin.post("/v1/challenges", of_vpn(&weaker)).await.problem("below-policy-floor");
        }
        let elsewhere = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"}, "application": "vpn"});
        admin.post("/v1/challenges", elsewhere).await.ok(201);

        // The whole policy without `applications` leaves them; with it, it replaces them.
        let whole = admin.put("/v1/policy", json!({"digits": 7})).await.ok(200);
        assert_eq!(whole["applications"]["VPN"], stricter);
        let weaker = json!({"digits": 6, "lock_seconds": 60, "allow_push": true, "fast_approval": "allow"});
        admin.put("/v1/policy/applications/Mail%2FCalendar", weaker).await.invalid(&[
            "/digits",
            "/lock_seconds",
            "/fast_approval",
        ]);
        admin.put("/v1/policy/applications/Mail%2FCalendar", json!({"allow_push": false})).await.ok(200);
        let policy = admin.get("/v1/policy").await.ok(200);
        assert_eq!(policy["applications"]["Mail/Calendar"], json!({"allow_push": false}));
        admin.put("/v1/policy/applications/a%E2%80%AEb", json!({})).await.invalid(&["/name"]);

        let remove = admin.request(Method::DELETE, path).header("if-match", "\"1\"");
        admin.send(remove).await.problem("policy-version-conflict");
        assert_eq!(admin.delete(path).await.status, 204);
        assert_eq!(admin.delete(path).await.status, 204, "a repeat is harmless");
        admin.get(path).await.problem("not-found");
        admin.post("/v1/challenges", of_vpn(&json!({"verification": {"mode": "none"}}))).await.ok(201);
        assert_eq!(admin.put("/v1/policy", json!({"applications": {}})).await.ok(200).get("applications"), None);
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_which_rule_decides_and_changes_nothing() {
    both(async |app| {
        let admin = app.admin().await;
        let phone = admin.enroll("ada").await;
        admin.put("/v1/policy/applications/VPN", json!({"digits": 8, "verification_floor": "enter"})).await.ok(200);
        let dry = async |body: Value| admin.post("/v1/policy/dry-run", body).await.ok(200);

        let plain = dry(json!({})).await;
        assert_eq!((&plain["outcome"], &plain["push"]), (&json!("created"), &json!("ring")));
        assert_eq!(plain["decided_by"]["verification_mode"], "tenant");
        let vpn = dry(json!({"application": "VPN", "ttl_seconds": 60, "risk": {"level": "high"},
            "user": {"external_id": "ada"}}))
        .await;
        assert_eq!(vpn["verification"], json!({"mode": "enter", "digits": 8}));
        assert_eq!((&vpn["push"], &vpn["user"]["eligible_devices"]), (&json!("pull_only"), &json!(1)));
        assert_eq!(
            vpn["decided_by"],
            json!({"verification_mode": "tenant", "digits": "application", "user_verification": "tenant",
                "ttl_seconds": "request", "push": "risk"})
        );
        let refused = dry(json!({"application": "VPN", "verification": {"mode": "choose"}})).await;
        assert_eq!(
            (&refused["outcome"], &refused["problem"]["slug"]),
            (&json!("refused"), &json!("below-policy-floor"))
        );
        // A policy that is not in force.
        let tried = json!({"policy": {"profile": "nist-800-63b-4"}, "verification": {"mode": "none"}});
        let tried = dry(tried).await;
        assert_eq!(
            (&tried["problem"]["slug"], &tried["policy"]["profile"]),
            (&json!("below-policy-floor"), &json!("nist-800-63b-4"))
        );
        let uv = json!({"user": {"external_id": "ada"}, "user_verification": "required"});
        let uv = dry(uv).await;
        assert_eq!((&uv["outcome"], &uv["problem"]["slug"]), (&json!("refused"), &json!("no-eligible-device")));
        let nobody = dry(json!({"user": {"external_id": "nobody"}})).await;
        assert_eq!((&nobody["user"], &nobody["outcome"]), (&json!({"eligible_devices": 0}), &json!("refused")));
        admin.post("/v1/policy/dry-run", json!({"policy": {"digits": 1}})).await.invalid(&["/policy/digits"]);
        admin.post("/v1/policy/dry-run", json!({"application": ""})).await.invalid(&["/application"]);

        // What it says is what happens.
        let body = of_vpn(&json!({"ttl_seconds": 60, "risk": {"level": "high"}}));
        let made = admin.create_challenge(body).await;
        assert_eq!((&made["verification"], &made["policy"]), (&vpn["verification"], &vpn["policy"]));
        assert_eq!(phone.all_pending().await.len(), 1, "nothing else was made");
        assert_eq!(admin.get("/v1/policy").await.ok(200)["version"], 2);
    })
    .await;
}

#[tokio::test]
async fn a_client_with_a_list_asks_approvals_for_what_is_in_it_only() {
    both(async |app| {
        let admin = app.admin().await;
        admin.enroll("ada").await;
        let client = app.client_for("challenges", &["VPN", "Mail"]).await;
        client.create_challenge(of_vpn(&json!({}))).await;
        let of = |application: Value| {
            let mut body = of_vpn(&json!({}));
            body["application"] = application;
            body
        };
        client.create_challenge(of(json!("Mail"))).await;
        for other in ["vpn", "Payroll", "VPN "] {
            client.post("/v1/challenges", of(json!(other))).await.problem("application-not-allowed");
        }
        let unnamed = json!({"user": {"external_id": "ada"}});
        client.post("/v1/challenges", unnamed.clone()).await.problem("application-not-allowed");
        admin.post("/v1/challenges", unnamed).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn a_device_is_told_signed_what_its_organisation_asks_and_whether_it_is_too_old() {
    both(async |app| {
        let admin = app.admin().await;
        let mut options = EnrollOptions::named("Phone");
        options.device.app_version = Some("2.0.9".to_owned());
        options.device.os_version = Some("nightly".to_owned());
        let phone = admin.enroll_with("ada", options).await;
        let platform =
            text(&admin.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200), "platform").to_owned();

        let first = phone.get("/v1/device/policy").await;
        let tag = first.header("etag").to_owned();
        let reply = first.ok(200);
        assert_eq!(reply["update"], "current");
        let token = text(&reply, "policy");
        let now = app.clock.time();
        let jwks = app.phones().keys_for(Kind::Policy, token, now).await.unwrap();
        let read =
            |token: &str| countersign_proto::jose::verify_server::<PolicyClaims>(token, &|kid| jwks.find(kid)).unwrap();
        let claims = read(token);
        assert_eq!((claims.aud.as_str(), claims.version, claims.modes.len()), (phone.device_id().as_str(), 1, 4));
        assert_eq!((claims.iss.as_str(), claims.exp - claims.iat), (app.issuer(), 86_400));
        assert_eq!(phone.pending(0, None).await.unwrap().unwrap().challenges.len(), 0);

        let asked = json!({"verification_floor": "enter", "user_verification_methods": ["pin"], "device_requirements":
            {"user_verification_key": true, "minimum_app_versions": {platform.clone(): "2.1"}}});
        admin.put("/v1/policy", asked).await.ok(200);
        let with_tag = async |tag: &str| {
            let url = format!("{}/v1/device/policy", app.issuer());
            let request = app.http.request(Method::GET, "/v1/device/policy").header("if-none-match", tag);
            app.http.send(request.header("authorization", phone.proof("GET", &url).unwrap())).await
        };
        let second = with_tag(&tag).await;
        let new_tag = second.header("etag").to_owned();
        let reply = second.ok(200);
        assert_eq!(reply["update"], "update_required");
        let claims = read(text(&reply, "policy"));
        assert_eq!((claims.minimum_app_version.as_deref(), claims.minimum_os_version), (Some("2.1"), None));
        assert!(claims.user_verification_key_required && claims.user_verification_methods.unwrap().len() == 1);
        assert_eq!(with_tag(&new_tag).await.status, 304);
        assert_eq!(phone.get("/v1/device/challenges").await.ok(200)["update_required"], true);
        // Its app is brought up to date, and tells so.
        let told = |version: &str| phone.claims_with(json!({"push": {"channel": "none"}, "app_version": version}));
        for (version, update) in [("2.1", "current"), ("2.0.8", "update_required")] {
            let token = phone.sign(Kind::PushUpdate, &told(version)).unwrap();
            app.http.artefact(Method::PUT, "/v1/device/push", token).await.ok(200);
            let reply = with_tag(&new_tag).await;
            assert_eq!((reply.status, &reply.json()["update"]), (200, &json!(update)), "what it was told is over");
            app.clock.advance(1);
        }
        // It still works: it is told, not turned off.
        let challenge = admin.challenge("ada").await;
        let shown = phone.only_pending().await;
        phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        // Long before the token ends it gets another one.
        app.clock.advance(43_200);
        assert_eq!(with_tag(&new_tag).await.status, 200);

        // A version that nobody can compare is unknown: neither an error nor too old.
        let unknown = json!({"device_requirements": {"minimum_os_versions": {platform: "17"}}});
        admin.put("/v1/policy", unknown).await.ok(200);
        assert_eq!(phone.get("/v1/device/policy").await.ok(200)["update"], "unknown");
        assert_eq!(phone.get("/v1/device/challenges").await.ok(200).get("update_required"), None);
    })
    .await;
}

#[tokio::test]
async fn the_command_line_sets_lints_and_tries_policies_by_the_same_rules() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let write = |name: &str, content: Value| {
            let file = program.database.file(name);
            std::fs::write(&file, content.to_string()).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let file = write("policy.json", json!({"applications": {"VPN": {"digits": 8}}}));
        let linted = program.json(&["policy", "lint", &file]).await;
        assert_eq!(linted["valid"], true);
        assert!(linted["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()), "{linted}");
        assert_eq!(program.json(&["policy", "set", &file, "--expect-version", "1"]).await["version"], 2);
        let stale = program.run(&["policy", "set", &file, "--expect-version", "1"]).await;
        assert!(stale.code == Some(1) && stale.stderr.contains("version 2 is in force"), "{stale:?}");
        // A file without applications leaves them.
        let file = write("policy.json", json!({"digits": 7}));
        let set = program.json(&["policy", "set", &file]).await;
        assert_eq!((&set["version"], &set["applications"]["VPN"]["digits"]), (&json!(3), &json!(8)));
        assert_eq!(program.json(&["policy", "show", "--version", "1"]).await["digits"], 6);
        let never = program.run(&["policy", "show", "--version", "9"]).await;
        assert_eq!(never.code, Some(1), "{never:?}");

        let asked = write("asked.json", json!({"application": "VPN", "user": {"external_id": "nobody"}}));
        let dry = program.json(&["policy", "dry-run", &asked]).await;
        assert_eq!((&dry["verification"]["digits"], &dry["outcome"]), (&json!(8), &json!("refused")));
        let dry = program.json(&["policy", "dry-run", &asked, "--policy", &file]).await;
        assert_eq!((&dry["verification"]["digits"], &dry["decided_by"]["digits"]), (&json!(7), &json!("tenant")));
        let wrong = write("wrong.json", json!({"challenge_ttl_seconds": 9999}));
        let wrong = program.run(&["policy", "set", &wrong]).await;
        assert!(wrong.code == Some(1) && wrong.stderr.contains("/challenge_ttl_seconds"), "{wrong:?}");
    }
}

#[tokio::test]
async fn nobody_but_an_administrator_changes_a_policy() {
    let app = TestApp::start(Db::Sqlite).await;
    let auditor = app.client("audit:read").await;
    auditor.get("/v1/policy").await.ok(200);
    auditor.put("/v1/policy", json!({})).await.problem("insufficient-scope");
    auditor.post("/v1/policy/dry-run", json!({})).await.problem("insufficient-scope");
    for scopes in ["challenges", "enrollments", "users:write", "devices:write"] {
        app.client(scopes).await.get("/v1/policy").await.problem("insufficient-scope");
    }
    app.finish().await;
}
