//! Apple: what arrives, the provider token, and each answer.

use countersign_core::ports::notifications::{LeasedNotification, NotificationKind};
use countersign_push::Outcome;
use countersign_simulator::stand_in::Behaviour;

use crate::world::{ApnsRig, DEADLINE, TOPIC, apns_device, apns_token, count_accepted, notification, send_all, word};

#[tokio::test]
async fn every_kind_arrives_as_apple_wants_it() {
    let rig = ApnsRig::new().await;
    let kinds = [
        (NotificationKind::Challenge, "alert", 10),
        (NotificationKind::Notice, "alert", 10),
        (NotificationKind::Test, "alert", 10),
        (NotificationKind::Withdrawn, "background", 5),
    ];
    for (number, (kind, push_type, priority)) in (1..).zip(kinds) {
        let push = notification(number, kind, apns_device(number), &rig.hand);
        let report = rig.senders.send(&push).await;
        assert_eq!((report.outcome, report.destination.to_string()), (Outcome::Accepted, "apns:main".to_owned()));
        let got = rig.apns.next(&apns_token(number), DEADLINE).await.unwrap().push;
        assert_eq!((got.push_type.as_deref(), got.priority), (Some(push_type), priority));
        assert_eq!(got.apns_id, push.id.to_string());
        assert_eq!(got.collapse_id, Some(push.challenge_id.map_or(push.id.to_string(), |id| id.to_string())));
        assert_eq!(got.expiration, Some(push.expires_at.as_seconds()));
        assert_eq!(got.payload["kind"], kind.as_str());
        assert_eq!(got.payload["notification_id"], push.id.to_string());
    }
    assert_eq!((rig.apns.connections(), rig.apns.provider_tokens_seen()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_use_one_connection_and_one_token() {
    let rig = ApnsRig::new().await;
    let reports = send_all(&rig.senders, (0..1_000).map(|number| rig.push(number))).await;
    assert_eq!(count_accepted(&reports), 1_000);
    assert_eq!((rig.apns.connections(), rig.apns.provider_tokens_seen()), (1, 1));
}

#[tokio::test]
async fn over_hours_two_nodes_that_restart_never_change_tokens_too_often() {
    // The stand-in refuses a token that it has not seen less than 20 minutes after the last such one.
    let rig = ApnsRig::new().await;
    let other = ApnsRig::node(&rig.apns, &rig.key, &rig.hand);
    for number in 0..60 {
        let restarted = ApnsRig::node(&rig.apns, &rig.key, &rig.hand);
        for senders in [&rig.senders, &other, &restarted] {
            assert_eq!(senders.send(&rig.push(number)).await.outcome, Outcome::Accepted, "minute {}", 7 * number);
        }
        rig.hand.advance(7 * 60);
    }
    let tokens = rig.apns.provider_tokens_seen();
    assert!((60 * 7 / 55..=60 * 7 / 20).contains(&tokens), "{tokens} tokens in seven hours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_made_anew_once_for_a_thousand_and_each_push_repeated_once() {
    // Our clock is 35 minutes slow.
    let rig = ApnsRig::with(|options, hand| options.common.clock = hand.ahead(35 * 60)).await;
    assert_eq!(rig.send(0).await, Outcome::Accepted);
    rig.hand.advance(30 * 60);
    let reports = send_all(&rig.senders, (1..1_000).map(|number| rig.push(number))).await;
    assert_eq!(count_accepted(&reports), 999);
    assert_eq!(rig.apns.provider_tokens_seen(), 2);
    let attempts = rig.apns.attempted_count();
    assert!(attempts <= 1 + 2 * 999, "{attempts} requests");
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_trouble_and_not_made_a_third_time() {
    let rig = ApnsRig::new().await;
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    rig.hand.advance(30 * 60);
    rig.apns.always(Some(Behaviour::refusal(403, "ExpiredProviderToken")));
    assert_eq!(word(rig.send(2).await), "retry expired-provider-token 403");
    assert_eq!(rig.apns.attempted_count(), 3, "one repeat");
    assert_eq!(rig.senders.open_circuits(), ["apns:main"]);
}

#[tokio::test]
async fn a_410_clears_only_a_token_that_was_not_registered_again_since() {
    let rig = ApnsRig::new().await;
    let registered_at = rig.push(1).push_updated_at.as_millis();
    for (millis, expected) in [
        (registered_at + 1, "gone unregistered 410"),
        (registered_at, "gone unregistered 410"),
        (registered_at - 1, "retry unregistered-stale 410"),
    ] {
        rig.apns.register(&apns_token(1), TOPIC);
        rig.apns.unregister(&apns_token(1), millis);
        assert_eq!(word(rig.send(1).await), expected);
    }
    rig.apns.script(&apns_token(1), [Behaviour::Gone { timestamp_millis: None }]);
    assert_eq!(word(rig.send(1).await), "gone unregistered 410");
    rig.apns.register(&apns_token(1), TOPIC);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
}

#[tokio::test]
async fn bad_tokens_are_undeliverable_and_never_open_the_circuit() {
    let rig = ApnsRig::with(|options, _| options.common.known_tokens_only = true).await;
    rig.apns.register(&apns_token(1), "org.example.another");
    rig.apns.register(&apns_token(0), TOPIC);
    assert_eq!(word(rig.send(1).await), "undeliverable device-token-not-for-topic 400");
    for number in 2..30 {
        assert_eq!(word(rig.send(number).await), "undeliverable bad-device-token 400");
    }
    assert_eq!(rig.send(0).await, Outcome::Accepted);
    assert!(rig.senders.open_circuits().is_empty());
}

#[tokio::test]
async fn each_answer_has_its_verdict_and_a_pause_is_kept() {
    let rig = ApnsRig::new().await;
    let token = apns_token(1);
    for (behaviour, expected) in [
        (Behaviour::refusal(413, "PayloadTooLarge"), "rejected payload-too-large 413"),
        (Behaviour::refusal(400, "BadExpirationDate"), "rejected bad-expiration-date 400"),
        (Behaviour::refusal(429, "TooManyRequests"), "retry too-many-requests 429"),
        (Behaviour::refusal(503, "ServiceUnavailable"), "retry service-unavailable 503"),
        (Behaviour::refusal(500, "InternalServerError"), "retry internal-server-error 500"),
        (Behaviour::refusal(418, "Teapot"), "rejected unexpected-status 418"),
        (Behaviour::Html { code: 502 }, "retry unexpected-status 502"),
        (Behaviour::Html { code: 302 }, "retry unexpected-status 302"),
        (Behaviour::GarbageBody { code: 400 }, "rejected unexpected-status 400"),
        (Behaviour::Normal {}, "accepted"),
    ] {
        rig.apns.script(&token, [behaviour.clone()]);
        assert_eq!(word(rig.send(1).await), expected, "{behaviour:?}");
    }
    rig.apns.script(&token, [Behaviour::retry_after(429, "17"), Behaviour::retry_after(503, "nonsense")]);
    assert!(matches!(rig.send(1).await, Outcome::Retry { after_millis: Some(17_000), .. }));
    assert!(matches!(rig.send(1).await, Outcome::Retry { after_millis: None, .. }));
}

#[tokio::test]
async fn a_push_that_was_taken_but_not_answered_is_shown_once() {
    let rig = ApnsRig::new().await;
    rig.apns.script(&apns_token(1), [Behaviour::LoseAnswer {}]);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    let attempts = rig.apns.received();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].push.apns_id, attempts[1].push.apns_id);
    assert_eq!((rig.apns.rung(&apns_token(1)), rig.apns.shown(&apns_token(1)).len()), (2, 1));
}

#[tokio::test]
async fn a_token_of_nobodys_making_reaches_no_other_path() {
    let rig = ApnsRig::new().await;
    let mut push: LeasedNotification = rig.push(1);
    push.push = countersign_proto::push::PushBinding::Apns {
        token: "../../3/device/ab".to_owned(),
        topic: TOPIC.to_owned(),
        environment: countersign_proto::vocabulary::ApnsEnvironment::Sandbox,
    };
    assert_eq!(word(rig.senders.send(&push).await.outcome), "undeliverable bad-device-token");
    assert_eq!(rig.apns.attempted_count(), 0);
}
