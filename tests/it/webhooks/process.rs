//! The real program: killed between the commit and the message, and watched for what it must not say.

use countersign_simulator::stand_in::{Behaviour, system_clock};
use countersign_tests::{
    Db,
    receiver::{Hook, Receiver},
    text,
};
use serde_json::json;

use crate::{
    canaries::{Cage, without_times},
    process::{PATIENCE, Program, free_port},
};

#[tokio::test]
async fn a_message_outlives_kill_9_between_its_commit_and_its_delivery() {
    for db in [Db::Sqlite, Db::Postgres] {
        let receiver = Receiver::start_by(system_clock()).await;
        let program = Program::on(db).await.set("server.listen", &format!("127.0.0.1:{}", free_port()));
        let program = receiver.settings().iter().fold(program, |program, (name, value)| program.set(name, value));
        let mut server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let body = json!({"url": receiver.hooks.url("idp"), "events": ["challenge.*"]});
        let hook = Hook::of(&client.post("/v1/webhooks", body).await.ok(201), "idp");
        let phone = client.enroll("ada").await;
        // In the middle of sending: the receiver has it, and says nothing.
        receiver.hooks.always(Some(Behaviour::NeverAnswer {}));
        client.plain_challenge("ada").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        assert!(receiver.hooks.wait_for_attempts(2, PATIENCE).await, "both are on their way");
        let events = client.get("/v1/events?limit=200").await.ok(200);
        server.kill_9();
        server.finish().await;
        receiver.hooks.always(None);
        // The leases' end, which is seconds away by the machine's clock.
        assert_eq!(
            program.database.tamper("UPDATE webhook_deliveries SET due_at = 0 WHERE lease IS NOT NULL").await,
            2
        );

        let server = program.serve().await;
        assert!(receiver.hooks.wait_for_accepted(2, PATIENCE).await);
        let is_wanted = |event: &&serde_json::Value| text(event, "type").starts_with("challenge.");
        let wanted = events["items"].as_array().unwrap().iter().filter(is_wanted);
        let wanted = wanted.map(|event| (text(event, "id").to_owned(), text(event, "type").to_owned())).collect();
        assert_eq!(receiver.taken(&hook), wanted, "{db:?}: each once, under the id that it had before");
        // Counted when the answer is here, which is after the receiver has taken it.
        let counted = async {
            while !server.metrics().await.contains("countersign_webhook_attempts_total{outcome=\"delivered\"} 2") {}
        };
        tokio::time::timeout(PATIENCE, counted).await.expect("two are counted");
        // The address may hold a secret, and so may what was told.
        let logs = server.stop().await.stderr;
        assert!(!logs.contains("/hook/") && !logs.contains("whsec_"), "{logs}");
        receiver.hooks.stop().await;
    }
}

#[tokio::test]
async fn no_address_no_secret_and_no_message_escapes_at_level_trace() {
    for db in [Db::Sqlite, Db::Postgres] {
        let receiver = Receiver::start_by(system_clock()).await;
        let program = Program::on(db).await.set("log.filter", "trace");
        let program = receiver.settings().iter().fold(program, |program, (name, value)| program.set(name, value));
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let mut cage = Cage::default();
        let trouble = |code| Behaviour::Status {
            code,
            reason: None,
            body: Some("canary-of-the-receiver".to_owned()),
            retry_after: None,
        };
        receiver.hooks.script("canary-address", [trouble(500), trouble(302), Behaviour::ResetConnection {}]);
        let url = format!("{}?token=canary-token", receiver.hooks.url("canary-address"));
        let body = json!({"url": url, "description": "canary-description"});
        let hook = Hook::of(&client.post("/v1/webhooks", body).await.ok(201), "canary-address");
        for name in ["canary-address", "canary-token", "canary-description", "canary-of-the-receiver"] {
            cage.watch(name, name);
        }
        cage.watch("the secret", &hook.secret);
        let phone = client.enroll("canary-person").await;
        client.plain_challenge("canary-person").await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        let told = receiver.next(&hook, "challenge.approved").await;
        cage.watch("the person", "canary-person");
        cage.watch("the result token", text(&told["data"]["challenge"], "result_token"));
        let rotated = client.post(&format!("{}/rotate-secret", hook.path()), json!({})).await.ok(200);
        cage.watch("the new secret", text(&rotated, "secret"));
        let refused = [
            json!({"url": "https://10.0.0.1/canary-wrong"}),
            json!({"url": "http://canary-wrong.example/"}),
            json!({"url": "https://canary-wrong:canary-wrong@hooks.example/"}),
            json!({"url": url, "events": ["canary-wrong"]}),
            json!({"url": ["canary-wrong"]}),
        ];
        cage.watch("anything wrong", "canary-wrong");
        for body in refused {
            let reply = client.post("/v1/webhooks", body).await;
            assert!(matches!(reply.status, 400 | 422), "{}", reply.text());
            cage.check("an error", &reply.text());
        }
        let signatures: Vec<_> = receiver.hooks.attempts().into_iter().filter_map(|it| it.push.signature).collect();
        assert!(signatures.len() > 3);
        for part in signatures.iter().flat_map(|signature| signature.split(' ')) {
            cage.watch("a signature", part.split_once(',').unwrap().1);
        }
        let events = client.get("/v1/events?limit=200").await.ok(200);
        cage.check("the log of events", &events.to_string());
        cage.check("the metrics", &server.metrics().await);
        let finished = server.stop().await;
        let logs = without_times(&finished.stderr);
        assert!(logs.contains("\"operation\":\"webhooks.create\"") && logs.lines().count() > 50, "{logs}");
        cage.check("the log", &logs);
        receiver.hooks.stop().await;
    }
}
