//! Where a webhook may be, and where it may not.

use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{both, receiver::both_with_receiver, text};
use serde_json::json;

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

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to_and_nobody_learns_why() {
    both_with_receiver(async |app, receiver| {
        let admin = app.admin().await;
        // Where the receiver is allowed its address is; where it is not, the name that leads there is refused.
        let hook = receiver.hook(&admin, "idp", &["user.created"]).await;
        let inside = app.tenant("inside").await;
        let other = app.client_of(&inside, "admin").await;
        let body = json!({"url": format!("https://localhost:{}/hook/inside", receiver.hooks.port())});
        let made = other.post("/v1/webhooks", body).await.ok(201);
        assert!(text(&made, "url").starts_with("https://localhost"));
        admin.enroll("ada").await;
        receiver.next(&hook, "user.created").await;
        // A redirect is an answer, not a way.
        let redirect = Behaviour::Status { code: 307, reason: None, body: None, retry_after: None };
        receiver.hooks.script("idp", [redirect]);
        admin.post_empty(&format!("{}/test", hook.path())).await.ok(202);
        let tried = until_tried(app, &admin, &hook, "webhook.test", 1).await;
        assert_eq!((&tried["status"], &tried["attempts"][0]["status_code"]), (&json!("pending"), &json!(307)));
    })
    .await;
}
