//! The restore drill: a backup is taken while everybody signs in, the database is lost, and the backup takes its place.
//!
//! What was acknowledged before the backup began is there afterwards: devices approve, evidence verifies, revoked devices
//! stay revoked. What the docs tell an operator to do is what is done here (`docs/operations.md`).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use countersign_tests::{ApiClient, Database, Db, path_of, postgres_program, text};
use tokio::process::Command;

use super::{
    CLIENTS, Ledger,
    load::{self, Random},
    program,
};
use crate::process::{Program, ServerProcess};

/// What was there before the backup began: flows that ended, and a phone that is used afterwards.
struct Before {
    ledger: Ledger,
    phone: countersign_tests::Device,
}

async fn before(client: &ApiClient) -> Before {
    let ledger = Ledger::default();
    let mut random = Random::new(7);
    for number in 0..6 {
        load::flow(client, &ledger, &mut random, &format!("before-{number}")).await.unwrap();
    }
    Before { ledger, phone: client.enroll("ada").await }
}

/// Sign-ins without end, from many at once, until the server is gone.
struct Load(Vec<tokio::task::JoinHandle<()>>);

impl Load {
    async fn begin(client: &ApiClient) -> Self {
        let ledger = Arc::new(Ledger::default());
        let run =
            |number| load::run(client.clone(), Arc::clone(&ledger), Random::new(number), format!("during-{number}"));
        let clients = (1..=CLIENTS).map(|number| tokio::spawn(run(number))).collect();
        ledger.until(CLIENTS).await;
        Self(clients)
    }

    async fn end(self, mut server: ServerProcess) {
        server.kill_9();
        for client in self.0 {
            client.await.unwrap();
        }
        server.finish().await;
    }
}

impl Before {
    /// Everything that was acknowledged holds, and life goes on with the phones that there are.
    async fn holds(&self, client: &ApiClient, database: &Database) {
        let violations = self.ledger.violations(client, database).await;
        assert!(violations.is_empty(), "{violations:#?}");
        let challenge = client.challenge("ada").await;
        let shown = self.phone.only_pending().await;
        self.phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(client.get(&path_of(&challenge)).await.ok(200)["status"], "approved");
        client.enroll("grace").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_sqlite_server_takes_the_place_of_a_lost_database() {
    let program = program(Db::Sqlite).await;
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let before = before(&client).await;
    let load = Load::begin(&client).await;
    let copy = program.database.file("backup.db");
    let written = program.json(&["backup", copy.to_str().unwrap()]).await;
    assert_eq!(written["size_bytes"], fs::metadata(&copy).unwrap().len());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!part(&copy).exists());
    // What is there is never overwritten.
    let again = program.run(&["backup", copy.to_str().unwrap()]).await;
    assert_eq!(again.code, Some(1));
    assert_eq!(again.stderr.lines().count(), 1, "{again:?}");
    load.end(server).await;

    let lost = program.database.sqlite_file();
    for suffix in ["", "-wal", "-shm"] {
        let mut name = lost.clone().into_os_string();
        name.push(suffix);
        drop(fs::remove_file(name));
    }
    fs::copy(&copy, &lost).unwrap();
    let server = program.serve().await;
    before.holds(&client, &program.database).await;
    let finished = server.stop().await;
    assert!(!finished.stderr.contains("\"alarm\""), "{}", finished.stderr);
}

fn part(copy: &Path) -> PathBuf {
    copy.with_extension("db.part")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_a_busy_postgresql_takes_the_place_of_a_lost_database() {
    let program = program(Db::Postgres).await;
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let before = before(&client).await;
    let load = Load::begin(&client).await;
    let dump = program.database.file("countersign.dump");
    // Ours is for the embedded database, and says so.
    let refused = program.run(&["backup", dump.to_str().unwrap()]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("docs/operations.md"), "{refused:?}");
    let (url, file) = (program.database.url(), dump.to_str().unwrap().to_owned());
    postgres("pg_dump", &["--format=custom", "--file", &file, "--dbname", &url]).await;
    load.end(server).await;

    let fresh = Database::create(Db::Postgres).await;
    let url = fresh.url();
    postgres("pg_restore", &["--exit-on-error", "--no-owner", "--dbname", &url, &file]).await;
    let program = program.set("database.url", &url);
    let server = program.serve().await;
    before.holds(&client, &fresh).await;
    let finished = server.stop().await;
    assert!(!finished.stderr.contains("\"alarm\""), "{}", finished.stderr);
}

async fn postgres(name: &str, arguments: &[&str]) {
    let mut command = Command::new(postgres_program(name));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(crate::process::PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_backup_that_cannot_be_is_refused_in_one_line_and_leaves_nothing() {
    let program = Program::on(Db::Sqlite).await;
    for (name, why) in [("no/such/folder/backup.db", "cannot write"), ("backup.db", "cannot copy")] {
        // There is no database yet.
        let finished = program.run(&["backup", name]).await;
        assert_eq!((finished.code, finished.stderr.lines().count()), (Some(1), 1), "{finished:?}");
        assert!(finished.stderr.contains(why), "{finished:?}");
        assert!(!program.database.file(name).exists());
    }
    // What another one writes, or has left, is not touched.
    let server = program.serve().await;
    fs::write(program.database.file("backup.db.part"), "half of it").unwrap();
    let finished = program.run(&["backup", "backup.db"]).await;
    assert!(finished.code == Some(1) && finished.stderr.contains("broke off"), "{finished:?}");
    fs::remove_file(program.database.file("backup.db.part")).unwrap();
    program.json(&["backup", "backup.db"]).await;
    // A file that is damaged is not called a backup.
    fs::write(program.database.file("damaged.db"), vec![0x55; 8_192]).unwrap();
    let damaged = format!("sqlite://{}", program.database.file("damaged.db").display());
    let program = program.set("database.url", &damaged);
    let finished = program.run(&["backup", "another.db"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for name in ["another.db", "another.db.part"] {
        assert!(!program.database.file(name).exists());
    }
    server.stop().await;
}
