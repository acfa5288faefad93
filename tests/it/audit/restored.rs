//! An older database is put back: noticed at once under a running server, and at the next start.

use std::sync::Arc;

use countersign::{app, entropy::SystemEntropy};
use countersign_core::event::EventKind;
use countersign_tests::{Database, Db, TestApp, text};
use serde_json::json;

use super::{checkpoint, look_through, seal};

const TABLES: [&str; 5] = ["events", "audit_heads", "audit_tiles", "challenges", "deliveries"];

/// Keeps the log and the challenges as they are.
async fn back_up(database: &Database) {
    for table in TABLES.iter().chain(&["tenants", "users"]) {
        database.tamper(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
}

/// Puts them back.
async fn restore(database: &Database) {
    for table in TABLES {
        database.tamper(&format!("DELETE FROM {table}")).await;
        database.tamper(&format!("INSERT INTO {table} SELECT * FROM kept_{table}")).await;
    }
    for (table, column) in [("tenants", "event_head"), ("users", "pending_challenges")] {
        let old = format!("(SELECT {column} FROM kept_{table} WHERE kept_{table}.id = {table}.id)");
        database.tamper(&format!("UPDATE {table} SET {column} = COALESCE({old}, 0)")).await;
    }
    for table in TABLES.iter().chain(&["tenants", "users"]) {
        database.tamper(&format!("DROP TABLE kept_{table}")).await;
    }
}

/// Why another node on this database does not start.
async fn refusal(app: &TestApp) -> String {
    let mut settings = app.settings().clone();
    settings.server.listen.set_port(0);
    let (clock, entropy) = (Arc::new(app.clock.clone()), Arc::new(SystemEntropy::default()));
    let started = app::start(&settings, clock, entropy, None).await;
    started.err().map(|error| error.to_string()).unwrap_or_default()
}

fn files(database: &Database) -> Vec<String> {
    let folder = std::fs::read_dir(database.file("checkpoints")).unwrap();
    let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_database_that_is_put_back_is_noticed_and_started_only_when_that_is_meant() {
    for db in [Db::Sqlite, Db::Postgres] {
        // The folder is in the test's own, whose name is known only when the database is there.
        let app = TestApp::start(db).await;
        let folder = app.database.file("checkpoints");
        std::fs::create_dir(&folder).unwrap();
        let app = app.restart_with(|settings| settings.audit.checkpoint_folder = folder.clone()).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"}, "ttl_seconds": 600});
        let waiting = idp.create_challenge(body).await;
        seal(&app).await;
        back_up(&app.database).await;
        phone.approve(&phone.pending_of(&waiting).await, None, None).await.unwrap();
        let lost_one = idp.plain_challenge("ada").await;
        phone.deny(&phone.pending_of(&lost_one).await, None).await.unwrap();
        seal(&app).await;
        let (note, lost) = checkpoint(&idp).await;
        let name = format!("{}.checkpoint", idp.tenant_id);
        assert_eq!(std::fs::read_to_string(folder.join(&name)).unwrap(), note);

        restore(&app.database).await;
        // Under the running server: it has seen more than that.
        seal(&app).await;
        assert!(app.node().app().audit.is_halted());
        app.clock.advance(2);
        app.http.get("/readyz").await.problem("unavailable");
        idp.get("/v1/audit/checkpoint").await.problem("internal");
        app.http.take_failures();
        assert!(!look_through(&app, &[note]).await.is_good(), "the log lacks what the checkpoint was over");

        // A start refuses in one line that says what to do; nothing is changed by it.
        let refusal = refusal(&app).await;
        assert!(refusal.contains("--accept-restored-database") && !refusal.contains('\n'), "{refusal}");
        assert!(refusal.contains(&lost.size.to_string()) && refusal.contains(&idp.tenant_id), "{refusal}");
        let pending = "SELECT count(*) FROM challenges WHERE status = 'pending'";
        assert_eq!(app.database.number(pending).await, 1);

        let app = app.restart_with(|settings| settings.audit.accepts_restored_database = true).await;
        assert_eq!(app.database.number(pending).await, 0, "what waited may have been answered");
        seal(&app).await;
        let events = idp.get("/v1/events?limit=200").await.ok(200);
        let restored = events["items"].as_array().unwrap().iter().rev();
        let restored = restored.clone().find(|event| event["type"] == EventKind::DatabaseRestored.as_str()).unwrap();
        assert_eq!(restored["data"]["lost_size"], lost.size);
        assert_eq!(text(&restored["data"], "lost_root"), lost.root.to_string());
        let names = files(&app.database);
        assert!(names.iter().any(|name| name.contains(&format!(".lost-{}-", lost.size))), "{names:?}");
        assert!(names.contains(&name), "{names:?}");
        assert!(look_through(&app, &[]).await.is_good());
        // From now on it is this log that goes on, and another start needs no word.
        let app = app.restart_with(|settings| settings.audit.accepts_restored_database = false).await;
        idp.plain_challenge("ada").await;
        seal(&app).await;
        app.finish().await;
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_stops_nobody_and_one_of_another_server_is_refused() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let folder = app.database.file("checkpoints");
        std::fs::create_dir(&folder).unwrap();
        let app = app.restart_with(|settings| settings.audit.checkpoint_folder = folder.clone()).await;
        let idp = app.admin().await;
        std::fs::remove_dir_all(&folder).unwrap();
        idp.enroll("ada").await;
        seal(&app).await;
        let (note, _) = checkpoint(&idp).await;
        std::fs::create_dir(&folder).unwrap();
        seal(&app).await;
        assert_eq!(std::fs::read_to_string(folder.join(format!("{}.checkpoint", idp.tenant_id))).unwrap(), note);

        let stranger = note.replace("127.0.0.1", "127.0.0.2");
        std::fs::write(folder.join(format!("{}.checkpoint", idp.tenant_id)), stranger).unwrap();
        let refusal = refusal(&app).await;
        assert!(refusal.contains("not signed by this server's log key"), "{refusal}");
        app.finish().await;
    }
}
