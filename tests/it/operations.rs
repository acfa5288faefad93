//! What an operator sees of a running server: health, logs, metrics, and a stop that loses nothing.

use countersign_tests::{Db, path_of, text};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Program, ServerProcess};

async fn get(url: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let reply = client.get(url).send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn health(server: &ServerProcess, path: &str) -> u16 {
    get(&format!("{}{path}", server.issuer)).await.0
}

/// Waits until `/readyz` answers so: what it found last is repeated for a second.
async fn until_readiness(server: &ServerProcess, status: u16) {
    let wait = async {
        while health(server, "/readyz").await != status {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never {status}: {}", server.logs());
}

#[tokio::test]
async fn a_server_whose_database_refuses_writes_lives_but_is_not_ready_until_it_recovers() {
    for (db, breaking, mending) in [
        (
            Db::Sqlite,
            vec!["CREATE TRIGGER broken BEFORE UPDATE ON installation BEGIN SELECT RAISE(ABORT, 'disk full'); END"],
            vec!["DROP TRIGGER broken"],
        ),
        (
            // As a replica that a fail-over has left behind.
            Db::Postgres,
            vec![
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
                 current_database()); END $$",
                DISCONNECT,
            ],
            vec![
                "START TRANSACTION READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET \
                 default_transaction_read_only', current_database()); END $$; COMMIT",
                DISCONNECT,
            ],
        ),
    ] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        assert_eq!((health(&server, "/healthz").await, health(&server, "/readyz").await), (200, 200));
        for sql in breaking {
            program.database.tamper(sql).await;
        }
        until_readiness(&server, 503).await;
        assert_eq!(health(&server, "/healthz").await, 200, "{db:?}: to restart it would not help");
        for sql in mending {
            program.database.tamper(sql).await;
        }
        until_readiness(&server, 200).await;
        server.stop().await;
    }
}

const DISCONNECT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn a_database_that_was_migrated_by_a_newer_program_is_no_longer_ready() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let future = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                      SELECT 9999, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        program.database.tamper(future).await;
        until_readiness(&server, 503).await;
        assert_eq!(health(&server, "/healthz").await, 200);
        server.stop().await;
    }
}

#[tokio::test]
async fn metrics_have_a_listener_of_their_own_and_name_operations_not_paths() {
    let program = Program::on(Db::Sqlite).await;
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let phone = client.enroll("ada").await;
    client.get(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
    client.plain_challenge("ada").await;
    client.http().get("/v1/nothing-here").await.problem("not-found");

    let metrics = server.metrics().await;
    for line in [
        "countersign_http_requests_total{operation=\"devices.show\",status=\"200\"} 1",
        "countersign_http_requests_total{operation=\"enrollments.create\",status=\"201\"} 1",
        "countersign_problems_total{type=\"not-found\"} 1",
        // What held for it.
        "countersign_challenges_created_total{mode=\"none\",profile=\"none\"} 1",
    ] {
        assert!(metrics.lines().any(|metric| metric == line), "{line} is not in:\n{metrics}");
    }
    // Paths and ids are no labels: anybody could make as many as there is memory.
    assert!(!metrics.contains("nothing-here") && !metrics.contains(&phone.device_id()), "{metrics}");
    assert!(!metrics.contains("/v1"), "{metrics}");

    assert_eq!(client.http().get("/metrics").await.status, 404, "the public never sees metrics");
    let elsewhere = server.metrics.clone().unwrap().replace("/metrics", "/v1/challenges");
    assert_eq!(get(&elsewhere).await.0, 404, "and their listener serves nothing else");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_makes_the_server_speak_tls_and_nothing_else() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let program = Program::on(Db::Sqlite).await;
    let (certificate, key) = (program.database.file("certificate.pem"), program.database.file("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let program = program
        .set("server.tls.certificate_file", certificate.to_str().unwrap())
        .set("server.tls.private_key_file", key.to_str().unwrap())
        // What is refused in plain HTTP.
        .set("server.listen", "0.0.0.0:0")
        .set("server.public_url", "https://approve.example");
    let server = program.serve().await;
    assert_eq!(server.issuer, "https://approve.example");
    let port = server.port();

    let trusted = reqwest::Certificate::from_pem(certified.cert.pem().as_bytes()).unwrap();
    let client =
        |roots: Vec<reqwest::Certificate>| reqwest::Client::builder().no_proxy().tls_certs_only(roots).build().unwrap();
    let reply = client(vec![trusted]).get(format!("https://127.0.0.1:{port}/readyz")).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, reqwest::Version::HTTP_2));
    let stranger = client(Vec::new()).get(format!("https://127.0.0.1:{port}/readyz")).send().await;
    assert!(stranger.is_err(), "whoever does not trust the certificate gets no answer");
    let plain = client(Vec::new()).get(format!("http://127.0.0.1:{port}/readyz")).send().await;
    assert!(plain.is_err(), "and nobody gets one in plain HTTP");
    server.stop().await;
}

#[tokio::test]
async fn metrics_can_be_off() {
    let server = Program::on(Db::Sqlite).await.set("metrics.listen", "").serve().await;
    assert_eq!(server.metrics, None);
    server.stop().await;
}

#[tokio::test]
async fn logs_are_json_with_the_request_id_that_the_caller_got_and_the_operation() {
    let program = Program::on(Db::Sqlite).await;
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let reply = client.get("/v1/devices?status=active").await;
    let request_id = reply.header("x-request-id").to_owned();
    reply.ok(200);
    let logs = server.stop().await.stderr;
    let records: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for record in &records {
        assert!(record["timestamp"].is_string() && record["level"].is_string(), "{record}");
    }
    let of_request: Vec<_> = records.iter().filter(|record| record["span"]["request.id"] == *request_id).collect();
    assert_eq!(of_request.len(), 1, "{logs}");
    assert_eq!(of_request[0]["message"], "request");
    assert_eq!(of_request[0]["operation"], "devices.list");
    assert_eq!(of_request[0]["status"], 200);
    assert!(of_request[0]["duration_ms"].is_u64());
    let messages: Vec<_> = records.iter().filter_map(|record| record["message"].as_str()).collect();
    assert_eq!(messages[messages.len() - 2..], ["stopping", "stopped"]);
}

#[tokio::test]
async fn sigterm_ends_held_calls_at_once_with_what_is_true() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let phone = client.enroll("ada").await;
        let challenge = client.challenge("ada").await;
        let set = phone.pending(0, None).await.unwrap().unwrap();

        let show = client.hold(&format!("{}?wait=50", path_of(&challenge)));
        let own = phone.clone();
        let inbox = tokio::spawn(async move { own.pending(50, set.etag.as_deref()).await });
        server.until_held(2).await;
        server.terminate().await;
        assert_eq!(show.await.unwrap().ok(200)["status"], "pending");
        assert!(inbox.await.unwrap().unwrap().is_none(), "nothing has changed: 304");
        let finished = server.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        // The calls were held for 50 s; the stop waits 10 s for requests in flight.
        assert!(finished.millis < 8_000, "{} ms", finished.millis);
    }
}

#[tokio::test]
async fn sigterm_under_load_loses_nothing_that_was_acknowledged_and_a_second_one_is_harmless() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        client.enroll("ada").await;
        let (sender, mut acknowledged) = tokio::sync::mpsc::channel(64);
        for _ in 0..32 {
            let (client, sender) = (client.clone(), sender.clone());
            tokio::spawn(async move {
                let body = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"}});
                loop {
                    let Ok(reply) = client.request(Method::POST, "/v1/challenges").json(&body).send().await else {
                        return;
                    };
                    let status = reply.status().as_u16();
                    let Ok(body) = reply.json::<Value>().await else { return };
                    if status != 201 {
                        // Twenty of this user wait for an answer already: this client has done its part.
                        assert_eq!(status, 429, "{body}");
                        return;
                    }
                    let id = text(&body, "id").to_owned();
                    let path = format!("/v1/challenges/{id}/cancel");
                    let cancelled = client.request(Method::POST, &path).send().await.map(|reply| reply.status());
                    let is_cancelled = matches!(cancelled, Ok(status) if status.is_success());
                    if sender.send((id, is_cancelled)).await.is_err() || !is_cancelled {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut all = Vec::new();
        while all.len() < 50 {
            all.push(acknowledged.recv().await.expect("load goes on"));
        }
        server.terminate().await;
        server.terminate().await;
        let finished = server.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(!finished.stderr.contains("\"ERROR\""), "{}", finished.stderr);
        while let Some(one) = acknowledged.recv().await {
            all.push(one);
        }
        for (id, is_cancelled) in all {
            let row = program.database.id(&id);
            let status = program.database.texts(&format!("SELECT status FROM challenges WHERE id = {row}")).await;
            assert_eq!(status.len(), 1, "{db:?}: {id} is lost");
            assert!(!is_cancelled || status == ["cancelled"], "{db:?}: {id} is {status:?}");
        }
    }
}
