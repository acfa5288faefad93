//! Where a webhook may be, and where it may not.

use countersign::config::Settings;
use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    Db, TestApp, TestAppOptions, TestClock, both, free_port,
    receiver::{Hook, Receiver, both_with_receiver},
    text,
};
use serde_json::{Value, json};

use super::until_tried;

#[tokio::test]
async fn an_address_inside_is_refused_in_every_spelling() {
    both(async |app| {
        let admin = app.admin().await;
        for url in [
            "http://hooks.example/a",
            "ftp://hooks.example/a",
            "file:///etc/passwd",
            "https://hooks.example:8443/a",
            "https://user@hooks.example/",
            "https://hooks.example/#a",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0177.0.0.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0.0.0.0/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "https://",
            "not a url",
            "",
        ] {
            admin.post("/v1/webhooks", json!({"url": url})).await.invalid(&["/url"]);
        }
        let made = admin
            .post("/v1/webhooks", json!({"url": "https://HOOKS.invalid:443/a?b=c", "events": ["user.erased"]}))
            .await
            .ok(201);
        assert_eq!(made["url"], "https://hooks.invalid/a?b=c");
        let path = format!("/v1/webhooks/{}", text(&made, "id"));
        admin.patch(&path, json!({"url": "https://10.0.0.1/"})).await.invalid(&["/url"]);
        admin.patch(&path, json!({"enabled": false})).await.ok(200);
    })
    .await;
}

/// What came of a test message to this URL: of its first attempt all but when and how long.
async fn tried_at(app: &TestApp, url: &str) -> Value {
    let admin = app.admin().await;
    let made = admin.post("/v1/webhooks", json!({"url": url, "events": ["webhook.deleted"]})).await.ok(201);
    assert_eq!(made["url"], url);
    let hook = Hook::of(&made, "inside");
    admin.post_empty(&format!("{}/test", hook.path())).await.ok(202);
    let tried = until_tried(app, &admin, &hook, "webhook.test", 1).await;
    let mut attempt = tried["attempts"][0].clone();
    let attempt = attempt.as_object_mut().unwrap();
    attempt.retain(|member, _| !["number", "at", "duration_ms", "duration_millis"].contains(&member.as_str()));
    json!({"status": tried["status"], "attempt": attempt})
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to_and_nobody_learns_why() {
    for db in [Db::Sqlite, Db::Postgres] {
        for is_allowed in [false, true] {
            let clock = TestClock::default();
            let receiver = Receiver::start(&clock).await;
            let closed = free_port();
            let configure = |settings: &mut Settings| {
                receiver.configure(settings);
                settings.webhooks.additional_ports.push(closed);
                if !is_allowed {
                    settings.webhooks.additional_networks.clear();
                }
            };
            let app = TestApp::start_as(TestAppOptions { clock, ..TestAppOptions::new(db) }, configure).await;
            let unreachable = json!({"status": "pending", "attempt": {"error": "unreachable"}});
            // A name is nothing that an administrator is told about: only where it leads counts, at each connect.
            let inside = tried_at(&app, &format!("https://localhost:{}/hook/inside", receiver.hooks.port())).await;
            let nobody = tried_at(&app, &format!("https://localhost:{closed}/hook/inside")).await;
            assert_eq!(nobody, unreachable, "nobody listens there");
            if is_allowed {
                assert_eq!(inside, json!({"status": "delivered", "attempt": {"status_code": 204}}));
                assert_eq!(receiver.hooks.attempted_count(), 1);
            } else {
                assert_eq!(inside, unreachable, "somebody listens there, and that does not show");
                assert_eq!((receiver.hooks.connections(), receiver.hooks.attempted_count()), (0, 0));
            }
            app.finish().await;
            receiver.hooks.stop().await;
        }
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_a_way() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        let redirect = Behaviour::Status { code: 307, reason: None, body: None, retry_after: None };
        receiver.hooks.script("idp", [redirect]);
        admin.post_empty(&format!("{}/test", hook.path())).await.ok(202);
        let tried = until_tried(app, &admin, &hook, "webhook.test", 1).await;
        assert_eq!((&tried["status"], &tried["attempts"][0]["status_code"]), (&json!("pending"), &json!(307)));
        assert_eq!(receiver.hooks.attempted_count(), 1);
    })
    .await;
}
