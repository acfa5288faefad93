//! Push services: what a browser decrypts, the address rule, and each answer.

use std::sync::Arc;

use countersign_core::ports::notifications::NotificationKind;
use countersign_push::{Outcome, PushSettings, WebPushSettings};
use countersign_simulator::{stand_in::Behaviour, webpush};
use serde_json::Value;

use crate::world::{DEADLINE, WebRig, build, count_accepted, notification, send_all, settings, web_device, word};

#[tokio::test]
async fn a_browser_decrypts_what_arrives_and_can_show_it_by_itself() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    for (number, kind) in (1..).zip([NotificationKind::Challenge, NotificationKind::Notice, NotificationKind::Test]) {
        let push = notification(number, kind, web_device(&subscription), &rig.hand);
        let report = rig.senders.send(&push).await;
        assert_eq!(report.outcome, Outcome::Accepted);
        assert_eq!(report.destination.to_string(), format!("webpush:{}", rig.service.base_url()));
        let got = rig.service.next(&subscription.id, DEADLINE).await.unwrap().push;
        assert_eq!((got.ttl_seconds, got.urgency.as_deref()), (Some(120), Some("high")));
        assert_eq!(got.vapid_key, Some(rig.senders.vapid_public_key()));
        let plain: Value = serde_json::from_str(&got.plain.unwrap()).unwrap();
        assert_eq!((&plain["kind"], &plain["web_push"]), (&kind.as_str().into(), &8030.into()));
        assert!(plain["notification"]["title"].is_string() && plain["notification"]["navigate"].is_string());
        assert_eq!(plain["notification_id"], push.id.to_string());
    }
    assert_eq!(rig.service.vapid_tokens_seen(), 1);
}

#[tokio::test]
async fn a_repeat_replaces_what_the_browser_has_not_seen_and_a_withdrawal_is_not_sent() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    for _ in 0..2 {
        assert_eq!(rig.send(1, &subscription).await, Outcome::Accepted);
    }
    assert_eq!(rig.service.undelivered(&subscription.id).len(), 1);
    let withdrawn = notification(1, NotificationKind::Withdrawn, web_device(&subscription), &rig.hand);
    assert_eq!(rig.senders.send(&withdrawn).await.outcome, Outcome::Accepted);
    assert_eq!(rig.service.attempted_count(), 2);
}

#[tokio::test]
async fn a_subscription_that_is_bound_to_our_key_is_pushed_to_and_one_of_another_is_not() {
    let rig = WebRig::new().await;
    let browser = webpush::Subscriber::generate().unwrap();
    let ours = rig.service.subscribe_with(&browser, Some(&rig.senders.vapid_public_key())).unwrap();
    assert_eq!(rig.send(1, &ours).await, Outcome::Accepted);
    let mut other = settings(&[rig.service.ca_pem()], &[rig.service.base_url()]);
    *other.webpush.vapid_private_key = [8; 32];
    let other = build(other, &rig.hand);
    let push = notification(1, NotificationKind::Challenge, web_device(&ours), &rig.hand);
    assert_eq!(word(other.send(&push).await.outcome), "undeliverable subscription-refused");
    assert!(other.open_circuits().is_empty());
}

#[tokio::test]
async fn each_answer_has_its_verdict() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    for (behaviour, expected) in [
        (Behaviour::status(201), "accepted"),
        (Behaviour::status(202), "accepted"),
        (Behaviour::Gone { timestamp_millis: None }, "gone subscription-gone"),
        (Behaviour::status(404), "gone subscription-gone"),
        (Behaviour::status(413), "rejected payload-too-large"),
        (Behaviour::status(401), "undeliverable subscription-refused"),
        (Behaviour::status(307), "undeliverable unexpected-status"),
        (Behaviour::Html { code: 502 }, "retry unexpected-status"),
        (Behaviour::HugeBody { bytes: 100_000_000, code: 410 }, "gone subscription-gone"),
        (Behaviour::Normal {}, "accepted"),
    ] {
        rig.service.script(&subscription.id, [behaviour.clone()]);
        assert_eq!(word(rig.send(1, &subscription).await), expected, "{behaviour:?}");
    }
    rig.service.script(&subscription.id, [Behaviour::retry_after(429, "5")]);
    assert!(matches!(rig.send(1, &subscription).await, Outcome::Retry { after_millis: Some(5_000), .. }));
    for fault in [Behaviour::ResetConnection {}, Behaviour::ResetStream {}, Behaviour::Garbage {}] {
        rig.service.script(&subscription.id, [fault.clone()]);
        assert_eq!(rig.send(1, &subscription).await, Outcome::Accepted, "{fault:?}");
    }
}

#[tokio::test]
async fn an_address_of_this_network_is_never_connected_to_by_number_or_by_name() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let settings = settings(&[rig.service.ca_pem()], &[rig.service.base_url()]);
    let webpush = WebPushSettings { additional_networks: Vec::new(), ..settings.webpush };
    let guarded = build(PushSettings { webpush, ..settings }, &rig.hand);
    let mut push = notification(1, NotificationKind::Challenge, web_device(&subscription), &rig.hand);
    assert!(!guarded.is_configured(push.tenant_id, &push.push));
    assert_eq!(word(guarded.send(&push).await.outcome), "undeliverable address-forbidden");
    let mut by_name = subscription.clone();
    by_name.endpoint = by_name.endpoint.replace("127.0.0.1", "localhost");
    push.push = web_device(&by_name);
    assert!(guarded.is_configured(push.tenant_id, &push.push), "a name shows only where it leads when it is asked");
    // As it is said of a name that leads nowhere: it tells nothing about our network.
    assert_eq!(word(guarded.send(&push).await.outcome), "retry unreachable");
    assert_eq!(rig.service.connections(), 0);
    assert!(guarded.open_circuits().is_empty());
}

#[tokio::test]
async fn an_authority_of_the_operators_vouches_for_no_endpoint_of_a_device() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    let mut settings = settings(&[rig.service.ca_pem()], &[rig.service.base_url()]);
    settings.webpush.extra_ca_pem = None;
    let senders = build(settings, &rig.hand);
    let push = notification(1, NotificationKind::Challenge, web_device(&subscription), &rig.hand);
    assert_eq!(word(senders.send(&push).await.outcome), "retry unreachable");
    assert_eq!(rig.service.attempted_count(), 0);
}

#[tokio::test]
async fn a_slow_push_service_holds_sixteen_and_delays_no_other() {
    let (slow, quick) = (WebRig::new().await, WebRig::new().await);
    let ca = [slow.service.ca_pem(), quick.service.ca_pem()];
    let senders = build(settings(&ca, &[slow.service.base_url(), quick.service.base_url()]), &slow.hand);
    let stuck = slow.service.subscribe().unwrap();
    slow.service.always(Some(Behaviour::NeverAnswer {}));
    let push = |number| notification(number, NotificationKind::Challenge, web_device(&stuck), &slow.hand);
    let hanging = tokio::spawn({
        let (senders, pushes) = (Arc::clone(&senders), (0..16).map(push).collect::<Vec<_>>());
        async move { send_all(&senders, pushes).await }
    });
    assert!(slow.service.wait_for_attempts(16, DEADLINE).await);
    let mut waits = push(17);
    waits.leased_until = waits.leased_until.plus_seconds(-8);
    assert_eq!(word(senders.send(&waits).await.outcome), "untried busy");
    let other = quick.service.subscribe().unwrap();
    let push = notification(18, NotificationKind::Challenge, web_device(&other), &slow.hand);
    assert_eq!(senders.send(&push).await.outcome, Outcome::Accepted);
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn a_subscription_with_keys_that_are_none_is_undeliverable() {
    let rig = WebRig::new().await;
    let mut subscription = rig.service.subscribe().unwrap();
    subscription.auth = "AAAA".to_owned();
    assert_eq!(word(rig.send(1, &subscription).await), "undeliverable bad-subscription");
    assert_eq!(rig.service.attempted_count(), 0);
}

#[tokio::test]
async fn a_service_that_works_takes_a_burst_of_all_the_users_of_a_browser() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    assert_eq!(rig.send(0, &subscription).await, Outcome::Accepted);
    let push = |number| notification(number, NotificationKind::Challenge, web_device(&subscription), &rig.hand);
    let reports = send_all(&rig.senders, (1..700).map(push)).await;
    assert_eq!(count_accepted(&reports), 699);
}

#[tokio::test]
async fn one_device_whose_path_breaks_off_or_redirects_shuts_the_service_for_no_other() {
    let rig = WebRig::new().await;
    let (bad, good) = (rig.service.subscribe().unwrap(), rig.service.subscribe().unwrap());
    for (fault, expected) in [
        (Behaviour::ResetStream {}, "retry stream-reset"),
        (Behaviour::status(307), "undeliverable unexpected-status"),
        (Behaviour::status(500), "retry unexpected-status"),
    ] {
        for _ in 0..8 {
            rig.service.script(&bad.id, [fault.clone()]);
            assert_eq!(word(rig.send(1, &bad).await), expected, "{fault:?}");
        }
        assert!(rig.senders.open_circuits().is_empty(), "{fault:?}");
    }
    assert_eq!(rig.send(2, &good).await, Outcome::Accepted);
    for number in 1..=5 {
        rig.service.script(&good.id, [Behaviour::status(500)]);
        assert_eq!(word(rig.send(number, &good).await), "retry unexpected-status");
    }
    assert_eq!(rig.senders.open_circuits(), [format!("webpush:{}", rig.service.base_url())]);
}

#[tokio::test]
async fn a_service_that_nobody_knows_is_asked_once_and_one_that_works_twice() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    rig.service.script(&subscription.id, [Behaviour::ResetStream {}]);
    assert_eq!(word(rig.send(1, &subscription).await), "retry stream-reset");
    assert_eq!(rig.service.attempted_count(), 1);
    assert_eq!(rig.send(1, &subscription).await, Outcome::Accepted);
    rig.service.script(&subscription.id, [Behaviour::ResetStream {}]);
    assert_eq!(rig.send(1, &subscription).await, Outcome::Accepted);
    assert_eq!(rig.service.attempted_count(), 4);
}

#[tokio::test]
async fn a_service_that_asks_three_devices_for_time_is_left_alone_by_all() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    for number in 1..=3 {
        rig.service.script(&subscription.id, [Behaviour::retry_after(429, "30")]);
        assert_eq!(word(rig.send(number, &subscription).await), "retry too-many-requests");
    }
    let waits = rig.send(4, &subscription).await;
    assert!(matches!(waits, Outcome::Retry { after_millis: Some(30_000), .. }), "{waits:?}");
    assert_eq!((word(waits).as_str(), rig.service.attempted_count()), ("retry provider-asked-to-wait", 3));
    rig.hand.advance(30);
    assert_eq!(rig.send(4, &subscription).await, Outcome::Accepted);
}
