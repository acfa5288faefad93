//! The request, to the header and the member.

use countersign_proto::push::PushBinding;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

use super::*;
use crate::testing::{NOW, TestClock, notification};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

fn settings() -> ApnsSettings {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    ApnsSettings {
        name: "main".to_owned(),
        key_pem: key.to_pkcs8_pem(LineEnding::LF).unwrap(),
        key_id: "KEY0000000".to_owned(),
        team_id: "TEAM000000".to_owned(),
        topic: "org.example.app".to_owned(),
        environment: ApnsEnvironment::Production,
        base_url: "https://127.0.0.1:1".to_owned(),
        tenants: None,
    }
}

fn apns() -> Apns {
    Apns::new(&settings(), transport::builder().build().unwrap(), Arc::new(TestClock::default())).unwrap()
}

fn sent(kind: NotificationKind) -> (Request, Value) {
    let apns = apns();
    let request = apns.request(&notification(kind, PushBinding::None), TOKEN, &apns.token.current(NOW)).unwrap();
    let body = request.body().and_then(|body| body.as_bytes()).unwrap();
    let body = serde_json::from_slice(body).unwrap();
    (request, body)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn a_challenge_is_a_time_sensitive_alert_with_ids_only() {
    let (request, body) = sent(NotificationKind::Challenge);
    assert_eq!(request.url().path(), format!("/3/device/{TOKEN}"));
    assert!(header(&request, "authorization").starts_with("bearer ey"));
    for (name, value) in [
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-topic", "org.example.app"),
        ("apns-expiration", "1800000120"),
        ("apns-id", "01890a5d-ac96-774b-bcce-b302099a8001"),
        ("apns-collapse-id", "01890a5d-ac96-774b-bcce-b302099a8004"),
    ] {
        assert_eq!(header(&request, name), value, "{name}");
    }
    assert_eq!(
        body,
        json!({
            "aps": {
                "alert": {
                    "title-loc-key": "COUNTERSIGN_CHALLENGE_TITLE", "title": "Sign-in request",
                    "loc-key": "COUNTERSIGN_CHALLENGE_BODY", "body": "Open the app to answer it.",
                },
                "category": "COUNTERSIGN_CHALLENGE", "interruption-level": "time-sensitive",
                "mutable-content": 1, "sound": "default",
            },
            "v": 1, "kind": "challenge",
            "notification_id": "01890a5d-ac96-774b-bcce-b302099a8001",
            "device_id": "01890a5d-ac96-774b-bcce-b302099a8003",
            "challenge_id": "01890a5d-ac96-774b-bcce-b302099a8004",
        })
    );
}

#[test]
fn what_no_other_request_repeats_stays_out_of_the_table_of_header_compression() {
    let (request, _) = sent(NotificationKind::Challenge);
    let kept_out = ["authorization", "apns-id", "apns-collapse-id", "apns-expiration"];
    for (name, value) in request.headers() {
        assert_eq!(value.is_sensitive(), kept_out.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn a_withdrawal_is_a_background_push_that_shows_nothing() {
    let (request, body) = sent(NotificationKind::Withdrawn);
    assert_eq!((header(&request, "apns-push-type"), header(&request, "apns-priority")), ("background", "5"));
    assert_eq!(header(&request, "apns-collapse-id"), "01890a5d-ac96-774b-bcce-b302099a8004");
    assert_eq!(body["aps"], json!({"content-available": 1}));
    assert_eq!(body["kind"], "withdrawn");
}

#[test]
fn a_notice_and_a_test_collapse_on_their_own_ids_and_name_no_challenge() {
    for (kind, word) in [(NotificationKind::Notice, "notice"), (NotificationKind::Test, "test")] {
        let (request, body) = sent(kind);
        assert_eq!(header(&request, "apns-collapse-id"), "01890a5d-ac96-774b-bcce-b302099a8001");
        assert_eq!(header(&request, "apns-push-type"), "alert");
        assert_eq!((body["kind"].as_str(), body.get("challenge_id")), (Some(word), None));
    }
}

#[test]
fn a_token_that_is_not_hex_chooses_no_path() {
    let apns = apns();
    for token in ["", "../../x", "00/../x", "0?x", "0#x", "é"] {
        assert_eq!(apns.device_url(token), None, "{token}");
    }
}

#[test]
fn settings_that_cannot_work_are_named() {
    let error = |change: fn(&mut ApnsSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let client = transport::builder().build().unwrap();
        Apns::new(&settings, client, Arc::new(TestClock::default())).err().map(|error| error.to_string())
    };
    let said = error(|settings| *settings.key_pem = "canary".to_owned()).unwrap();
    assert_eq!(said, "push.apns.main: key_file is not a PKCS#8 PEM P-256 key");
    assert!(error(|settings| settings.base_url = "http://api.push.apple.com".to_owned()).is_some());
    assert!(error(|settings| settings.base_url = "https://api.push.apple.com/3".to_owned()).is_some());
    assert!(error(|settings| settings.base_url = "https://api.push.apple.com:443@evil.example".to_owned()).is_some());
    assert!(error(|settings| settings.topic = "a\nb".to_owned()).is_some());
    assert_eq!(error(|_| ()), None);
}
