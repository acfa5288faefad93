//! Push services: what a browser decrypts, the address rule, and each answer.

use std::sync::Arc;

use countersign_core::ports::notifications::NotificationKind;
use countersign_push::{Outcome, PushSettings, WebPushSettings};
use countersign_simulator::{stand_in::Behaviour, webpush};
use serde_json::Value;

use crate::world::{DEADLINE, WebRig, build, notification, send_all, settings, web_device, word};

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
    assert_eq!(word(other.send(&push).await.outcome), "undeliverable subscription-refused 403");
    assert!(other.open_circuits().is_empty());
}

#[tokio::test]
async fn each_answer_has_its_verdict() {
    let rig = WebRig::new().await;
    let subscription = rig.service.subscribe().unwrap();
    for (behaviour, expected) in [
        (Behaviour::status(201), "accepted"),
        (Behaviour::status(202), "accepted"),
        (Behaviour::Gone { timestamp_millis: None }, "gone subscription-gone 410"),
        (Behaviour::status(404), "gone subscription-gone 404"),
        (Behaviour::status(413), "rejected payload-too-large 413"),
        (Behaviour::status(401), "undeliverable subscription-refused 401"),
        (Behaviour::status(307), "retry unexpected-status 307"),
        (Behaviour::Html { code: 502 }, "retry unexpected-status 502"),
        (Behaviour::HugeBody { bytes: 100_000_000, code: 410 }, "gone subscription-gone 410"),
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
    assert_eq!(word(guarded.send(&push).await.outcome), "undeliverable address-forbidden");
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
    assert_eq!(word(senders.send(&push).await.outcome), "retry certificate-untrusted");
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
    assert_eq!(word(senders.send(&push(17)).await.outcome), "retry busy");
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
