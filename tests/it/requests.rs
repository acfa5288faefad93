//! What the server refuses before it looks at what is meant, and how it says so.

use std::time::Duration;

use countersign_tests::{both, text};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

#[tokio::test]
async fn a_member_that_breaks_a_rule_is_named_and_nothing_is_changed() {
    both(async |app| {
        let idp = app.admin().await;
        idp.enroll("ada").await;
        let before = crate::log::events(&idp).await.len();
        let user = json!({"external_id": "ada"});
        for (body, pointer) in [
            (json!({}), "/user"),
            (json!({"user": null}), "/user"),
            (json!({"user": "ada"}), "/user"),
            (json!({"user": user, "message": null}), "/message"),
            (json!({"user": user, "colour": "red"}), "/colour"),
            (json!({"user": {"external_id": "ada", "colour": "red"}}), "/user/colour"),
            (json!({"user": user, "verification": {"mode": "enter", "digits": null}}), "/verification/digits"),
            (json!({"user": user, "verification": {"mode": "guess"}}), "/verification/mode"),
            (json!({"user": user, "verification": {"mode": "enter", "digits": 1}}), "/verification/digits"),
            (json!({"user": user, "ttl_seconds": 9}), "/ttl_seconds"),
            (json!({"user": user, "ttl_seconds": "60"}), "/ttl_seconds"),
            (json!({"user": user, "ttl_seconds": 60.5}), "/ttl_seconds"),
            (json!({"user": user, "push": 1}), "/push"),
            (json!({"user": user, "action": "Sign in"}), "/action"),
            (json!({"user": user, "message": "a\u{200b}b"}), "/message"),
            (json!({"user": user, "message": "x".repeat(257)}), "/message"),
            (json!({"user": user, "application": "x".repeat(65)}), "/application"),
            (json!({"user": user, "context": {"ip": "a\nb"}}), "/context/ip"),
            (json!({"user": user, "details": [{"label": "a"}]}), "/details/0/value"),
            (json!({"user": user, "details": {}}), "/details"),
        ] {
            idp.post("/v1/challenges", body).await.invalid(&[pointer]);
        }
        let broken = json!({"user": {"external_id": " x"}, "ttl_seconds": 59});
        idp.post("/v1/enrollments", broken).await.invalid(&["/user/external_id", "/ttl_seconds"]);
        assert_eq!(crate::log::events(&idp).await.len(), before);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_json_as_we_take_it_is_malformed() {
    both(async |app| {
        let idp = app.admin().await;
        let good = r#"{"user":{"external_id":"ada"}}"#;
        let duplicate = r#"{"user":{"external_id":"ada","external_id":"eve"}}"#;
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let bodies: [&[u8]; 8] = [
            b"",
            b"{",
            b"nonsense",
            duplicate.as_bytes(),
            deep.as_bytes(),
            b"{\"user\":\"\xff\"}",
            b"{} {}",
            b"{\"a\":\"\\ud800\"}",
        ];
        for path in ["/v1/challenges", "/v1/enrollments"] {
            for body in bodies {
                let request = idp.request(Method::POST, path).header(CONTENT_TYPE, "application/json");
                idp.send(request.body(body.to_vec())).await.problem("malformed-request");
            }
            for wrong in ["text/plain", "application/jwt", "application/x-www-form-urlencoded", ""] {
                let request = idp.request(Method::POST, path).header(CONTENT_TYPE, wrong).body(good);
                idp.send(request).await.problem("unsupported-media-type");
            }
            idp.send(idp.request(Method::POST, path).body(good)).await.problem("unsupported-media-type");
            for size in [64 * 1024 + 1, 900_000] {
                let padded = format!("{}{good}", " ".repeat(size - good.len()));
                let request = idp.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(padded);
                idp.send(request).await.problem("payload-too-large");
            }
        }
        let padded = format!("{}{good}", " ".repeat(64 * 1024 - good.len()));
        let request =
            idp.request(Method::POST, "/v1/enrollments").header(CONTENT_TYPE, "Application/JSON; charset=utf-8");
        idp.send(request.body(padded)).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn a_malformed_id_is_as_unknown_as_any() {
    both(async |app| {
        let idp = app.admin().await;
        let unknown = "01939b5e-7a2c-7def-8abc-000000000001";
        let detail = |reply: countersign_tests::Reply| text(&reply.problem("not-found"), "detail").to_owned();
        for id in
            ["x", "%00", "%ff", "0", "01939B5E-7A2C-7DEF-8ABC-000000000001", "..%2f..%2fusers", &"9".repeat(4_000)]
        {
            for path in
                ["/v1/challenges/{}", "/v1/enrollments/{}", "/v1/users/{}", "/v1/devices/{}", "/v1/users/{}/devices"]
            {
                let (malformed, unknown) = (path.replace("{}", id), path.replace("{}", unknown));
                assert_eq!(detail(idp.get(&malformed).await), detail(idp.get(&unknown).await), "{malformed}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_and_what_may_not_be_done_are_problems_too() {
    both(async |app| {
        for path in ["/", "/v1", "/v1/nothing", "/v2/challenges", "/v1/challenges/"] {
            app.http.get(path).await.problem("not-found");
        }
        let idp = app.admin().await;
        let refused = idp.send(idp.request(Method::PATCH, "/v1/challenges")).await;
        refused.problem("method-not-allowed");
        let allow = refused.header("allow").to_owned();
        assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_taken_from_one_bearer_header_only() {
    both(async |app| {
        let idp = app.client("users:read").await;
        let list = || app.http.request(Method::GET, "/v1/users");
        let bearer = format!("Bearer {}", idp.key);
        assert_eq!(app.http.send(list().header("authorization", format!("bearer {}", idp.key))).await.status, 200);
        for wrong in [
            idp.key.clone(),
            format!("Basic {}", idp.key),
            format!("{bearer}="),
            format!("{bearer} x"),
            "Bearer".to_owned(),
        ] {
            let refused = app.http.send(list().header("authorization", wrong)).await;
            refused.problem("unauthenticated");
            assert!(refused.header("www-authenticate").starts_with("Bearer"));
        }
        let twice = list().header("authorization", &bearer).header("authorization", &bearer);
        app.http.send(twice).await.problem("unauthenticated");
        app.revoke_client(&idp).await;
        idp.get("/v1/users").await.problem("unauthenticated");
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_must_be_one_visible_word() {
    both(async |app| {
        let idp = app.admin().await;
        idp.enroll("ada").await;
        let create = || idp.request(Method::POST, "/v1/challenges").json(&json!({"user": {"external_id": "ada"}}));
        for wrong in ["", "a b", "ü", &"x".repeat(256)] {
            idp.send(create().header("idempotency-key", wrong)).await.problem("invalid-request");
        }
        let twice = create().header("idempotency-key", "a").header("idempotency-key", "b");
        idp.send(twice).await.problem("invalid-request");
        idp.send(create().header("idempotency-key", "x".repeat(255))).await.ok(201);
    })
    .await;
}

#[tokio::test]
async fn a_challenge_that_would_be_too_large_to_sign_is_refused() {
    both(async |app| {
        let idp = app.admin().await;
        idp.enroll("ada").await;
        let detail = json!({"label": "ü".repeat(64), "value": "€".repeat(256)});
        let details: Vec<Value> = (0..20).map(|_| detail.clone()).collect();
        let body = json!({"user": {"external_id": "ada"}, "details": details});
        idp.post("/v1/challenges", body).await.problem("challenge-too-large");
        assert_eq!(idp.get("/v1/challenges").await.ok(200)["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn an_identifier_is_the_same_person_in_every_spelling_of_its_letters() {
    both(async |app| {
        let idp = app.admin().await;
        let composed = idp.create_enrollment(json!({"user": {"external_id": "zo\u{eb}"}})).await;
        let decomposed = idp.create_enrollment(json!({"user": {"external_id": "zoe\u{308}"}})).await;
        assert_eq!(composed["user"]["id"], decomposed["user"]["id"]);
        let capital = idp.create_enrollment(json!({"user": {"external_id": "Zo\u{eb}"}})).await;
        assert_ne!(composed["user"]["id"], capital["user"]["id"]);
        for wrong in ["", " a", "a ", "a\u{0}b", &"x".repeat(256)] {
            idp.post("/v1/enrollments", json!({"user": {"external_id": wrong}})).await.invalid(&["/user/external_id"]);
        }
    })
    .await;
}

/// What the server says to these bytes before it closes the connection.
async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    timeout(Duration::from_secs(30), stream.read_to_string(&mut reply)).await.unwrap().unwrap();
    reply
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    both(async |app| {
        let address = app.node().address();
        for hosts in ["", "host: a.example\r\nhost: b.example\r\n", "host: a.example\r\nhost: a.example\r\n"] {
            let reply = raw(address, &format!("GET /healthz HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
            assert!(reply.starts_with("HTTP/1.1 400 "), "{hosts:?}: {reply}");
            assert!(reply.contains("/problems/malformed-request"), "{hosts:?}: {reply}");
        }
        let reply = raw(address, "GET /healthz HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    })
    .await;
}
