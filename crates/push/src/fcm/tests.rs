//! The message, to the member; and what settings are refused.

use countersign_proto::push::PushBinding;
use serde_json::{Value, json};

use super::*;
use crate::testing::{NOW, TestClock, notification};

fn message(kind: NotificationKind) -> Value {
    let body = body(&notification(kind, PushBinding::None), "the-token", NOW);
    serde_json::from_slice::<Value>(&body).unwrap()["message"].clone()
}

fn refused(account: &Value, base_url: &str) -> String {
    let settings = FcmSettings {
        name: "main".to_owned(),
        service_account_json: Zeroizing::new(account.to_string()),
        base_url: base_url.to_owned(),
        tenants: None,
    };
    let client = transport::builder().build().unwrap();
    Fcm::new(&settings, client, Arc::new(TestClock::default())).err().unwrap().to_string()
}

fn account() -> Value {
    json!({"project_id": "a-project", "client_email": "a@example.org", "private_key": "canary",
        "private_key_id": "1", "token_uri": "https://oauth2.example/token"})
}

#[test]
fn a_challenge_is_an_urgent_data_message_with_ids_only() {
    assert_eq!(
        message(NotificationKind::Challenge),
        json!({
            "token": "the-token",
            "data": {
                "v": "1", "kind": "challenge",
                "notification_id": "01890a5d-ac96-774b-bcce-b302099a8001",
                "device_id": "01890a5d-ac96-774b-bcce-b302099a8003",
                "challenge_id": "01890a5d-ac96-774b-bcce-b302099a8004",
            },
            "android": {"priority": "HIGH", "ttl": "120s", "collapse_key": "01890a5d-ac96-774b-bcce-b302099a8004"},
        })
    );
}

#[test]
fn a_push_that_is_worth_less_than_a_second_is_not_one_of_now_or_never() {
    let push = notification(NotificationKind::Challenge, PushBinding::None);
    for (millis, ttl) in [(1, "1s"), (999, "1s"), (1_999, "1s"), (2_000, "2s")] {
        let body = body(&push, "the-token", push.expires_at.plus_millis(-millis));
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["message"]["android"]["ttl"], ttl, "{millis}");
    }
}

#[test]
fn a_withdrawal_is_not_urgent_and_replaces_its_challenge() {
    let message = message(NotificationKind::Withdrawn);
    assert_eq!(message["android"]["priority"], "NORMAL");
    assert_eq!(message["android"]["collapse_key"], "01890a5d-ac96-774b-bcce-b302099a8004");
    assert_eq!(message["data"]["kind"], "withdrawn");
}

#[test]
fn every_value_of_data_is_a_string_and_a_notice_names_no_challenge() {
    let message = message(NotificationKind::Notice);
    let data = message["data"].as_object().unwrap();
    assert!(data.values().all(Value::is_string) && !data.contains_key("challenge_id"));
    assert_eq!(message["android"]["collapse_key"], "01890a5d-ac96-774b-bcce-b302099a8001");
}

#[test]
fn settings_that_cannot_work_are_named_without_their_secrets() {
    const URL: &str = "https://fcm.googleapis.com";
    let with = |member: &str, value: &str| {
        let mut account = account();
        account[member] = json!(value);
        account
    };
    for (account, url, expected) in [
        (json!({}), URL, "service_account_file is not a service account's JSON"),
        (account(), URL, "private_key in service_account_file is not an RSA key"),
        (account(), "http://fcm.googleapis.com", "base_url must be https, without a path"),
        (account(), "https://fcm.googleapis.com/v1", "base_url must be https, without a path"),
        (with("token_uri", "http://oauth2.example/"), URL, "token_uri in service_account_file must be https"),
        (with("token_uri", "http://127.0.0.1:1/"), URL, "token_uri in service_account_file must be https"),
        (with("project_id", "../x"), URL, "project_id in service_account_file is not a project id"),
    ] {
        assert_eq!(refused(&account, url), format!("push.fcm.main: {expected}"));
    }
}
