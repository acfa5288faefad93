//! What the program refuses to start with: quickly, by one clear line, without a secret in it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use countersign_tests::Db;

use crate::process::{Finished, Program};

/// A password that must appear nowhere.
const PASSWORD: &str = "canary-of-a-password";

/// Far more than a refusal takes, also on a machine that is busy with other tests; the promise is 2 s.
const MAX_MILLIS: u64 = 15_000;

/// One clear line, soon, that says this; and nothing on stdout.
#[track_caller]
fn refuses(finished: &Finished, with: &str) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "exactly one line: {}", finished.stderr);
    assert!(lines[0].starts_with("countersign: "), "{}", lines[0]);
    assert!(lines[0].contains(with), "expected {with:?} in {:?}", lines[0]);
    assert!(lines[0].len() < 400, "{}", lines[0]);
    assert!(!finished.stderr.contains(PASSWORD), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    assert!(finished.millis < MAX_MILLIS, "{} ms", finished.millis);
}

async fn serve_refuses(program: &Program, with: &str) {
    refuses(&program.run(&["serve"]).await, with);
}

#[tokio::test]
async fn settings_that_are_unknown_or_of_a_wrong_type_are_refused() {
    for (setting, value, with) in [
        ("server.lisen", "127.0.0.1:0", "lisen"),
        ("sever.listen", "127.0.0.1:0", "sever"),
        ("server.listen", "nowhere", "server.listen"),
        ("server.max_connections", PASSWORD, "server.max_connections"),
        ("server.tls_terminated_upstream", "maybe", "server.tls_terminated_upstream"),
        ("metrics.listen", "nowhere", "metrics.listen"),
        ("log.format", PASSWORD, "log.format"),
        ("log.filter", "countersign=loudly", "log.filter"),
        ("database.url", PASSWORD, "database.url"),
        ("server.public_url", "http://127.0.0.1/path", "server.public_url"),
        ("server.tls.certificate_file", "/nowhere.pem", "server.tls"),
    ] {
        serve_refuses(&Program::on(Db::Sqlite).await.set(setting, value), with).await;
    }
}

#[tokio::test]
async fn a_configuration_file_that_is_missing_broken_or_has_an_unknown_setting_is_refused() {
    let program = Program::on(Db::Sqlite).await;
    let file = program.database.file("countersign.toml");
    let path = file.to_str().unwrap();
    refuses(&program.run(&["serve", "--config", path]).await, path);
    fs::write(&file, format!("[database]\nurl = \"postgres://u:{PASSWORD}@\n")).unwrap();
    refuses(&program.run(&["serve", "--config", path]).await, "configuration");
    fs::write(&file, "[server]\nport = 1\n").unwrap();
    refuses(&program.run(&["serve", "--config", path]).await, "server.port");
}

#[tokio::test]
async fn a_taken_port_is_refused_and_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["server.listen", "metrics.listen"] {
        let finished = Program::on(Db::Sqlite).await.set(setting, &address).run(&["serve"]).await;
        refuses(&finished, setting);
        refuses(&finished, &address);
    }
}

#[tokio::test]
async fn plain_http_beyond_loopback_is_refused() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        serve_refuses(&Program::on(Db::Sqlite).await.set("server.listen", listen), "plain HTTP beyond loopback").await;
    }
}

#[tokio::test]
async fn a_key_file_that_cannot_be_trusted_or_used_is_refused_and_named() {
    type Spoil = fn(&Path);
    let ways: [(&str, Spoil); 4] = [
        ("accessible to others", |keys| fs::set_permissions(keys, fs::Permissions::from_mode(0o644)).unwrap()),
        ("damaged", |keys| fs::write(keys, "{").unwrap()),
        ("damaged", |keys| fs::write(keys, fs::read_to_string(keys).unwrap().replace("\"d\"", "\"e\"")).unwrap()),
        ("signing key file", |keys| {
            fs::remove_file(keys).unwrap();
            fs::create_dir(keys).unwrap();
            fs::set_permissions(keys, fs::Permissions::from_mode(0o700)).unwrap();
        }),
    ];
    for (with, spoil) in ways {
        let program = Program::on(Db::Sqlite).await;
        let keys = program.database.file("signing-keys.json");
        spoil(&keys);
        let finished = program.run(&["serve"]).await;
        refuses(&finished, with);
        refuses(&finished, keys.to_str().unwrap());
    }
}

#[tokio::test]
async fn on_postgresql_a_key_file_is_never_made_by_the_server() {
    let program = Program::on(Db::Postgres).await;
    let keys = program.database.file("signing-keys.json");
    fs::remove_file(&keys).unwrap();
    serve_refuses(&program, "does not exist").await;
    assert!(!keys.exists());
    serve_refuses(&program.set("signing.key_file", ""), "signing.key_file must be set").await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_refused_without_its_password() {
    // Bound, but nobody accepts or answers: closed when the port is dropped.
    let port = crate::process::free_port();
    let url = format!("postgres://countersign:{PASSWORD}@127.0.0.1:{port}/countersign");
    serve_refuses(&Program::on(Db::Sqlite).await.set("database.url", &url), "database").await;
    // A server that listens but is no PostgreSQL.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://countersign:{PASSWORD}@{}/countersign", silent.local_addr().unwrap());
    serve_refuses(&Program::on(Db::Sqlite).await.set("database.url", &url), "database").await;
    for url in [
        format!("postgres://countersign:{PASSWORD}@:notaport/x"),
        "sqlite://nowhere.db?mode=rubbish".to_owned(),
        format!("mysql://countersign:{PASSWORD}@127.0.0.1/x"),
    ] {
        let finished = Program::on(Db::Sqlite).await.set("database.url", &url).run(&["serve"]).await;
        refuses(&finished, "");
    }
}

#[tokio::test]
async fn a_wrong_database_password_is_refused_and_not_repeated() {
    let program = Program::on(Db::Postgres).await;
    let url = program.database.url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, server) = rest.rsplit_once('@').unwrap();
    let wrong = format!("{scheme}://countersign:{PASSWORD}@{server}");
    serve_refuses(&program.set("database.url", &wrong), "database").await;
}

#[tokio::test]
async fn a_database_from_the_future_is_refused() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        assert_eq!(program.json(&["migrate"]).await["migrated"], true);
        let future = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                      SELECT 9999, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        assert_eq!(program.database.tamper(future).await, 1);
        serve_refuses(&program, "future").await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let program = Program::on(Db::Sqlite).await;
    fs::write(program.database.sqlite_file(), "this is no database, whatever its name says".repeat(100)).unwrap();
    serve_refuses(&program, "database").await;
}

#[tokio::test]
async fn tls_files_that_are_missing_or_hold_something_else_are_refused_and_named() {
    let program = Program::on(Db::Sqlite).await;
    let (certificate, key) = (program.database.file("certificate.pem"), program.database.file("key.pem"));
    let program = program
        .set("server.tls.certificate_file", certificate.to_str().unwrap())
        .set("server.tls.private_key_file", key.to_str().unwrap());
    serve_refuses(&program, certificate.to_str().unwrap()).await;
    fs::write(&certificate, PASSWORD).unwrap();
    fs::write(&key, PASSWORD).unwrap();
    serve_refuses(&program, certificate.to_str().unwrap()).await;
}
