//! Which credential a device goes to, and what becomes of it without a network.

use countersign_core::ports::notifications::NotificationKind;
use countersign_proto::vocabulary::ApnsEnvironment;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use zeroize::Zeroizing;

use super::*;
use crate::{
    settings::{ApnsSettings, WebPushSettings},
    testing::{Counting, NOW, TestClock, id, notification},
};

fn apns(name: &str, topic: &str, tenants: Option<Vec<TenantId>>) -> ApnsSettings {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    ApnsSettings {
        name: name.to_owned(),
        key_pem: key.to_pkcs8_pem(LineEnding::LF).unwrap(),
        key_id: "KEY0000000".to_owned(),
        team_id: "TEAM000000".to_owned(),
        topic: topic.to_owned(),
        environment: ApnsEnvironment::Production,
        // Nobody listens on the discard port of loopback.
        base_url: "https://127.0.0.1:9".to_owned(),
        tenants,
    }
}

fn settings(apns: Vec<ApnsSettings>) -> PushSettings {
    PushSettings {
        apns,
        fcm: Vec::new(),
        webpush: WebPushSettings {
            vapid_private_key: Zeroizing::new([7; 32]),
            contact: "mailto:admin@example.org".to_owned(),
            additional_ports: Vec::new(),
            additional_networks: Vec::new(),
            refused_networks: Vec::new(),
            extra_ca_pem: None,
        },
        extra_ca_pem: None,
    }
}

fn senders(apns: Vec<ApnsSettings>) -> (Senders, TestClock) {
    let clock = TestClock::default();
    let senders = Senders::new(settings(apns), Arc::new(clock.clone()), Arc::new(Counting::default())).unwrap();
    (senders, clock)
}

fn device(topic: &str) -> PushBinding {
    PushBinding::Apns { token: "ab".repeat(32), topic: topic.to_owned(), environment: ApnsEnvironment::Production }
}

fn chosen(senders: &Senders, tenant_id: TenantId, topic: &str) -> String {
    match senders.route(tenant_id, &device(topic)) {
        Route::Apns(apns, _) => apns.gate.destination().to_string(),
        _ => "none".to_owned(),
    }
}

#[tokio::test]
async fn a_tenants_own_credential_goes_before_one_for_all() {
    let (senders, _) = senders(vec![
        apns("all", "a", None),
        apns("own", "a", Some(vec![id(2)])),
        apns("other", "b", Some(vec![id(9)])),
    ]);
    assert_eq!(chosen(&senders, id(2), "a"), "apns:own");
    assert_eq!(chosen(&senders, id(3), "a"), "apns:all");
    assert_eq!(chosen(&senders, id(9), "b"), "apns:other");
    assert_eq!(chosen(&senders, id(2), "b"), "none", "another tenant's");
    assert_eq!(chosen(&senders, id(2), "c"), "none");
    assert!(senders.is_configured(id(2), &device("a")) && !senders.is_configured(id(2), &device("b")));
    assert!(senders.is_configured(id(2), &PushBinding::None));
    assert!(!senders.is_in_trouble(id(2), &device("a")) && senders.is_in_trouble(id(2), &device("b")));
    let sandbox =
        PushBinding::Apns { token: "ab".repeat(32), topic: "a".to_owned(), environment: ApnsEnvironment::Sandbox };
    assert!(!senders.is_configured(id(2), &sandbox));
}

#[tokio::test]
async fn a_channel_without_a_credential_waits_and_a_device_that_pulls_is_not_rung() {
    let (senders, _) = senders(Vec::new());
    let report = senders.send(&notification(NotificationKind::Challenge, device("a"))).await;
    assert_eq!((report.destination.to_string().as_str(), report.destination.provider()), ("apns:unconfigured", "apns"));
    assert_eq!(report.outcome, Outcome::retry(Reason::of("not-configured")));
    let report = senders.send(&notification(NotificationKind::Challenge, PushBinding::None)).await;
    assert_eq!(report.outcome, Outcome::Rejected(Reason::of("no-channel")));
}

#[tokio::test]
async fn a_push_whose_lease_or_time_is_over_is_not_begun() {
    let (senders, clock) = senders(vec![apns("main", "a", None)]);
    let push = notification(NotificationKind::Challenge, device("a"));
    let late = LeasedNotification { expires_at: NOW, ..push.clone() };
    assert_eq!(senders.send(&late).await.outcome, Outcome::retry(Reason::of("too-late")));
    clock.advance_millis(9_600);
    let over = Outcome::NotTried { after_millis: 200, reason: Reason::of("lease-over") };
    assert_eq!(senders.send(&push).await.outcome, over);
}

#[tokio::test]
async fn a_dead_provider_opens_its_circuit_and_no_other() {
    let (senders, clock) = senders(vec![apns("main", "a", None), apns("other", "b", None)]);
    let push = notification(NotificationKind::Challenge, device("a"));
    for _ in 0..5 {
        assert_eq!(senders.send(&push).await.outcome, Outcome::retry(Reason::of("connection-refused")));
    }
    assert_eq!(senders.open_circuits(), ["apns:main"]);
    assert!(senders.is_in_trouble(id(2), &device("a")) && !senders.is_in_trouble(id(2), &device("b")));
    let waits = Outcome::Retry { after_millis: Some(1_000), reason: Reason::of("circuit-open") };
    assert_eq!(senders.send(&push).await.outcome, waits);
    clock.advance_millis(1_000);
    assert_eq!(senders.send(&push).await.outcome, Outcome::retry(Reason::of("connection-refused")), "the probe");
    assert_eq!(senders.send(&push).await.outcome, waits);
}

#[tokio::test]
async fn an_endpoint_that_may_not_be_reached_is_undeliverable() {
    let (senders, _) = senders(Vec::new());
    let endpoint = "https://169.254.169.254/latest".to_owned();
    let push = PushBinding::Webpush { endpoint, p256dh: String::new(), auth: String::new() };
    assert!(!senders.is_configured(id(2), &push) && senders.is_in_trouble(id(2), &push));
    let report = senders.send(&notification(NotificationKind::Challenge, push)).await;
    assert_eq!(report.outcome, Outcome::Undeliverable(Reason::of("address-forbidden")));
}

#[test]
fn names_are_unique_and_certificates_are_certificates() {
    let build = |settings| {
        let clock = Arc::new(TestClock::default());
        Senders::new(settings, clock, Arc::new(Counting::default())).err().map(|error| error.to_string())
    };
    let twice = settings(vec![apns("main", "a", None), apns("main", "b", None)]);
    assert_eq!(build(twice), Some("push.apns.main: each credential needs a name of its own".to_owned()));
    assert!(build(settings(vec![apns("", "a", None)])).is_some());
    let bad = PushSettings { extra_ca_pem: Some(b"canary".to_vec()), ..settings(Vec::new()) };
    assert_eq!(build(bad), Some("push.extra_ca_file: not a PEM file of certificates".to_owned()));
    let mut bad = settings(Vec::new());
    bad.webpush.extra_ca_pem = Some(b"canary".to_vec());
    assert_eq!(build(bad), Some("push.webpush.extra_ca_file: not a PEM file of certificates".to_owned()));
}
