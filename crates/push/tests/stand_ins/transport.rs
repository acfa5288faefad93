//! Every way for a connection to fail, shown on APNs: typed, bounded, repeated with the same ids.

use countersign_core::ports::notifications::NotificationKind;
use countersign_push::Outcome;
use countersign_simulator::{
    apns,
    stand_in::{Behaviour, Certificates, Flaw},
};

use crate::world::{
    ApnsRig, Hand, TOPIC, apns_device, apns_settings, apns_token, build, count_accepted, developer_key, notification,
    send_all, settings, word,
};

/// Requests for one token: the connection and the id of each.
fn attempts(rig: &ApnsRig, number: u16) -> Vec<(u64, String)> {
    let attempts = rig.apns.attempts().into_iter().filter(|attempt| attempt.token == apns_token(number));
    attempts.map(|attempt| (attempt.connection, attempt.push.apns_id)).collect()
}

#[tokio::test]
async fn what_failed_with_its_connection_is_repeated_on_another_with_the_same_ids() {
    let rig = ApnsRig::new().await;
    let faults = [Behaviour::GoAway {}, Behaviour::ResetConnection {}, Behaviour::Garbage {}];
    for (number, fault) in (1..).zip(faults) {
        assert_eq!(rig.send(0).await, Outcome::Accepted, "a connection is there");
        rig.apns.script(&apns_token(number), [fault.clone()]);
        assert_eq!(rig.send(number).await, Outcome::Accepted, "{fault:?}");
        let attempts = attempts(&rig, number);
        assert_eq!(attempts.len(), 2, "{fault:?}");
        assert_ne!(attempts[0].0, attempts[1].0, "{fault:?}: another connection");
        assert_eq!(attempts[0].1, attempts[1].1, "{fault:?}: the same id");
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_is_repeated() {
    let rig = ApnsRig::new().await;
    rig.apns.script(&apns_token(1), [Behaviour::ResetStream {}]);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    assert_eq!(attempts(&rig, 1).len(), 2);
}

#[tokio::test]
async fn what_fails_twice_is_typed_and_left_to_the_dispatcher() {
    let rig = ApnsRig::new().await;
    for (number, (fault, expected)) in (1..).zip([
        (Behaviour::ResetStream {}, "retry stream-reset"),
        (Behaviour::ResetConnection {}, "retry connection-reset"),
        (Behaviour::Garbage {}, "retry bad-response"),
    ]) {
        rig.apns.script(&apns_token(number), vec![fault.clone(); 2]);
        assert_eq!(word(rig.send(number).await), expected, "{fault:?}");
        assert_eq!(attempts(&rig, number).len(), 2, "{fault:?}: one repeat");
        assert_eq!(rig.send(0).await, Outcome::Accepted);
    }
    rig.apns.script(&apns_token(9), vec![Behaviour::GoAway {}; 9]);
    assert_eq!(word(rig.send(9).await), "retry connection-closed");
}

#[tokio::test]
async fn a_connection_that_died_silently_is_found_in_seconds_and_the_push_goes_over_another() {
    let rig = ApnsRig::new().await;
    rig.apns.script(&apns_token(1), [Behaviour::Silent {}]);
    // Within the 8 s that a push may take, or it would have timed out.
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    assert_eq!(rig.apns.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_died_while_nothing_was_under_way_is_replaced() {
    let rig = ApnsRig::new().await;
    rig.apns.script(&apns_token(1), [Behaviour::Silent {}]);
    let mut given_up = rig.push(1);
    given_up.leased_until = given_up.leased_until.plus_seconds(-8);
    assert_eq!(word(rig.senders.send(&given_up).await.outcome), "retry timeout");
    assert_eq!(rig.send(2).await, Outcome::Accepted);
    assert_eq!(rig.apns.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_with_the_lease_and_delays_nobody() {
    let rig = ApnsRig::new().await;
    rig.apns.script(&apns_token(1), [Behaviour::NeverAnswer {}]);
    let mut slow = rig.push(1);
    slow.leased_until = slow.leased_until.plus_seconds(-8);
    let (slow, quick) = tokio::join!(rig.senders.send(&slow), rig.send(2));
    assert_eq!((word(slow.outcome).as_str(), quick), ("retry timeout", Outcome::Accepted));
    assert_eq!(rig.apns.connections(), 1);
    rig.apns.script(&apns_token(3), [Behaviour::SlowHeaders { millis: 500 }]);
    let mut trickled = rig.push(3);
    trickled.leased_until = trickled.leased_until.plus_seconds(-8);
    assert_eq!(word(rig.senders.send(&trickled).await.outcome), "retry timeout");
}

#[tokio::test]
async fn a_hundred_megabytes_are_not_read() {
    let rig = ApnsRig::new().await;
    let huge = |code| Behaviour::HugeBody { bytes: 100_000_000, code };
    for (code, expected) in
        [(200, "accepted"), (400, "rejected unexpected-status 400"), (500, "retry unexpected-status 500")]
    {
        rig.apns.script(&apns_token(1), [huge(code)]);
        assert_eq!(word(rig.send(1).await), expected);
    }
    assert_eq!(rig.send(2).await, Outcome::Accepted);
    assert_eq!(rig.apns.connections(), 1, "its connection is still good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_at_a_time_is_slow_but_enough() {
    let rig = ApnsRig::with(|options, _| options.common.max_concurrent_streams = 1).await;
    let reports = send_all(&rig.senders, (0..200).map(|number| rig.push(number))).await;
    assert_eq!(count_accepted(&reports), 200);
    // No connection for each push that has to wait. One more is no fault: a machine that stands still for seconds makes an
    // answer to a ping late, and a connection whose ping is not answered is replaced.
    assert!(rig.apns.connections() <= 2, "{} connections", rig.apns.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pushes_with_a_goaway_every_hundred_are_each_delivered_and_shown_once() {
    let rig = ApnsRig::with(|options, _| options.common.goaway_every = Some(100)).await;
    let mut waiting: Vec<u16> = (0..1_000).collect();
    // As the dispatcher does: what is to be retried comes again.
    for _round in 0..20 {
        let reports = send_all(&rig.senders, waiting.iter().map(|number| rig.push(*number))).await;
        let sent = waiting.into_iter().zip(reports);
        waiting = sent.filter(|(_, report)| report.outcome != Outcome::Accepted).map(|(number, _)| number).collect();
        rig.hand.advance(1);
        if waiting.is_empty() {
            break;
        }
    }
    assert!(waiting.is_empty(), "{} left", waiting.len());
    for number in 0..1_000 {
        assert_eq!(rig.apns.shown(&apns_token(number)).len(), 1, "{number}");
    }
    assert!(rig.apns.connections() >= 10);
}

#[tokio::test]
async fn certificates_that_are_wrong_are_told_apart() {
    let (hand, key) = (Hand::new(), developer_key());
    for (flaw, expected) in
        [(Flaw::Expired, "retry certificate-expired"), (Flaw::WrongHost, "retry certificate-wrong-host")]
    {
        let mut options = apns::Options::new(key.clone(), TOPIC);
        options.common = hand.common();
        options.common.certificates = Some(Certificates::with_flaw(flaw).unwrap());
        let apns = apns::start(options).await.unwrap();
        let rig = ApnsRig { senders: ApnsRig::node(&apns, &key, &hand), apns, key: key.clone(), hand: hand.clone() };
        assert_eq!(word(rig.send(1).await), expected);
        assert_eq!(rig.apns.attempted_count(), 0);
    }
    let rig = ApnsRig::new().await;
    let mut untrusting = settings(&[], &[]);
    untrusting.apns.push(apns_settings("main", &rig.key, rig.apns.base_url()));
    let senders = build(untrusting, &rig.hand);
    assert_eq!(word(senders.send(&rig.push(1)).await.outcome), "retry certificate-untrusted");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_said_so() {
    let ApnsRig { apns, senders, hand, .. } = ApnsRig::new().await;
    apns.stop().await;
    let push = notification(1, NotificationKind::Challenge, apns_device(1), &hand);
    assert_eq!(word(senders.send(&push).await.outcome), "retry connection-refused");
}
