//! API clients over HTTP: an administrator of the organisation makes, changes, rotates and revokes them.

use std::collections::BTreeSet;

use countersign_proto::jose::SigningKey;
use countersign_tests::{ApiClient, both, text};
use reqwest::Method;
use serde_json::{Value, json};

/// The client of a reply that carries a secret, ready to call.
fn caller(like: &ApiClient, made: &Value) -> ApiClient {
    let key = text(made, "api_key").to_owned();
    ApiClient { id: text(made, "id").to_owned(), key, signer: None, ..like.clone() }
}

fn path(made: &Value) -> String {
    format!("/v1/api-clients/{}", text(made, "id"))
}

async fn patch(client: &ApiClient, path: &str, body: Value) -> countersign_tests::Reply {
    client.send(client.request(Method::PATCH, path).json(&body)).await
}

#[tokio::test]
async fn an_admin_makes_a_client_that_works_until_it_is_revoked() {
    both(async |app| {
        let admin = app.admin().await;
        let body = json!({"name": "VPN gateway", "scopes": ["challenges", "enrollments"], "applications": ["VPN"],
            "expires_in_days": 30});
        let made = admin.post("/v1/api-clients", body).await.ok(201);
        assert_eq!(made["scopes"], json!(["enrollments", "challenges"]));
        assert_eq!(made["keys"][0]["state"], "live");
        let gateway = caller(&admin, &made);
        gateway.enroll("ada").await;
        gateway.create_challenge(json!({"user": {"external_id": "ada"}, "application": "VPN"})).await;
        gateway
            .post("/v1/challenges", json!({"user": {"external_id": "ada"}}))
            .await
            .problem("application-not-allowed");
        gateway.get("/v1/users").await.problem("insufficient-scope");

        // The secret is nowhere else.
        for reply in [admin.get(&path(&made)).await, admin.get("/v1/api-clients").await, admin.get("/v1/events").await]
        {
            assert!(!reply.text().contains(&gateway.key));
            reply.ok(200);
        }
        let revoked = admin.delete(&path(&made)).await.ok(200);
        assert!(revoked["revoked_at"].is_string());
        gateway.get("/v1/challenges").await.problem("unauthenticated");
        assert_eq!(admin.delete(&path(&made)).await.ok(200), revoked);
        patch(&admin, &path(&made), json!({"name": "again"})).await.problem("not-found");
        admin.post(&format!("{}/keys", path(&made)), json!({})).await.problem("not-found");
        assert_eq!(admin.get(&path(&made)).await.ok(200)["keys"][0]["state"], "revoked");
    })
    .await;
}

#[tokio::test]
async fn a_key_ends_with_its_days() {
    both(async |app| {
        let admin = app.admin().await;
        let body = json!({"name": "trial", "scopes": ["users:read"], "expires_in_days": 1});
        let made = admin.post("/v1/api-clients", body).await.ok(201);
        let trial = caller(&admin, &made);
        trial.get("/v1/users").await.ok(200);
        app.clock.advance(86_400);
        trial.get("/v1/users").await.problem("unauthenticated");
        assert_eq!(admin.get(&path(&made)).await.ok(200)["keys"][0]["state"], "expired");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_replaced_without_a_gap_and_says_when_it_was_last_used() {
    both(async |app| {
        let admin = app.admin().await;
        let made = admin.post("/v1/api-clients", json!({"name": "idp", "scopes": ["users:read"]})).await.ok(201);
        let keys = format!("{}/keys", path(&made));
        let next = admin.post(&keys, json!({})).await.ok(201);
        let full = admin.post(&keys, json!({})).await;
        assert_eq!(full.json()["quota"], "live_keys_of_a_sort");
        full.problem("quota-exceeded");
        // One of the other sort has its own two places.
        let signer = SigningKey::generate().unwrap();
        let jwk = serde_json::to_value(signer.public_key().to_jwk()).unwrap();
        let signing = admin.post(&keys, json!({"public_key": jwk})).await.ok(201);
        assert_eq!((text(&signing, "kind"), signing.get("api_key")), ("public_key", None));
        admin
            .post("/v1/api-clients", json!({"name": "thief", "scopes": ["admin"], "public_key": jwk}))
            .await
            .problem("key-already-registered");
        let (old, new) =
            (caller(&admin, &made), ApiClient { id: text(&made, "id").to_owned(), ..caller(&admin, &next) });
        let signed = ApiClient { signer: Some(signer), ..old.clone() };
        for client in [&old, &new, &signed] {
            client.get("/v1/users").await.ok(200);
        }
        countersign::worker::observe::round(app.node().app()).await.unwrap();
        let shown = admin.get(&path(&made)).await.ok(200);
        let used = |key: &Value| key["last_used_at"].is_string();
        assert!(shown["keys"].as_array().unwrap().iter().all(used), "{shown}");

        let key = format!("{keys}/{}", text(&made["keys"][0], "id"));
        for _ in 0..2 {
            assert_eq!(admin.delete(&key).await.ok(200)["state"], "revoked");
        }
        old.get("/v1/users").await.problem("unauthenticated");
        new.get("/v1/users").await.ok(200);
        signed.get("/v1/users").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn what_a_client_may_do_changes_with_the_next_request() {
    both(async |app| {
        let admin = app.admin().await;
        let made = admin.post("/v1/api-clients", json!({"name": "tool", "scopes": ["users:read"]})).await.ok(201);
        let tool = caller(&admin, &made);
        tool.get("/v1/users").await.ok(200);
        let body = json!({"scopes": ["devices:read"], "applications": ["Mail"], "name": "devices"});
        let changed = patch(&admin, &path(&made), body).await.ok(200);
        assert_eq!((&changed["scopes"], &changed["name"]), (&json!(["devices:read"]), &json!("devices")));
        tool.get("/v1/users").await.problem("insufficient-scope");
        tool.get("/v1/devices").await.ok(200);
        let all = patch(&admin, &path(&made), json!({"all_applications": true})).await.ok(200);
        assert_eq!(all.get("applications"), None);
        for (body, pointer) in [
            (json!({"scopes": []}), "/scopes"),
            (json!({"scopes": ["root"]}), "/scopes/0"),
            (json!({"applications": []}), "/applications"),
            (json!({"applications": ["A"], "all_applications": true}), "/all_applications"),
            (json!({"all_applications": false}), "/all_applications"),
            (json!({"name": ""}), "/name"),
            (json!({"name": null}), "/name"),
            (json!({"revoked_at": "2030-01-01T00:00:00Z"}), "/revoked_at"),
        ] {
            let reply = patch(&admin, &path(&made), body).await;
            assert_eq!(reply.json()["errors"][0]["pointer"], pointer);
            reply.problem("invalid-request");
        }
        assert_eq!(admin.get(&path(&made)).await.ok(200)["scopes"], json!(["devices:read"]));
    })
    .await;
}

#[tokio::test]
async fn nobody_makes_a_client_outside_of_their_organisation_or_without_being_admin() {
    both(async |app| {
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        let admin = app.admin().await;
        let made = admin.post("/v1/api-clients", json!({"name": "ours", "scopes": ["admin"]})).await.ok(201);
        stranger.get(&path(&made)).await.problem("not-found");
        stranger.delete(&path(&made)).await.problem("not-found");
        stranger.post(&format!("{}/keys", path(&made)), json!({})).await.problem("not-found");
        let theirs = stranger.get("/v1/api-clients").await.ok(200);
        let ids: BTreeSet<_> = theirs["items"].as_array().unwrap().iter().map(|client| text(client, "id")).collect();
        assert_eq!(ids, BTreeSet::from([stranger.id.as_str()]));
        // All scopes but admin are not enough to give oneself more.
        let all = "enrollments,challenges,users:read,users:write,devices:read,devices:write,audit:read";
        let everything_else = app.client(all).await;
        everything_else
            .post("/v1/api-clients", json!({"name": "me", "scopes": ["admin"]}))
            .await
            .problem("insufficient-scope");
        let own = format!("/v1/api-clients/{}", everything_else.id);
        patch(&everything_else, &own, json!({"scopes": ["admin"]})).await.problem("insufficient-scope");
        // An admin who revokes its own client is out at once.
        let own = caller(&admin, &made);
        own.delete(&path(&made)).await.ok(200);
        own.get("/v1/api-clients").await.problem("unauthenticated");
    })
    .await;
}
