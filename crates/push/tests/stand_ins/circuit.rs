//! Trouble with one provider: seen at once, probed once a second, felt by no other.

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
