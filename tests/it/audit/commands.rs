//! The commands of `docs/audit.md` and `docs/operations.md`, run as an operator runs them, beside a real server.

use std::fs;

use countersign_tests::{ApiClient, Db, path_of, text};
use serde_json::{Value, json};

use crate::process::{Program, free_port};

/// A program whose commands know the port, and so the issuer, of its server.
async fn program(db: Db) -> Program {
    Program::on(db).await.set("server.listen", &format!("127.0.0.1:{}", free_port()))
}

async fn sign_in(idp: &ApiClient, phone: &countersign_tests::Device) -> Value {
    let challenge = idp.challenge("ada").await;
    phone.approve(&phone.only_pending().await, Some(text(&challenge, "number")), None).await.unwrap();
    idp.show(&challenge).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_verifies_by_command_and_one_that_was_touched_does_not() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = program(db).await;
        let server = program.serve().await;
        let idp = program.client(&server, "admin").await;
        let phone = idp.enroll("ada").await;
        sign_in(&idp, &phone).await;
        let key = text(&program.json(&["audit", "show"]).await, "verifier_key").to_owned();
        let file = program.database.file("log.jsonl");
        let name = file.to_str().unwrap();
        let exported = program.run(&["audit", "export", "--evidence", "--output", name]).await;
        assert_eq!(exported.code, Some(0), "{exported:?}");
        let verified = program.json(&["audit", "verify", name, "--vkey", &key]).await;
        assert_eq!((&verified["good"], &verified["decisions"]["verified"]), (&json!(true), &json!(1)), "{verified}");
        let live = program.json(&["audit", "verify"]).await;
        assert_eq!(live["good"], true, "{live}");

        let good = fs::read_to_string(&file).unwrap();
        let spoilt = good.replacen("challenge.approved", "challenge.denied", 1);
        assert_ne!(good, spoilt);
        fs::write(&file, spoilt).unwrap();
        let refused = program.run(&["audit", "verify", name, "--vkey", &key, "--json"]).await;
        assert_eq!((refused.code, &refused.object()["good"]), (Some(1), &json!(false)), "{refused:?}");
        fs::write(&file, &good[..good.len() / 2]).unwrap();
        assert_eq!(program.run(&["audit", "verify", name]).await.code, Some(1), "broken off");
        let another = program.run(&["audit", "verify", name, "--vkey", &key.replace(char::is_numeric, "1")]).await;
        assert_eq!(another.code, Some(1), "{another:?}");

        let change = "UPDATE events SET kind = 'challenge.denied' WHERE kind = 'challenge.approved'";
        assert_eq!(program.database.tamper(change).await, 1);
        assert_eq!(program.run(&["audit", "verify"]).await.code, Some(1));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_is_refused_until_somebody_says_that_it_is_meant() {
    let program = program(Db::Sqlite).await;
    let folder = program.database.file("checkpoints");
    fs::create_dir(&folder).unwrap();
    let program = program.set("audit.checkpoint_folder", folder.to_str().unwrap());
    let server = program.serve().await;
    let idp = program.client(&server, "admin").await;
    let phone = idp.enroll("ada").await;
    let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"}, "ttl_seconds": 600});
    let waiting = idp.create_challenge(body).await;
    let backup = program.database.file("backup.db");
    program.json(&["backup", backup.to_str().unwrap()]).await;
    phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    idp.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
    // Sealed, and written where the backup does not reach.
    program.json(&["audit", "checkpoint"]).await;
    server.stop().await;

    let file = program.database.sqlite_file();
    for suffix in ["-wal", "-shm"] {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        drop(fs::remove_file(name));
    }
    fs::copy(&backup, &file).unwrap();
    let refused = program.run(&["serve"]).await;
    let lines: Vec<_> = refused.stderr.lines().filter(|line| line.starts_with("countersign:")).collect();
    assert_eq!((refused.code, lines.len()), (Some(1), 1), "{refused:?}");
    assert!(lines[0].contains("--accept-restored-database"), "{refused:?}");

    let server = program.serve_with(&["--accept-restored-database"]).await;
    let ended = idp.get(&path_of(&waiting)).await.ok(200);
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("cancelled"), &json!("database_restored")));
    // The phone is what it was when the backup was taken; whoever put it back is told to look at that.
    sign_in(&idp, &phone).await;
    let events = idp.get("/v1/events?limit=200").await.ok(200);
    let restored = events["items"].as_array().unwrap().iter().filter(|event| event["type"] == "database.restored");
    assert_eq!(restored.count(), 1);
    server.stop().await;
    // Once is enough.
    program.serve().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signing_key_is_rotated_and_revoked_beside_a_running_server() {
    let program = program(Db::Sqlite).await;
    let server = program.serve().await;
    let idp = program.client(&server, "admin").await;
    let phone = idp.enroll("ada").await;
    let first = program.json(&["keys", "list"]).await;
    let old = text(&first["keys"][0], "kid").to_owned();
    let next = program.json(&["keys", "rotate"]).await;
    assert_eq!(next["key"]["state"], "next");
    let again = program.run(&["keys", "rotate"]).await;
    assert_eq!((again.code, again.stderr.lines().count()), (Some(1), 1), "{again:?}");
    server.reload().await;
    let kid = text(&next["key"], "kid").to_owned();
    server.until_published(&kid).await;
    sign_in(&idp, &phone).await;

    let revoked = program.json(&["keys", "revoke", &old]).await;
    let successor = text(&revoked["key"], "kid").to_owned();
    assert_ne!(successor, kid, "the next one does not sign yet");
    server.reload().await;
    server.until_published(&successor).await;
    sign_in(&idp, &phone).await;
    let states = program.json(&["keys", "list"]).await;
    let states: Vec<_> = states["keys"].as_array().unwrap().iter().map(|key| text(key, "state").to_owned()).collect();
    assert_eq!(states, ["revoked", "next", "signing"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_written_anew_beside_a_running_server() {
    let program = program(Db::Sqlite).await;
    let server = program.serve().await;
    let idp = program.client(&server, "admin").await;
    let phone = idp.enroll("ada").await;
    for _ in 0..3 {
        sign_in(&idp, &phone).await;
    }
    let erased = idp.enroll("somebody-to-be-forgotten").await;
    assert_eq!(idp.delete(&format!("/v1/users/{}", erased.registration().user.id)).await.status, 204);
    program.json(&["vacuum"]).await;
    for suffix in ["", "-wal"] {
        let mut name = program.database.sqlite_file().into_os_string();
        name.push(suffix);
        let bytes = fs::read(name).unwrap_or_default();
        let needle = b"somebody-to-be-forgotten";
        assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{suffix}");
    }
    sign_in(&idp, &phone).await;
    // On a busy machine all of this may have happened before the sealer's first turn: a log without a checkpoint has
    // nothing to be verified by.
    program.json(&["audit", "checkpoint"]).await;
    assert_eq!(program.json(&["audit", "verify"]).await["good"], true);
    server.stop().await;
    let postgres = Program::on(Db::Postgres).await;
    let refused = postgres.run(&["vacuum"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("docs/operations.md"), "{refused:?}");
}
