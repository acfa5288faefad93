//! The request, to the header and the member; and the verdicts.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::{
    address::SystemResolver,
    testing::{Counting, NOW, TestClock, notification},
};
use countersign_proto::push::PushBinding;

const REGISTERED: Registered<'_> = Registered {
    endpoint: "https://push.example/any/path?and=query",
    p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    auth: "BTBZMqHH6r4Tts7J_aSIgg",
};

fn webpush() -> WebPush {
    let settings = WebPushSettings {
        vapid_private_key: zeroize::Zeroizing::new([7; 32]),
        contact: "mailto:admin@example.org".to_owned(),
        additional_ports: vec![8443],
        additional_networks: Vec::new(),
        refused_networks: Vec::new(),
        extra_ca_pem: None,
    };
    let clock = Arc::new(TestClock::default());
    WebPush::new(&settings, Arc::new(SystemResolver::default()), clock, Arc::new(Counting::default())).unwrap()
}

fn sent(kind: NotificationKind) -> Option<Request> {
    let webpush = webpush();
    let (url, origin) = webpush.origin(REGISTERED.endpoint).unwrap();
    webpush.request(&notification(kind, PushBinding::None), REGISTERED, url, &origin)
}

#[test]
fn the_request_is_what_a_push_service_expects() {
    let request = sent(NotificationKind::Challenge).unwrap();
    assert_eq!(request.url().as_str(), REGISTERED.endpoint);
    for (name, value) in [
        ("ttl", "120"),
        ("urgency", "high"),
        ("content-encoding", "aes128gcm"),
        ("content-type", "application/octet-stream"),
    ] {
        assert_eq!(request.headers().get(name).unwrap(), value, "{name}");
    }
    let topic = request.headers().get("topic").unwrap().to_str().unwrap();
    assert!(topic.len() == 32 && !topic.contains("01890a5d"), "{topic}");
    assert_eq!(sent(NotificationKind::Challenge).unwrap().headers().get("topic").unwrap(), topic);
}

#[test]
fn every_kind_that_shows_something_is_of_the_same_size_and_a_withdrawal_is_no_request() {
    let size = |kind| sent(kind).map(|request| request.body().unwrap().as_bytes().unwrap().len());
    let challenge = size(NotificationKind::Challenge);
    assert!(challenge.is_some_and(|size| size < 1_024));
    assert_eq!(size(NotificationKind::Notice), challenge);
    assert_eq!(size(NotificationKind::Test), challenge);
    assert_eq!(size(NotificationKind::Withdrawn), None);
}

#[tokio::test]
async fn a_withdrawal_is_done_without_asking_anybody() {
    let webpush = webpush();
    let (url, origin) = webpush.origin(REGISTERED.endpoint).unwrap();
    let withdrawn = notification(NotificationKind::Withdrawn, PushBinding::None);
    let verdict = webpush.send(&withdrawn, REGISTERED, url, &origin).await;
    assert_eq!(verdict, Ok((Outcome::Accepted, Health::Unknown)));
}

#[test]
fn the_payload_has_ids_for_the_app_and_the_declarative_form_for_the_browser() {
    let body = body(&notification(NotificationKind::Challenge, PushBinding::None)).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body,
        json!({
            "web_push": 8030,
            "notification": {
                "title": "Sign-in request", "body": "Open the app to answer it.", "lang": "en", "navigate": "./",
                "tag": "01890a5d-ac96-774b-bcce-b302099a8004",
            },
            "mutable": true,
            "v": 1, "kind": "challenge",
            "notification_id": "01890a5d-ac96-774b-bcce-b302099a8001",
            "device_id": "01890a5d-ac96-774b-bcce-b302099a8003",
            "challenge_id": "01890a5d-ac96-774b-bcce-b302099a8004",
        })
    );
}

#[test]
fn an_endpoint_that_may_not_be_reached_is_refused_before_anything_is_sent() {
    let webpush = webpush();
    for endpoint in ["http://push.example/", "https://127.0.0.1/", "https://push.example:22/", "https://[::1]/", "x"] {
        assert!(!webpush.accepts(endpoint), "{endpoint}");
        let refused = webpush.origin(endpoint).err();
        assert_eq!(refused, Some(Outcome::Undeliverable(Reason::of("address-forbidden"))), "{endpoint}");
    }
    for endpoint in ["https://push.example/", "https://push.example:8443/", "https://ntfy.example/UP123?up=1"] {
        assert!(webpush.accepts(endpoint), "{endpoint}");
    }
}

#[test]
fn origins_are_bounded_and_what_is_in_use_is_not_forgotten() {
    let webpush = webpush();
    let origin = |number: usize| webpush.origin(&format!("https://push{number}.example/"));
    for number in 0..2 * ORIGINS {
        assert!(origin(number).is_ok());
    }
    assert_eq!(webpush.origins().len(), ORIGINS);
    let held: Vec<_> = (0..ORIGINS).filter_map(|number| origin(number).ok()).collect();
    assert_eq!(held.len(), ORIGINS);
    let full = Outcome::NotTried { after_millis: 200, reason: Reason::of("busy") };
    assert_eq!(origin(ORIGINS).err(), Some(full));
    assert!(origin(1).is_ok());
    drop(held);
    assert!(origin(ORIGINS).is_ok());
}

#[test]
fn every_answer_has_its_verdict_and_none_tells_its_status() {
    let answer = |status| Answer { status, headers: HeaderMap::new(), body: Vec::new() };
    let judge = |status| verdict(&answer(status), NOW);
    for status in [200, 201, 202, 204] {
        assert_eq!(judge(status), (Outcome::Accepted, Health::Alive));
    }
    for status in [404, 410] {
        assert_eq!(judge(status), (Outcome::TokenGone(Reason::of("subscription-gone")), Health::Alive));
    }
    for status in [400, 401, 403] {
        let refused = Outcome::Undeliverable(Reason::of("subscription-refused"));
        assert_eq!(judge(status), (refused, Health::Alive));
    }
    assert_eq!(judge(413).0, Outcome::Rejected(Reason::of("payload-too-large")));
    assert_eq!(judge(429), (Outcome::retry(Reason::of("too-many-requests")), Health::Unknown));
    let unexpected = Reason::of("unexpected-status");
    for status in [301, 307] {
        assert_eq!(judge(status), (Outcome::Undeliverable(unexpected), Health::Unknown));
    }
    for status in [205, 500, 502, 503, 599] {
        assert_eq!(judge(status), (Outcome::retry(unexpected), Health::Failing(unexpected)));
    }
    for status in [402, 418] {
        assert_eq!(judge(status), (Outcome::Rejected(unexpected), Health::Alive));
    }
    for status in [429, 503] {
        let mut busy = answer(status);
        busy.headers.insert("retry-after", "30".parse().unwrap());
        let (outcome, health) = verdict(&busy, NOW);
        assert!(matches!(outcome, Outcome::Retry { after_millis: Some(30_000), .. }), "{outcome:?}");
        assert_eq!(health, Health::Waits(30_000));
    }
}
