//! `messages:send`.

use std::time::Duration;

use super::*;
use crate::stand_in::Behaviour;
use crate::stand_in::testing::DEADLINE;

#[tokio::test]
async fn a_good_message_is_taken_named_and_recorded() {
    let rig = Rig::new().await;
    let (status, body) = rig.send(&rig.access_token().await, &message("t:1_a-b")).await;
    assert_eq!(status, 200, "{body}");
    let got = rig.fcm.next("t:1_a-b", DEADLINE).await.unwrap().push;
    assert_eq!(body, json!({"name": format!("projects/stand-in/messages/{}", got.message_id)}));
    assert_eq!((got.priority.as_deref(), got.ttl_seconds), (Some("HIGH"), Some(118)));
    assert_eq!((got.collapse_key.as_deref(), &got.data["kind"]), (Some("c1"), &json!("challenge")));
}

#[tokio::test]
async fn a_message_that_is_only_to_be_judged_is_and_rings_nobody() {
    let rig = Rig::new().await;
    let bearer = rig.access_token().await;
    assert_eq!(rig.send(&bearer, &altered("/validate_only", json!(true))).await.0, 200);
    assert_eq!(rig.send("another", &altered("/validate_only", json!(true))).await.0, 401);
    assert!(rig.fcm.attempts().is_empty());
    assert_eq!(rig.send(&bearer, &altered("/validate_only", json!(false))).await.0, 200);
    assert_eq!(rig.fcm.accepted_count(), 1);
}

#[tokio::test]
async fn a_wrong_message_is_an_invalid_argument() {
    let rig = Rig::new().await;
    let bearer = rig.access_token().await;
    let rows = [
        json!({}),
        json!([]),
        json!({"message": {}}),
        json!({"message": {"topic": "all", "data": {}}}),
        altered("/message/topic", json!("all")),
        altered("/message/token", json!("")),
        altered("/message/token", json!("a token")),
        altered("/message/token", json!(7)),
        altered("/message/colour", json!("red")),
        altered("/colour", json!("red")),
        altered("/validate_only", json!("yes")),
        altered("/message/data", json!("text")),
        altered("/message/data/number", json!(7)),
        altered("/message/data/nested", json!({"a": "b"})),
        altered("/message/data/from", json!("x")),
        altered("/message/data/google.x", json!("x")),
        altered("/message/data/big", json!("x".repeat(4_096))),
        altered("/message/android/priority", json!("high")),
        altered("/message/android/priority", json!("URGENT")),
        altered("/message/android/ttl", json!("118")),
        altered("/message/android/ttl", json!(118)),
        altered("/message/android/ttl", json!("-1s")),
        altered("/message/android/ttl", json!("2419201s")),
        altered("/message/android/ttl", json!("1.s")),
        altered("/message/android/collapse_key", json!("k".repeat(65))),
        altered("/message/android/collapse_key", json!(1)),
        altered("/message/android/time_to_live", json!("1s")),
        altered("/message/notification", json!("text")),
    ];
    for (index, request) in rows.iter().enumerate() {
        let (status, body) = rig.send(&bearer, request).await;
        let head = (status, error_code(&body), body["error"]["status"].as_str());
        assert_eq!(head, (400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT")), "row {index}: {request}");
    }
    assert_eq!(rig.fcm.accepted_count(), 0);
    assert_eq!(rig.send(&bearer, &altered("/message/android/ttl", json!("3.5s"))).await.0, 200);
}

#[tokio::test]
async fn what_is_no_json_or_another_method_or_path_is_refused() {
    let rig = Rig::new().await;
    let bearer = rig.access_token().await;
    let url = format!("{}/v1/projects/stand-in/messages:send", rig.fcm.base_url());
    let broken = rig.http.post(&url).bearer_auth(&bearer).body("{").send().await.unwrap();
    assert_eq!(broken.status().as_u16(), 400);
    assert_eq!(rig.http.get(&url).bearer_auth(&bearer).send().await.unwrap().status().as_u16(), 405);
    let legacy = format!("{}/fcm/send", rig.fcm.base_url());
    assert_eq!(rig.http.post(legacy).bearer_auth(&bearer).json(&message("t")).send().await.unwrap().status(), 404);
    assert_eq!(rig.send_to("another", &bearer, &message("t")).await.0, 403);
}

#[tokio::test]
async fn a_token_that_is_gone_or_of_another_project_is_told_in_fcms_words() {
    let rig = Rig::with(|common| common.known_tokens_only = true).await;
    let bearer = rig.access_token().await;
    rig.fcm.register("known", "stand-in");
    rig.fcm.register("foreign", "another");
    assert_eq!(rig.send(&bearer, &message("known")).await.0, 200);
    let (status, body) = rig.send(&bearer, &message("foreign")).await;
    assert_eq!((status, error_code(&body)), (403, "SENDER_ID_MISMATCH"));
    for token in ["unknown", "known"] {
        rig.fcm.unregister("known");
        let (status, body) = rig.send(&bearer, &message(token)).await;
        assert_eq!((status, error_code(&body)), (404, "UNREGISTERED"));
        assert_eq!(body["error"]["status"], "NOT_FOUND");
    }
}

#[tokio::test]
async fn an_offline_app_gets_the_last_of_each_collapse_key() {
    let rig = Rig::new().await;
    let bearer = rig.access_token().await;
    for kind in ["challenge", "withdrawn"] {
        assert_eq!(rig.send(&bearer, &altered("/message/data/kind", json!(kind))).await.0, 200);
    }
    let kinds: Vec<Value> = rig.fcm.shown("token-1").iter().map(|push| push.data["kind"].clone()).collect();
    assert_eq!(kinds, ["withdrawn"]);
}

#[tokio::test]
async fn scripted_trouble_comes_in_googles_form_over_both_versions_of_http() {
    let rig = Rig::new().await;
    let bearer = rig.access_token().await;
    let http1 = rig.http_1();
    rig.fcm.script("t", [Behaviour::retry_after(429, "7"), Behaviour::refusal(503, "UNAVAILABLE")]);
    rig.fcm
        .script("t", [Behaviour::Gone { timestamp_millis: None }, Behaviour::HugeBody { bytes: 2_000_000, code: 500 }]);
    rig.fcm.script("t", [Behaviour::Garbage {}, Behaviour::ResetStream {}, Behaviour::ResetConnection {}]);
    rig.fcm.script("t", [Behaviour::LoseAnswer {}, Behaviour::GoAway {}]);
    let url = format!("{}/v1/projects/stand-in/messages:send", rig.fcm.base_url());
    for (index, http) in [&rig.http, &http1].into_iter().cycle().take(9).enumerate() {
        let sent = http.post(&url).bearer_auth(&bearer).json(&message("t")).send().await;
        match (index, sent) {
            (0, Ok(response)) => {
                assert_eq!(response.headers()["retry-after"], "7");
                let body: Value = response.json().await.unwrap();
                assert_eq!(
                    (error_code(&body), &body["error"]["status"]),
                    ("QUOTA_EXCEEDED", &json!("RESOURCE_EXHAUSTED"))
                );
            }
            (1, Ok(response)) => assert_eq!(response.status().as_u16(), 503),
            (2, Ok(response)) => assert_eq!(error_code(&response.json().await.unwrap()), "UNREGISTERED"),
            (3, Ok(response)) => assert_eq!(response.bytes().await.unwrap().len(), 2_000_000),
            (4..=7, Err(_)) => {}
            (8, Ok(response)) => assert_eq!(response.status().as_u16(), 200),
            (index, other) => panic!("request {index}: {other:?}"),
        }
    }
    assert_eq!(rig.fcm.accepted_count(), 2, "the lost answer's push was taken");
}

#[tokio::test]
async fn a_request_may_be_left_without_an_answer() {
    let rig = Rig::new().await;
    let bearer = rig.access_token().await;
    rig.fcm.script("t", [Behaviour::NeverAnswer {}, Behaviour::Silent {}]);
    for attempts in 1..=2 {
        let body = message("t");
        let sent = rig.send(&bearer, &body);
        assert!(tokio::time::timeout(Duration::from_millis(200), sent).await.is_err());
        assert!(rig.fcm.wait_for_attempts(attempts, DEADLINE).await);
    }
    let body = message("u");
    let sent = rig.send(&bearer, &body);
    assert!(tokio::time::timeout(Duration::from_millis(200), sent).await.is_err(), "the connection is dead");
}

#[tokio::test]
async fn it_speaks_plain_http_if_told_so() {
    let rig = Rig::with(|common| common.plain_http = true).await;
    assert!(rig.fcm.base_url().starts_with("http://127.0.0.1:") && rig.fcm.ca_pem().is_none());
    assert_eq!(rig.send(&rig.access_token().await, &message("t")).await.0, 200);
}

impl Rig {
    fn http_1(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.fcm.ca_pem().unwrap().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().timeout(DEADLINE).http1_only();
        builder.retry(reqwest::retry::never()).tls_certs_only([ca]).build().unwrap()
    }
}
