//! Trouble with one provider: seen at once, probed once a second, felt by no other.

use countersign_core::clock::Clock as _;
use countersign_core::ports::notifications::NotificationKind;
use countersign_push::Outcome;
use countersign_simulator::{apns, fcm, stand_in::Behaviour};

use crate::world::{
    Hand, TOPIC, apns_device, apns_settings, build, count_accepted, developer_key, fcm_device, fcm_settings,
    notification, send_all, settings, word,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_apple_refuses_stop_apple_only_and_are_probed_once_a_second() {
    let hand = Hand::new();
    let (known, unknown) = (developer_key(), developer_key());
    let mut options = apns::Options::new(known, TOPIC);
    options.common = hand.common();
    let apns = apns::start(options).await.unwrap();
    let fcm = fcm::start(fcm::Options { common: hand.common(), ..fcm::Options::default() }).await.unwrap();
    let mut settings = settings(&[apns.ca_pem(), fcm.ca_pem()], &[]);
    settings.apns.push(apns_settings("main", &unknown, apns.base_url()));
    settings.fcm.push(fcm_settings(&fcm));
    let senders = build(settings, &hand);
    let to_apple = |number| notification(number, NotificationKind::Challenge, apns_device(number), &hand);
    let to_google = |number| notification(number, NotificationKind::Challenge, fcm_device(number), &hand);

    assert_eq!(word(senders.send(&to_apple(0)).await.outcome), "retry invalid-provider-token 403");
    assert_eq!(senders.open_circuits(), ["apns:main"]);
    assert!(senders.is_in_trouble(to_apple(0).tenant_id, &apns_device(0)));
    assert!(!senders.is_in_trouble(to_apple(0).tenant_id, &fcm_device(0)));

    for second in 1..=5 {
        hand.advance(1);
        let reports = send_all(&senders, (0..50).map(to_apple)).await;
        let waiting = reports.iter().filter(|report| word(report.outcome) == "retry circuit-open").count();
        assert_eq!((waiting, apns.attempted_count()), (49, 1 + second), "one probe");
    }
    let reports = send_all(&senders, (0..200).map(to_google)).await;
    assert_eq!(count_accepted(&reports), 200);
}

#[tokio::test]
async fn an_outage_opens_the_circuit_and_its_end_closes_it() {
    let rig = crate::world::FcmRig::new().await;
    rig.fcm.always(Some(Behaviour::status(503)));
    for _ in 0..5 {
        assert!(rig.senders.open_circuits().is_empty());
        assert_eq!(word(rig.send(1).await), "retry unavailable 503");
    }
    assert_eq!(rig.senders.open_circuits(), ["fcm:main"]);
    let asked = rig.fcm.attempted_count();
    for _ in 0..50 {
        assert_eq!(word(rig.send(1).await), "retry circuit-open");
    }
    assert_eq!(rig.fcm.attempted_count(), asked);
    rig.fcm.always(None);
    rig.hand.advance(1);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    assert!(rig.senders.open_circuits().is_empty());
}

#[tokio::test]
async fn a_probe_is_one_request_and_the_next_one_has_the_other_token() {
    let rig = crate::world::ApnsRig::new().await;
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    rig.hand.advance(30 * 60);
    rig.apns.always(Some(Behaviour::status(503)));
    for _ in 0..5 {
        assert_eq!(word(rig.send(1).await), "retry service-unavailable 503");
    }
    let asked = rig.apns.attempted_count();
    for (number, behaviour) in (1..).zip([Behaviour::refusal(403, "ExpiredProviderToken"), Behaviour::ResetStream {}]) {
        rig.apns.always(Some(behaviour.clone()));
        rig.hand.advance(1);
        assert!(word(rig.send(1).await).starts_with("retry "), "{behaviour:?}");
        assert_eq!(rig.apns.attempted_count(), asked + number, "{behaviour:?}");
    }
    rig.apns.always(None);
    rig.hand.advance(1);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    assert_eq!(rig.apns.provider_tokens_seen(), 2);
}

#[tokio::test]
async fn a_pause_that_apple_asks_one_device_for_is_no_others() {
    let rig = crate::world::ApnsRig::new().await;
    rig.apns.script(&crate::world::apns_token(1), [Behaviour::retry_after(429, "60")]);
    assert!(matches!(rig.send(1).await, Outcome::Retry { after_millis: Some(60_000), .. }));
    assert_eq!(rig.send(2).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_push_is_not_under_way_when_it_is_worth_nothing() {
    let rig = crate::world::ApnsRig::new().await;
    rig.apns.always(Some(Behaviour::NeverAnswer {}));
    let mut push = rig.push(1);
    push.expires_at = rig.hand.now().plus_millis(1_200);
    // Within its worth, or it would have been the stand-in's silence for 8 s.
    let report = tokio::time::timeout(std::time::Duration::from_secs(5), rig.senders.send(&push)).await.unwrap();
    assert_eq!(word(report.outcome), "retry timeout");
    for _ in 0..4 {
        rig.senders.send(&push).await;
    }
    assert!(rig.senders.open_circuits().is_empty(), "our haste says nothing about Apple");
    push.expires_at = rig.hand.now().plus_millis(999);
    assert_eq!(word(rig.senders.send(&push).await.outcome), "retry too-late");
    assert_eq!(rig.apns.attempted_count(), 5);
}
