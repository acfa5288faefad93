//! The commands, as processes beside a running server: one JSON object each, effective at once.

use std::fs;

use countersign_tests::{Db, text};
use serde_json::{Value, json};

use crate::process::{Finished, Program};

#[track_caller]
fn fails(finished: &Finished, with: &str) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert!(finished.stderr.contains(with), "{finished:?}");
}

#[tokio::test]
async fn tenants_are_made_and_listed_and_the_default_one_exists() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let made = program.json(&["tenant", "create", "--name", "example", "--display-name", "Example Ltd"]).await;
        assert_eq!((&made["slug"], &made["name"]), (&json!("example"), &json!("Example Ltd")));
        let listed = program.json(&["tenant", "list"]).await;
        let slugs: Vec<_> = listed["tenants"].as_array().unwrap().iter().map(|tenant| text(tenant, "slug")).collect();
        assert_eq!(slugs, ["default", "example"]);
        fails(&program.run(&["tenant", "create", "--name", "example"]).await, "already");
        fails(&program.run(&["tenant", "create", "--name", "No Slug"]).await, "--name");
        fails(&program.run(&["api-client", "list", "--tenant", "nobody"]).await, "nobody");
    }
}

#[tokio::test]
async fn an_api_client_works_at_once_and_is_refused_from_the_moment_its_revocation_returns() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "devices:read,audit:read").await;
        client.get("/v1/devices").await.ok(200);
        client.get("/v1/users").await.problem("insufficient-scope");

        let listed = program.json(&["api-client", "list"]).await;
        assert_eq!(listed["api_clients"][0]["client_id"], client.id);
        assert_eq!(listed["api_clients"][0]["revoked"], false);
        assert!(!listed.to_string().contains("csk_"), "a key is shown once");

        let revoked = program.json(&["api-client", "revoke", &client.id]).await;
        assert_eq!(revoked, json!({"client_id": client.id, "revoked": true}));
        client.get("/v1/devices").await.problem("unauthenticated");
        assert_eq!(program.json(&["api-client", "revoke", &client.id]).await, revoked, "a repeat is harmless");
        assert_eq!(program.json(&["api-client", "list"]).await["api_clients"][0]["revoked"], true);

        fails(&program.run(&["api-client", "revoke", "nobody"]).await, "nobody");
        fails(&program.run(&["api-client", "create", "--name", "x", "--scopes", "everything"]).await, "--scopes");
        fails(&program.run(&["api-client", "create", "--name", "x", "--scopes", ""]).await, "--scopes");
        server.stop().await;
    }
}

#[tokio::test]
async fn whoever_reads_the_first_lines_only_sees_no_panic() {
    let program = Program::on(Db::Sqlite).await;
    let mut command = program.command(&["policy", "show"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer);
    let finished = crate::process::run(command).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_policy_holds_for_the_next_challenge_and_not_for_the_one_before() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        client.enroll("ada").await;
        let before = client.challenge("ada").await;
        assert_eq!(before["verification"], json!({"mode": "enter", "digits": 6}));

        let mut policy = program.json(&["policy", "show"]).await;
        let version = policy["version"].as_u64().unwrap();
        let file = program.database.file("policy.json");
        let path = file.to_str().unwrap();
        policy["digits"] = json!(8);
        fs::write(&file, policy.to_string()).unwrap();
        assert_eq!(program.json(&["policy", "lint", path]).await["valid"], true);
        let set = program.json(&["policy", "set", path]).await;
        assert_eq!(set["version"], version + 1);
        assert_eq!(program.json(&["policy", "show"]).await, set);

        let after = client.challenge("ada").await;
        assert_eq!(after["verification"], json!({"mode": "enter", "digits": 8}));
        assert_eq!(text(&after, "number").len(), 8);
        assert_eq!(client.show(&before).await["verification"]["digits"], 6);

        fs::write(&file, json!({"verification_mode": "telepathy"}).to_string()).unwrap();
        fails(&program.run(&["policy", "lint", path]).await, path);
        fails(&program.run(&["policy", "set", path]).await, path);
        fs::write(&file, json!({"max_devices": 1}).to_string()).unwrap();
        fails(&program.run(&["policy", "lint", path]).await, "max_devices");
        assert_eq!(program.json(&["policy", "show"]).await, set, "a refused policy changes nothing");
        server.stop().await;
    }
}

#[tokio::test]
async fn settings_are_checked_and_shown_without_starting_anything() {
    let program = Program::on(Db::Sqlite).await;
    let checked = program.json(&["config", "check"]).await;
    assert_eq!(checked["valid"], true);
    assert!(!program.database.sqlite_file().exists(), "a check opens no database");
    let defaults = program.json(&["config", "defaults"]).await;
    assert!(text(&defaults, "toml").contains("[server]"));
    // What is printed for a person is a configuration file as it is.
    let file = program.database.file("defaults.toml");
    fs::write(&file, program.run(&["config", "defaults"]).await.stdout).unwrap();
    program.json(&["config", "check", "--config", file.to_str().unwrap()]).await;
    fails(&program.set("server.unknown", "1").run(&["config", "check"]).await, "server.unknown");
}

#[tokio::test]
async fn any_number_of_programs_may_start_on_an_empty_database_at_once() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let starters: Vec<_> =
            (0..6).map(|_| tokio::spawn(crate::process::run(program.command(&["migrate", "--json"])))).collect();
        for starter in starters {
            let finished = starter.await.unwrap();
            assert_eq!(finished.code, Some(0), "{db:?}: {finished:?}");
            assert_eq!(finished.object(), json!({"migrated": true}));
        }
        let tenants = program.json(&["tenant", "list"]).await;
        assert_eq!(tenants["tenants"].as_array().unwrap().len(), 1, "one default tenant");
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_code_2_and_help_with_0() {
    let program = Program::on(Db::Sqlite).await;
    assert_eq!(program.run(&["frobnicate"]).await.code, Some(2));
    assert_eq!(program.run(&["api-client", "create"]).await.code, Some(2));
    assert_eq!(program.run(&["--help"]).await.code, Some(0));
    assert_eq!(program.run(&["--version"]).await.code, Some(0));
}

#[tokio::test]
async fn a_command_line_phone_enrolls_lists_approves_denies_and_leaves() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let device = async |arguments: &[&str]| program.json(&[&["device"], arguments].concat()).await;

        let enrollment = client.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let enrolled = device(&["enroll", text(&enrollment, "enrollment_uri"), "--name", "Terminal", "--uv"]).await;
        assert_eq!(enrolled["status"], "pending_confirmation");
        client.confirm(&enrollment, text(&enrolled, "confirmation_code")).await.ok(200);
        let id = text(&enrolled, "device_id").to_owned();
        let mode = std::os::unix::fs::MetadataExt::mode(
            &fs::metadata(program.database.file(text(&enrolled, "keys_file"))).unwrap(),
        );
        assert_eq!(mode & 0o777, 0o600);

        let challenge = client.challenge("ada").await;
        let listed = device(&["list"]).await;
        assert_eq!(listed["devices"][0]["status"], "active");
        assert_eq!(listed["devices"][0]["challenges"][0]["id"], challenge["id"]);
        assert!(!listed.to_string().contains(text(&challenge, "number")), "in mode `enter` no device knows the number");
        let approve = |number: &'static str| ["approve", text(&challenge, "id"), "--number", number];
        let failed = program.run(&[&["device"][..], &approve("12")[..], &["--json"]].concat()).await;
        assert_eq!(failed.code, Some(1));
        assert_eq!(text(&failed.object()["problem"], "type").rsplit('/').next(), Some("invalid-request"));
        let approved = device(&["approve", text(&challenge, "id"), "--number", text(&challenge, "number")]).await;
        assert_eq!((&approved["status"], &approved["device_id"]), (&json!("approved"), &json!(id)));
        let shown = client.show(&challenge).await;
        assert_eq!(shown["status"], "approved");
        let amr: Vec<_> = shown["amr"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(amr.contains(&"mfa") && amr.contains(&"pin"), "{amr:?}");

        let challenge = client.challenge("ada").await;
        assert_eq!(device(&["deny", text(&challenge, "id"), "--reason", "not_me"]).await["status"], "denied");
        assert_eq!(client.show(&challenge).await["reason"], "not_me");

        // Somebody adds a device: the person sees it, and turns it off.
        let other = client.enroll("ada").await;
        let notices = device(&["notices"]).await;
        let notice = &notices["notices"][0];
        assert_eq!((&notice["type"], &notice["is_disputable"]), (&json!("device.added"), &json!(true)));
        assert_eq!(device(&["dispute", text(notice, "id")]).await["suspended"], true);
        let other = client.get(&format!("/v1/devices/{}", other.device_id())).await.ok(200);
        assert_eq!(other["status"], "suspended");

        assert_eq!(device(&["deregister"]).await["status"], "revoked");
        assert_eq!(client.get(&format!("/v1/devices/{id}")).await.ok(200)["status"], "revoked");
        assert_eq!(device(&["list"]).await, json!({"devices": []}), "the keys are forgotten");
        server.stop().await;
    }
}
