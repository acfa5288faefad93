//! Path, headers and payload: what Apple takes and what it refuses.

use reqwest::Method;
use serde_json::json;

use super::*;
use crate::stand_in::testing::DEADLINE;

#[tokio::test]
async fn a_good_push_is_taken_answered_with_its_id_and_recorded() {
    let rig = Rig::new().await;
    let response = rig.send(rig.alert(&device(0xab), &rig.provider_token())).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(response.headers()["apns-id"], ID);
    assert!(response.bytes().await.unwrap().is_empty());
    let got = rig.apns.next(&device(0xab), DEADLINE).await.unwrap();
    assert_eq!((got.push.apns_id.as_str(), got.push.priority, got.connection), (ID, 10, 1));
    assert_eq!((got.push.expiration, got.push.collapse_id.as_deref()), (Some(rig.now() + 120), Some("c1")));
    assert_eq!(got.push.payload["kind"], "challenge");
    assert_eq!((rig.apns.accepted_count(), rig.apns.connections()), (1, 1));
    rig.apns.stop().await;
}

#[tokio::test]
async fn an_id_is_made_for_a_push_without_one() {
    let rig = Rig::new().await;
    let response = rig.send(rig.alert(&device(1), &rig.provider_token()).without("apns-id")).await.unwrap();
    let id = response.headers()["apns-id"].to_str().unwrap();
    assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
}

#[tokio::test]
async fn every_wrong_request_is_refused_with_apples_reason() {
    let rig = Rig::new().await;
    let good = rig.alert(&device(1), &rig.provider_token());
    let odd_digits = "a".repeat(65);
    let background = json!({"aps": {"content-available": 1}});
    let as_background = |shot: Shot| shot.header("apns-push-type", "background").body(&background);
    let get = Shot { method: Method::GET, ..good.clone() };
    let mut twice = good.clone();
    twice.headers.append("apns-topic", TOPIC.parse().unwrap());
    let rows: Vec<(Shot, u16, &str)> = vec![
        (good.clone().path("/3/devices/ab"), 404, "BadPath"),
        (good.clone().path("/2/device/ab"), 404, "BadPath"),
        (good.clone().path(&format!("/3/device/{}/x", device(1))), 404, "BadPath"),
        (get, 405, "MethodNotAllowed"),
        (good.clone().path("/3/device/"), 400, "MissingDeviceToken"),
        (good.clone().path("/3/device/abcd"), 400, "BadDeviceToken"),
        (good.clone().path(&format!("/3/device/{odd_digits}")), 400, "BadDeviceToken"),
        (good.clone().path(&format!("/3/device/{}", "a".repeat(202))), 400, "BadDeviceToken"),
        (good.clone().path(&format!("/3/device/{}", "z".repeat(64))), 400, "BadDeviceToken"),
        (good.clone().path(&format!("/3/device/{}", device(0))), 400, "BadDeviceToken"),
        (twice, 400, "DuplicateHeaders"),
        (good.clone().header("apns-id", "17"), 400, "BadMessageId"),
        (good.clone().header("apns-id", &ID.replace('-', "")), 400, "BadMessageId"),
        (good.clone().header("apns-priority", "7"), 400, "BadPriority"),
        (good.clone().header("apns-priority", "high"), 400, "BadPriority"),
        (good.clone().header("apns-expiration", "tomorrow"), 400, "BadExpirationDate"),
        (good.clone().header("apns-expiration", "-1"), 400, "BadExpirationDate"),
        (good.clone().header("apns-expiration", "1.5"), 400, "BadExpirationDate"),
        (good.clone().header("apns-collapse-id", &"c".repeat(65)), 400, "BadCollapseId"),
        (good.clone().without("apns-topic"), 400, "MissingTopic"),
        (good.clone().header("apns-topic", "not a topic"), 400, "BadTopic"),
        (good.clone().header("apns-topic", "org.example.other"), 400, "TopicDisallowed"),
        (good.clone().without("apns-push-type"), 400, "InvalidPushType"),
        (good.clone().header("apns-push-type", "loud"), 400, "InvalidPushType"),
        (as_background(good.clone()), 400, "BadPriority"),
        (good.clone().header("apns-push-type", "background").header("apns-priority", "5"), 400, "InvalidPushType"),
        (good.clone().body(&background), 400, "InvalidPushType"),
        (good.clone().body(""), 400, "PayloadEmpty"),
        (good.clone().body(json!({"aps": {"alert": "a".repeat(4_096)}})), 413, "PayloadTooLarge"),
        (good.clone().body("a".repeat(100_000)), 413, "PayloadTooLarge"),
        (good.clone().body("{"), 400, "BadPayload"),
        (good.clone().body("[]"), 400, "BadPayload"),
        (good.clone().body(json!({"kind": "challenge"})), 400, "BadPayload"),
        (good.clone().body(r#"{"aps":{"alert":"a"},"aps":{"alert":"b"}}"#), 400, "BadPayload"),
    ];
    let count = rows.len();
    for (index, (shot, status, reason)) in rows.into_iter().enumerate() {
        assert_eq!(rig.answer(shot).await, (status, reason.to_owned()), "row {index}");
    }
    assert_eq!((rig.apns.accepted_count(), rig.apns.attempted_count()), (0, u64::try_from(count).unwrap()));
    // The same stand-in still takes what is right.
    assert_eq!(rig.answer(as_background(good.clone()).header("apns-priority", "5")).await.0, 200);
    assert_eq!(rig.answer(good.header("apns-collapse-id", &"c".repeat(64))).await.0, 200);
}

#[tokio::test]
async fn a_payload_of_4096_bytes_is_taken_and_one_more_is_not() {
    let rig = Rig::new().await;
    let frame = json!({"aps": {"alert": ""}}).to_string().len();
    let good = rig.alert(&device(1), &rig.provider_token());
    let of_size = |bytes: usize| good.clone().body(json!({"aps": {"alert": "a".repeat(bytes - frame)}}));
    assert_eq!(rig.answer(of_size(4_096)).await.0, 200);
    assert_eq!(rig.answer(of_size(4_097)).await, (413, "PayloadTooLarge".to_owned()));
}

#[tokio::test]
async fn a_token_belongs_to_one_app_and_ends_with_its_registration() {
    let rig = Rig::with(|options| {
        options.topics.push("org.example.other".to_owned());
        options.common.known_tokens_only = true;
    })
    .await;
    let (known, other) = (device(0xaa), device(0xbb));
    rig.apns.register(&known, TOPIC);
    rig.apns.register(&other, "org.example.other");
    let bearer = rig.provider_token();
    assert_eq!(rig.answer(rig.alert(&known, &bearer)).await.0, 200);
    // Hex digits have no case.
    assert_eq!(rig.answer(rig.alert(&known.to_ascii_uppercase(), &bearer)).await.0, 200);
    assert_eq!(rig.answer(rig.alert(&other, &bearer)).await, (400, "DeviceTokenNotForTopic".to_owned()));
    assert_eq!(rig.answer(rig.alert(&device(0xcc), &bearer)).await, (400, "BadDeviceToken".to_owned()));
    rig.apns.unregister(&known, 1_759_000_000_123);
    let response = rig.send(rig.alert(&known, &bearer)).await.unwrap();
    assert_eq!(response.status().as_u16(), 410);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({"reason": "Unregistered", "timestamp": 1_759_000_000_123_i64}));
    rig.apns.register(&known, TOPIC);
    assert_eq!(rig.answer(rig.alert(&known, &bearer)).await.0, 200);
}

#[tokio::test]
async fn a_device_shows_the_last_of_each_collapse_id_and_nothing_that_came_too_late() {
    let rig = Rig::new().await;
    let (token, bearer) = (device(7), rig.provider_token());
    let alert = |kind: &str| rig.alert(&token, &bearer).body(json!({"aps": {"alert": "a"}, "kind": kind}));
    for shot in [
        alert("first").header("apns-collapse-id", "c1"),
        alert("second").header("apns-collapse-id", "c2"),
        alert("third").header("apns-collapse-id", "c1"),
        alert("late").header("apns-collapse-id", "c3").header("apns-expiration", &rig.now().to_string()),
        alert("now or never").header("apns-collapse-id", "c4").header("apns-expiration", "0"),
    ] {
        assert_eq!(rig.answer(shot).await.0, 200);
    }
    let silent = alert("withdrawn").header("apns-push-type", "background").header("apns-priority", "5");
    let silent = silent.body(json!({"aps": {"content-available": 1}, "kind": "withdrawn"}));
    assert_eq!(rig.answer(silent).await.0, 200);
    let kinds: Vec<Value> = rig.apns.shown(&token).iter().map(|push| push.payload["kind"].clone()).collect();
    assert_eq!(kinds, ["second", "third", "now or never"]);
    assert_eq!((rig.apns.rung(&token), rig.apns.received().len()), (4, 6));
}
