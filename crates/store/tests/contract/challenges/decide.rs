//! Deciding.

use std::sync::Arc;

use countersign_core::{
    actor::Actor,
    device::{StatusChange, StoredBinding},
    event::EventKind,
    limits::FAILURES_UNTIL_ENDLESS_LOCK,
    ports::challenges::{CloseOutcome, DecideChallenge, DecideOutcome, RecordedResponse},
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DenyReason, DeviceStatus, RevokeReason},
};

use crate::{
    kit::{self, Wakes},
    world::{NOW, Phone, World, new_kinds},
};

const APPROVE: Verdict = Verdict::Approve { with_number: true };
const WON: DecideOutcome = DecideOutcome::Won { locked_until: None };

#[tokio::test]
async fn an_approval_is_recorded_with_what_proves_it() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let before = world.kinds().await;
        let mut command = world.answer(&phone, id, APPROVE);
        command.stamp.at = NOW.plus_millis(1999);
        assert_eq!(world.store.decide_challenge(command.clone()).await, Ok(WON));

        let record = world.other.challenge(world.tenant_id, id).await.unwrap().unwrap();
        assert_eq!((record.status, record.reason), (ChallengeStatus::Approved, None));
        assert_eq!(record.decided_at, Some(NOW.plus_seconds(1)));
        assert_eq!(record.device.unwrap().id, phone.id);
        let evidence = record.evidence.unwrap();
        assert_eq!((evidence.challenge, evidence.response), (record.facts.jws, command.response.clone()));
        assert_eq!(evidence.binding, phone.binding.jws);
        let decided_at = NOW.plus_seconds(1);
        let (status, reason) = (ChallengeStatus::Approved, None);
        let recorded = RecordedResponse {
            tenant_id: world.tenant_id,
            response: command.response,
            status,
            reason,
            decided_at,
            code: None,
        };
        assert_eq!(world.store.recorded_response(id).await, Ok(Some(recorded)));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeApproved]);
        assert_eq!(world.database.number("SELECT count(*) FROM challenges WHERE number IS NOT NULL").await, 0);
    }
}

#[tokio::test]
async fn a_denial_says_why_and_not_me_is_reported() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for reason in [None, Some(DenyReason::Mistake), Some(DenyReason::NotMe)] {
            let id = world.challenge(&[&phone]).await;
            let before = world.kinds().await;
            let outcome = world.store.decide_challenge(world.answer(&phone, id, Verdict::Deny(reason))).await;
            assert_eq!(outcome, Ok(WON));
            let record = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
            assert_eq!(record.status, ChallengeStatus::Denied);
            let (expected, kinds): (_, &[_]) = match reason {
                None => (None, &[EventKind::ChallengeDenied]),
                Some(DenyReason::Mistake) => (Some(ChallengeReason::Mistake), &[EventKind::ChallengeDenied]),
                _ => {
                    let kinds = [EventKind::ChallengeDenied, EventKind::ChallengeReported, EventKind::UserReported];
                    (Some(ChallengeReason::NotMe), &kinds.clone())
                }
            };
            assert_eq!(record.reason, expected);
            assert_eq!(new_kinds(&before, world.kinds().await), kinds);
        }
    }
}

#[tokio::test]
async fn the_very_same_response_is_a_repeat_whatever_has_happened_since() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let first = world.answer(&phone, id, Verdict::WrongNumber);
        world.store.decide_challenge(first.clone()).await.unwrap();
        world.change(phone.id, StatusChange::Revoke(RevokeReason::Lost)).await;
        let mut again = DecideChallenge { stamp: world.stamp(phone.actor()), ..first.clone() };
        again.stamp.at = NOW.plus_seconds(3600);
        let recorded = RecordedResponse {
            tenant_id: world.tenant_id,
            response: first.response,
            status: ChallengeStatus::Denied,
            reason: Some(ChallengeReason::WrongNumber),
            decided_at: NOW,
            code: None,
        };
        assert_eq!(world.other.decide_challenge(again).await, Ok(DecideOutcome::Repeat(recorded)));
        assert_eq!(world.user(phone.user.id).await.consecutive_failures, 1);
    }
}

#[tokio::test]
async fn a_command_that_is_run_again_after_a_lost_answer_finds_itself() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut last = None;
        for _ in 0..5 {
            let id = world.challenge(&[&phone]).await;
            let command = world.answer(&phone, id, Verdict::WrongNumber);
            let won = world.store.decide_challenge(command.clone()).await.unwrap();
            assert_eq!(world.other.decide_challenge(command.clone()).await, Ok(won));
            last = Some(command);
        }
        let until = NOW.plus_seconds(900);
        let fifth = world.store.decide_challenge(last.unwrap()).await;
        assert_eq!(fifth, Ok(DecideOutcome::Won { locked_until: Some(until) }));
        assert_eq!(world.user(phone.user.id).await.consecutive_failures, 5);
        // The other two likewise.
        let create = world.new_challenge(&[&phone]).await;
        let close = world.cancel(phone.user.id, create.facts.id);
        for store in [&world.store, &world.other] {
            use countersign_core::ports::challenges::CreateOutcome;
            assert!(matches!(store.create_challenge(create.clone()).await, Ok(CreateOutcome::Created(_))));
        }
        for store in [&world.store, &world.other] {
            assert_eq!(store.close_challenge(close.clone()).await, Ok(CloseOutcome::Closed));
        }
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
    }
}

#[tokio::test]
async fn who_cannot_win_is_told_the_first_reason_in_the_protocols_order() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let stranger = world.phone("eve").await;
        let id = world.challenge(&[&phone]).await;
        let answer = |by: &Phone| world.answer(by, id, APPROVE);
        let decide = async |command| world.store.decide_challenge(command).await.unwrap();

        // Not addressed, not the user's, not there.
        assert_eq!(decide(answer(&watch)).await, DecideOutcome::NotFound);
        assert_eq!(decide(answer(&stranger)).await, DecideOutcome::NotFound);
        assert_eq!(decide(world.answer(&phone, world.id(), APPROVE)).await, DecideOutcome::NotFound);
        // Another's device under the user's name.
        let command = DecideChallenge { device_id: stranger.id, ..answer(&phone) };
        assert_eq!(decide(command).await, DecideOutcome::StaleKey);
        // Another key, another binding.
        let command = DecideChallenge { key: stranger.key.thumbprint.clone(), ..answer(&phone) };
        assert_eq!(decide(command).await, DecideOutcome::StaleKey);
        let binding = StoredBinding { id: world.id(), jws: phone.binding.jws.clone() };
        assert_eq!(decide(DecideChallenge { binding, ..answer(&phone) }).await, DecideOutcome::StaleKey);
        // Over.
        let mut late = answer(&phone);
        late.stamp.at = NOW.plus_seconds(120);
        assert_eq!(decide(late).await, DecideOutcome::Closed(ChallengeStatus::Expired));
        // Another tenant's stamp.
        let mut foreign = answer(&phone);
        foreign.stamp.tenant_id = world.tenant("neighbour").await;
        assert_eq!(decide(foreign).await, DecideOutcome::StaleKey);
        assert_eq!(world.stored_status(id).await, ChallengeStatus::Pending);
        // Suspended: before everything else.
        world.change(phone.id, StatusChange::Suspend).await;
        assert_eq!(decide(answer(&phone)).await, DecideOutcome::DeviceNotActive(DeviceStatus::Suspended));
        world.change(phone.id, StatusChange::Resume).await;
        assert_eq!(decide(answer(&phone)).await, DecideOutcome::Closed(ChallengeStatus::Cancelled));
        assert_eq!(world.count(EventKind::ChallengeApproved).await, 0);
    }
}

#[tokio::test]
async fn a_lock_stops_what_says_approve_and_never_a_denial() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let until = NOW.plus_seconds(900);
        for number in 1..=5 {
            let id = world.challenge(&[&phone]).await;
            let outcome = world.store.decide_challenge(world.answer(&phone, id, Verdict::WrongNumber)).await;
            let locked_until = (number == 5).then_some(until);
            assert_eq!(outcome, Ok(DecideOutcome::Won { locked_until }));
            assert_eq!(world.stored_status(id).await, ChallengeStatus::Denied);
        }
        assert_eq!(world.count(EventKind::UserLocked).await, 1);
        let id = world.challenge(&[&phone]).await;
        for verdict in [APPROVE, Verdict::Approve { with_number: false }, Verdict::WrongNumber] {
            let outcome = world.store.decide_challenge(world.answer(&phone, id, verdict)).await;
            assert_eq!(outcome, Ok(DecideOutcome::Locked(until)));
        }
        let outcome = world.store.decide_challenge(world.answer(&phone, id, Verdict::Deny(None))).await;
        assert_eq!(outcome, Ok(WON));
        assert_eq!(world.user(phone.user.id).await.consecutive_failures, 5);
    }
}

#[tokio::test]
async fn after_a_lock_each_further_failure_locks_again_and_only_a_right_number_forgets() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        world.database.tamper("UPDATE users SET consecutive_failures = 5, locked_until = 1000").await;
        let decide = async |verdict| {
            let id = world.challenge(&[&phone]).await;
            world.store.decide_challenge(world.answer(&phone, id, verdict)).await.unwrap()
        };
        let locked_until = Some(NOW.plus_seconds(900));
        assert_eq!(decide(Verdict::WrongNumber).await, DecideOutcome::Won { locked_until });
        world.database.tamper("UPDATE users SET locked_until = 1000").await;
        // An approval without a number proves nothing about numbers.
        assert_eq!(decide(Verdict::Approve { with_number: false }).await, WON);
        assert_eq!(world.user(phone.user.id).await.consecutive_failures, 6);
        assert_eq!(decide(APPROVE).await, WON);
        let user = world.user(phone.user.id).await;
        assert_eq!((user.consecutive_failures, user.locked_until), (0, None));
    }
}

#[tokio::test]
async fn the_hundredth_failure_locks_without_end() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let before = FAILURES_UNTIL_ENDLESS_LOCK - 1;
        world.database.tamper(&format!("UPDATE users SET consecutive_failures = {before}, locked_until = 1000")).await;
        let id = world.challenge(&[&phone]).await;
        let outcome = world.store.decide_challenge(world.answer(&phone, id, Verdict::WrongNumber)).await;
        assert_eq!(outcome, Ok(DecideOutcome::Won { locked_until: Some(Timestamp::NEVER) }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_numbers_in_parallel_lock_exactly_at_the_limit() {
    for world in World::each().await {
        for round in 0..10 {
            let phone = world.phone(&format!("user {round}")).await;
            let mut asks = tokio::task::JoinSet::new();
            for number in 0..12 {
                let id = world.challenge(&[&phone]).await;
                let command = world.answer(&phone, id, Verdict::WrongNumber);
                let store = if number % 2 == 0 { world.store.clone() } else { world.other.clone() };
                asks.spawn(async move { store.decide_challenge(command).await.unwrap() });
            }
            let outcomes = asks.join_all().await;
            let until = NOW.plus_seconds(900);
            let count = |wanted: DecideOutcome| outcomes.iter().filter(|outcome| **outcome == wanted).count();
            assert_eq!(count(WON), 4);
            assert_eq!(count(DecideOutcome::Won { locked_until: Some(until) }), 1);
            assert_eq!(count(DecideOutcome::Locked(until)), 7);
            let user = world.user(phone.user.id).await;
            assert_eq!((user.consecutive_failures, user.pending_challenges), (5, 7));
        }
        assert_eq!(world.count(EventKind::UserLocked).await, 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_deciders_exactly_one_wins() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        for round in 0..200 {
            let id = world.challenge(&[&phone, &watch]).await;
            let yes = world.answer(&phone, id, APPROVE);
            let no = world.answer(&watch, id, Verdict::Deny(None));
            // On one node they meet in a batch, on two in the database.
            let second = if round % 2 == 0 { Arc::clone(&world.store) } else { Arc::clone(&world.other) };
            let (yes, no) = tokio::join!(world.store.decide_challenge(yes), second.decide_challenge(no));
            let status = world.stored_status(id).await;
            match status {
                ChallengeStatus::Approved => assert_eq!((yes, no), (Ok(WON), Ok(DecideOutcome::Closed(status)))),
                ChallengeStatus::Denied => assert_eq!((yes, no), (Ok(DecideOutcome::Closed(status)), Ok(WON))),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        let decided = world.count(EventKind::ChallengeApproved).await + world.count(EventKind::ChallengeDenied).await;
        assert_eq!(decided, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_races_an_approval_there_is_one_end() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for round in 0..60 {
            let id = world.challenge(&[&phone]).await;
            let mut approve = world.answer(&phone, id, APPROVE);
            let mut close = world.cancel(phone.user.id, id);
            if round % 2 == 0 {
                // The last instant of one is not yet the first of the other.
                approve.stamp.at = NOW.plus_millis(119_999);
                close = world.expire(phone.user.id, id, NOW.plus_seconds(120));
            }
            let second = if round % 3 == 0 { Arc::clone(&world.store) } else { Arc::clone(&world.other) };
            let (won, closed) = tokio::join!(world.store.decide_challenge(approve), second.close_challenge(close));
            match world.stored_status(id).await {
                ChallengeStatus::Approved => {
                    let approved = CloseOutcome::AlreadyClosed(ChallengeStatus::Approved);
                    assert_eq!((won, closed), (Ok(WON), Ok(approved)));
                }
                status => assert_eq!((won, closed), (Ok(DecideOutcome::Closed(status)), Ok(CloseOutcome::Closed))),
            }
        }
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
    }
}

#[tokio::test]
async fn two_commands_of_one_user_in_one_batch_both_count() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(world.challenge(&[&phone]).await);
        }
        // Queued before the writer runs: on this one thread nothing else runs until all wait.
        let mut asks = tokio::task::JoinSet::new();
        for (number, id) in ids.into_iter().enumerate() {
            let store = world.store.clone();
            let verdict = if number == 5 { Verdict::Deny(None) } else { Verdict::WrongNumber };
            let command = DecideChallenge { wrong_numbers_before_lock: 100, ..world.answer(&phone, id, verdict) };
            asks.spawn(async move { store.decide_challenge(command).await.unwrap() });
        }
        assert_eq!(asks.join_all().await, [const { WON }; 6]);
        let user = world.user(phone.user.id).await;
        assert_eq!((user.consecutive_failures, user.pending_challenges), (5, 0));
    }
}

#[tokio::test]
async fn the_end_of_a_challenge_wakes_its_caller_and_all_its_devices_on_every_node() {
    for world in World::each().await {
        let (here, there) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        let store = world.database.open_with(kit::options(), here.clone()).await.unwrap();
        let _node = world.database.open_with(kit::options(), there.clone()).await.unwrap();
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        if world.database.is_postgres() {
            // The listener is there once it has heard anything at all.
            let mut ready = false;
            while !ready {
                let probe = world.challenge(&[&phone]).await;
                store.decide_challenge(world.answer(&phone, probe, Verdict::Deny(None))).await.unwrap();
                let heard = there.hear(WakeKey::Challenge(probe));
                ready = tokio::time::timeout(std::time::Duration::from_millis(200), heard).await.is_ok();
            }
        }
        here.take();
        store.decide_challenge(world.answer(&phone, id, APPROVE)).await.unwrap();
        let mut expected = [WakeKey::Challenge(id), WakeKey::Device(phone.id), WakeKey::Device(watch.id)];
        expected.sort_unstable();
        if world.database.is_postgres() {
            for key in expected {
                here.hear(key).await;
                there.hear(key).await;
            }
        } else {
            assert_eq!(here.take(), expected);
        }
    }
}

#[tokio::test]
async fn events_of_decisions_name_digests_and_fixed_words_only() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let command = world.answer(&phone, id, Verdict::WrongNumber);
        world.store.decide_challenge(command.clone()).await.unwrap();
        while world.store.position_events(world.tenant_id, 100).await.unwrap() > 0 {}
        let events = world.store.events(world.tenant_id, 0, 200).await.unwrap();
        let event = events.iter().find(|event| event.kind == EventKind::ChallengeDenied).unwrap();
        let digest = countersign_core::digest::Digest::of(&command.response).to_b64u();
        let body = serde_json::json!({"number": "wrong", "reason": "wrong_number", "response_sha256": digest});
        assert_eq!(serde_json::Value::Object(event.body.clone()), body);
        assert_eq!((event.subjects.challenge_id, event.subjects.user_id), (Some(id), Some(phone.user.id)));
        assert_eq!((event.actor_kind.as_str(), event.actor_id.clone()), ("device", Actor::Device(phone.id).id()));
    }
}
