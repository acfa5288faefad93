//! What deployments lean on: the health check, the key file, the password file, the demo at a server that runs already.

use std::{fs, os::unix::fs::PermissionsExt as _};

use countersign_simulator::stand_in::system_clock;
use countersign_tests::{Db, providers::Providers};
use serde_json::json;

use crate::process::{Program, free_port};

#[tokio::test]
async fn the_health_check_tells_a_server_that_is_ready_from_one_that_is_down() {
    let port = free_port();
    let program = Program::on(Db::Sqlite).await.set("server.listen", &format!("127.0.0.1:{port}"));
    let down = program.run(&["health"]).await;
    assert_eq!((down.code, down.stderr.lines().count(), down.stdout.as_str()), (Some(1), 1, ""), "{down:?}");
    assert!(!program.database.sqlite_file().exists(), "it opens no database");

    let (server, waited) = tokio::join!(program.serve(), program.run(&["health", "--wait-seconds", "60"]));
    assert_eq!((waited.code, waited.stdout.as_str()), (Some(0), "ready\n"), "{waited:?}");
    let url = format!("http://127.0.0.1:{port}/readyz");
    assert_eq!(program.json(&["health"]).await, json!({"ready": true, "url": url}));
    server.stop().await;
    let stopped = program.run(&["health"]).await;
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    assert!(stopped.stderr.contains(&url), "{stopped:?}");
}

#[tokio::test]
async fn the_health_check_asks_through_tls_whatever_name_the_certificate_has() {
    let port = free_port();
    let program = Program::on(Db::Sqlite).await;
    let (certificate, key) = (program.database.file("certificate.pem"), program.database.file("key.pem"));
    let issued = rcgen::generate_simple_self_signed(vec!["approve.example".to_owned()]).unwrap();
    fs::write(&certificate, issued.cert.pem()).unwrap();
    fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let program = program
        .set("server.listen", &format!("127.0.0.1:{port}"))
        .set("server.tls.certificate_file", certificate.to_str().unwrap())
        .set("server.tls.private_key_file", key.to_str().unwrap());
    let server = program.serve().await;
    assert_eq!(program.run(&["health"]).await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn a_key_file_is_made_once_and_kept() {
    let program = Program::on(Db::Sqlite).await;
    let file = program.database.file("made/keys.json");
    let program = program.set("signing.key_file", file.to_str().unwrap());
    let made = program.json(&["keys", "create"]).await;
    assert_eq!((&made["created"], made["kids"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let kept = program.json(&["keys", "create"]).await;
    assert_eq!((&kept["created"], &kept["kids"]), (&json!(false), &made["kids"]));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(!program.run(&["keys", "create"]).await.stdout.contains("\"d\""), "private keys are not shown");
    fs::write(&file, "{}").unwrap();
    assert_eq!(program.run(&["keys", "create"]).await.code, Some(1), "what is there is never replaced");
}

#[tokio::test]
async fn a_password_may_be_in_a_file_of_its_own() {
    let program = Program::on(Db::Postgres).await;
    let url = program.database.url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (credentials, host) = rest.split_once('@').unwrap();
    let (user, password) = credentials.split_once(':').unwrap();
    let file = program.database.file("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let program = program
        .set("database.url", &format!("{scheme}://{user}@{host}"))
        .set("database.password_file", file.to_str().unwrap());
    assert_eq!(program.json(&["tenant", "list"]).await["tenants"].as_array().unwrap().len(), 1);
    fs::write(&file, "another").unwrap();
    let refused = program.run(&["tenant", "list"]).await;
    assert_eq!((refused.code, refused.stderr.lines().count()), (Some(1), 1), "{refused:?}");
    assert!(!refused.stderr.contains("another"), "{refused:?}");
}

#[tokio::test]
async fn the_demo_at_a_deployment_ends_in_an_approval_and_leaves_nothing_that_could_approve_or_ask() {
    for db in [Db::Sqlite, Db::Postgres] {
        let providers = Providers::start_by(system_clock()).await;
        let port = free_port();
        let program = Program::on(db)
            .await
            .ringing(&providers)
            .set("push.apns.main.environment", "sandbox")
            .set("server.listen", &format!("127.0.0.1:{port}"));
        let server = program.serve().await;
        let rings = [
            format!("apns={}", providers.apns.control_url()),
            format!("fcm={}", providers.fcm.control_url()),
            format!("webpush={}", providers.webpush.control_url()),
        ];
        let mut arguments = vec!["demo", "--deployment"];
        arguments.extend(rings.iter().flat_map(|ring| ["--ring", ring.as_str()]));
        for _ in 0..2 {
            let finished = program.run(&arguments).await;
            assert_eq!(finished.code, Some(0), "{finished:?}");
            for promised in ["rung by apns", "rung by fcm", "rung by webpush", "approved", "challenge "] {
                assert!(finished.stdout.contains(promised), "{promised:?} is not told:\n{}", finished.stdout);
            }
            assert!(!finished.stdout.contains("csk_"), "{}", finished.stdout);
        }
        let clients = program.json(&["api-client", "list", "--tenant", "demo"]).await;
        let clients = clients["api_clients"].as_array().unwrap().clone();
        assert!(clients.len() == 2 && clients.iter().all(|client| client["revoked"] == true), "{clients:?}");
        server.stop().await;

        let late = program.run(&["demo", "--deployment", "--ring", &rings[0], "--wait-seconds", "0"]).await;
        assert_eq!((late.code, late.stderr.lines().count()), (Some(1), 1), "{late:?}");
        providers.stop().await;
    }
}
