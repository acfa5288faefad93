//! Leaving: a node that is asked to end says so to balancers at once, and serves on until they have noticed.

use countersign_tests::{ApiClient, Db, Device, path_of, text};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Program, ServerProcess};

async fn serving(drain_seconds: &str) -> (Program, ServerProcess, ApiClient, Device) {
    let program = Program::on(Db::Postgres).await.set("server.drain_seconds", drain_seconds);
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let phone = client.enroll("ada").await;
    (program, server, client, phone)
}

async fn until_not_ready(client: &ApiClient) {
    let wait = async { while client.http().get("/readyz").await.status == 200 {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("it says that it leaves");
}

#[tokio::test]
async fn a_node_that_leaves_says_so_at_once_and_serves_on_until_a_second_signal() {
    let (_program, server, client, phone) = serving("300").await;
    let challenge = client.challenge("ada").await;
    let held = client.hold(&format!("{}?wait=50", path_of(&challenge)));
    server.until_held(1).await;
    let before = client.http().get("/readyz").await;
    assert_eq!((before.status, before.header("connection")), (200, ""));

    server.terminate().await;
    until_not_ready(&client).await;
    client.http().get("/readyz").await.problem("unavailable");
    assert_eq!(client.http().get("/healthz").await.status, 200, "it lives: nobody should kill it");

    // New connections, new requests, and those that are held: all are served.
    let request = client.request(Method::POST, "/v1/challenges").json(&json!({"user": {"external_id": "ada"}}));
    let reply = client.send(request).await;
    assert_eq!(reply.header("connection"), "close", "the next request goes elsewhere");
    let second = reply.ok(201);
    assert!(!held.is_finished(), "a held read that ended now would be asked again here");
    for challenge in [&challenge, &second] {
        let shown = phone.pending_of(challenge).await;
        phone.approve(&shown, Some(text(challenge, "number")), None).await.unwrap();
    }
    assert_eq!(held.await.unwrap().ok(200)["status"], "approved");

    server.terminate().await;
    let finished = server.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let messages: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<_> = messages.iter().filter_map(|record| record["message"].as_str()).collect();
    let told: Vec<_> = ["draining", "stopping", "stopped"].iter().map(|word| messages.contains(word)).collect();
    assert_eq!(told, [true, true, true], "{}", finished.stderr);
}

#[tokio::test]
async fn a_drain_ends_by_itself_and_held_reads_end_with_it() {
    let (_program, server, client, _phone) = serving("1").await;
    let challenge = client.challenge("ada").await;
    let held = client.hold(&format!("{}?wait=50", path_of(&challenge)));
    server.until_held(1).await;
    server.terminate().await;
    let reply = held.await.unwrap();
    // Not at once, but long before the 50 s that it asked for.
    assert_eq!(reply.header("connection"), "close");
    assert_eq!(reply.ok(200)["status"], "pending");
    let finished = server.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_person_at_a_terminal_is_not_kept_waiting() {
    let (_program, server, _client, _phone) = serving("300").await;
    server.interrupt().await;
    let finished = server.finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.stderr.contains("draining"), "{}", finished.stderr);
}
