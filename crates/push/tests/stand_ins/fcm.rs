//! Google: what arrives, the access token, and each answer.

use countersign_core::ports::notifications::NotificationKind;
use countersign_push::Outcome;
use countersign_simulator::{fcm::TOKEN_ENDPOINT, stand_in::Behaviour};

use crate::world::{DEADLINE, FcmRig, count_accepted, fcm_device, fcm_token, notification, send_all, word};

#[tokio::test]
async fn every_kind_arrives_as_google_wants_it() {
    let rig = FcmRig::new().await;
    let kinds = [
        (NotificationKind::Challenge, "HIGH"),
        (NotificationKind::Notice, "HIGH"),
        (NotificationKind::Test, "HIGH"),
        (NotificationKind::Withdrawn, "NORMAL"),
    ];
    for (number, (kind, priority)) in (1..).zip(kinds) {
        let push = notification(number, kind, fcm_device(number), &rig.hand);
        let report = rig.senders.send(&push).await;
        assert_eq!((report.outcome, report.destination.to_string()), (Outcome::Accepted, "fcm:main".to_owned()));
        let got = rig.fcm.next(&fcm_token(number), DEADLINE).await.unwrap().push;
        assert_eq!((got.priority.as_deref(), got.ttl_seconds), (Some(priority), Some(120)));
        assert_eq!(got.collapse_key, Some(push.challenge_id.map_or(push.id.to_string(), |id| id.to_string())));
        assert_eq!((&got.data["kind"], &got.data["v"]), (&kind.as_str().into(), &"1".into()));
    }
    assert_eq!(rig.fcm.assertions(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_ask_for_one_token_and_open_few_connections() {
    let rig = FcmRig::new().await;
    let reports = send_all(&rig.senders, (0..1_000).map(|number| rig.push(number))).await;
    assert_eq!(count_accepted(&reports), 1_000);
    assert_eq!(rig.fcm.assertions(), 1);
    assert!(rig.fcm.connections() <= 9, "{} connections", rig.fcm.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_refused_is_fetched_once_for_all_and_each_push_repeated_once() {
    let rig = FcmRig::new().await;
    assert_eq!(rig.send(0).await, Outcome::Accepted);
    rig.fcm.revoke_access_tokens();
    let reports = send_all(&rig.senders, (1..1_000).map(|number| rig.push(number))).await;
    assert_eq!(count_accepted(&reports), 999);
    assert_eq!(rig.fcm.assertions(), 2);
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let rig = FcmRig::new().await;
    for (advance, assertions) in [(0, 1), (3_200, 1), (100, 2), (3_200, 2), (3_000, 3)] {
        rig.hand.advance(advance);
        assert_eq!(rig.send(1).await, Outcome::Accepted);
        assert_eq!(rig.fcm.assertions(), assertions, "after {advance} s more");
    }
    assert_eq!(rig.fcm.attempts().iter().filter(|attempt| !attempt.answer.accepted).count(), 0);
}

#[tokio::test]
async fn a_token_that_cannot_be_replaced_is_used_to_its_end() {
    let rig = FcmRig::new().await;
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    rig.hand.advance(3_400);
    rig.fcm.script(TOKEN_ENDPOINT, [Behaviour::status(503)]);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    assert_eq!(rig.send(2).await, Outcome::Accepted, "nor is the endpoint asked again within the second");
    rig.fcm.script(TOKEN_ENDPOINT, [Behaviour::status(503)]);
    rig.hand.advance(400);
    assert_eq!(word(rig.send(1).await), "retry token-unexpected-status 503");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_share_one_failure_to_get_a_token() {
    let rig = FcmRig::new().await;
    rig.fcm.script(TOKEN_ENDPOINT, [Behaviour::retry_after(503, "2")]);
    let reports = send_all(&rig.senders, (0..1_000).map(|number| rig.push(number))).await;
    let words: Vec<String> = reports.iter().map(|report| word(report.outcome)).collect();
    let allowed = ["retry token-unexpected-status 503", "retry provider-asked-to-wait"];
    assert!(words.iter().all(|word| allowed.contains(&word.as_str())), "{:?}", words.first());
    assert_eq!(rig.fcm.attempted_count(), 0);
    // The script is used up: a second request would have brought a token.
    rig.hand.advance(3);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
}

#[tokio::test]
async fn an_account_that_google_refuses_opens_the_circuit_at_once() {
    let rig = FcmRig::new().await;
    rig.fcm.script(TOKEN_ENDPOINT, [Behaviour::refusal(400, "invalid_grant")]);
    assert_eq!(word(rig.send(1).await), "retry token-refused 400");
    assert_eq!(rig.senders.open_circuits(), ["fcm:main"]);
    rig.hand.advance(1);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
    assert!(rig.senders.open_circuits().is_empty());
}

#[tokio::test]
async fn a_token_endpoint_that_answers_nonsense_is_typed() {
    let rig = FcmRig::new().await;
    for (behaviour, expected) in [
        (Behaviour::GarbageBody { code: 200 }, "retry token-bad-response 200"),
        (Behaviour::HugeBody { bytes: 100_000_000, code: 200 }, "retry token-bad-response 200"),
        (Behaviour::Html { code: 502 }, "retry token-unexpected-status 502"),
        (Behaviour::refusal(429, "slow_down"), "retry token-too-many-requests 429"),
    ] {
        rig.fcm.script(TOKEN_ENDPOINT, [behaviour.clone()]);
        assert_eq!(word(rig.send(1).await), expected, "{behaviour:?}");
        rig.hand.advance(1);
    }
    assert_eq!(rig.send(1).await, Outcome::Accepted);
}

#[tokio::test]
async fn each_answer_has_its_verdict() {
    let rig = FcmRig::new().await;
    rig.fcm.unregister(&fcm_token(2));
    rig.fcm.register(&fcm_token(3), "another-project");
    assert_eq!(word(rig.send(2).await), "gone unregistered 404");
    assert_eq!(word(rig.send(3).await), "undeliverable sender-id-mismatch 403");
    for (behaviour, expected) in [
        (Behaviour::refusal(400, "INVALID_ARGUMENT"), "undeliverable invalid-argument 400"),
        (Behaviour::refusal(429, "QUOTA_EXCEEDED"), "retry quota-exceeded 429"),
        (Behaviour::refusal(503, "UNAVAILABLE"), "retry unavailable 503"),
        (Behaviour::refusal(500, "INTERNAL"), "retry internal 500"),
        (Behaviour::Html { code: 404 }, "rejected unexpected-status 404"),
        (Behaviour::Html { code: 200 }, "retry bad-response 200"),
        (Behaviour::HugeBody { bytes: 100_000_000, code: 200 }, "retry bad-response 200"),
        (Behaviour::GarbageBody { code: 500 }, "retry unexpected-status 500"),
        (Behaviour::Normal {}, "accepted"),
    ] {
        rig.fcm.script(&fcm_token(1), [behaviour.clone()]);
        assert_eq!(word(rig.send(1).await), expected, "{behaviour:?}");
        rig.hand.advance(1);
    }
    rig.fcm.script(&fcm_token(1), [Behaviour::retry_after(429, "31")]);
    assert!(matches!(rig.send(1).await, Outcome::Retry { after_millis: Some(31_000), .. }));
    let asked = rig.fcm.attempted_count();
    rig.hand.advance(1);
    let waits = rig.send(2).await;
    assert!(matches!(waits, Outcome::Retry { after_millis: Some(30_000), .. }), "{waits:?}");
    assert_eq!((word(waits).as_str(), rig.fcm.attempted_count()), ("retry provider-asked-to-wait", asked));
    rig.hand.advance(30);
    assert_eq!(rig.send(1).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_token_of_another_platform_in_a_project_without_a_key_for_it_is_that_devices_affair() {
    let rig = FcmRig::new().await;
    for _ in 0..8 {
        rig.fcm.script(&fcm_token(1), [Behaviour::refusal(401, "THIRD_PARTY_AUTH_ERROR")]);
        assert_eq!(word(rig.send(1).await), "undeliverable third-party-auth-error 401");
    }
    assert!(rig.senders.open_circuits().is_empty());
    assert_eq!(rig.fcm.assertions(), 1, "nor is our own token to blame");
    assert_eq!(rig.send(2).await, Outcome::Accepted);
}

#[tokio::test]
async fn connections_that_fail_are_replaced_and_what_came_twice_is_shown_once() {
    let rig = FcmRig::new().await;
    for fault in [
        Behaviour::ResetConnection {},
        Behaviour::ResetStream {},
        Behaviour::Garbage {},
        Behaviour::GoAway {},
        Behaviour::LoseAnswer {},
    ] {
        rig.fcm.script(&fcm_token(1), [fault.clone()]);
        assert_eq!(rig.send(1).await, Outcome::Accepted, "{fault:?}");
    }
    assert_eq!(rig.fcm.shown(&fcm_token(1)).len(), 1);
}
