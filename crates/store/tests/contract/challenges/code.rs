//! Codes in mode `display`: shown once, typed at most five times, counted like wrong numbers.

use std::sync::Arc;

use countersign_core::{
    device::StatusChange,
    event::EventKind,
    limits::{FAILURES_UNTIL_ENDLESS_LOCK, MAX_WRONG_CODES},
    ports::challenges::{
        DecideChallenge, DecideOutcome, DisplayedCode, EnterCode, EnterCodeOutcome, RecordedResponse, TypedCode,
    },
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    ids::ChallengeId,
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, Confirmation, EnrollmentStatus, RevokeReason},
};

use tokio::task::JoinSet;

use crate::{
    kit::{self, Wakes},
    world::{NOW, Phone, World, new_kinds},
};

const CODE: &str = "271828";
const SEAL: &str = "seal of the code";
const ENTERED: &str = "seal that it was entered";
const WON: DecideOutcome = DecideOutcome::Won { locked_until: None };

impl World {
    /// An approve that asks for the code.
    pub(crate) fn ask_for_code(&self, phone: &Phone, id: ChallengeId) -> DecideChallenge {
        let code = Some(DisplayedCode { code: CODE.to_owned(), seal: SEAL.to_owned() });
        DecideChallenge { code, ..self.answer(phone, id, Verdict::ShowCode) }
    }

    fn enter(&self, asked: &DecideChallenge, typed: TypedCode) -> EnterCode {
        EnterCode {
            stamp: self.stamp(self.client),
            challenge_id: asked.challenge_id,
            user_id: asked.user_id,
            device_id: asked.device_id,
            response: asked.response.clone(),
            seal: SEAL.to_owned(),
            typed,
            wrong_numbers_before_lock: 5,
            lock_seconds: 900,
        }
    }

    /// A challenge whose code the phone shows.
    async fn shown(&self, phone: &Phone) -> DecideChallenge {
        let asked = self.ask_for_code(phone, self.challenge(&[phone]).await);
        assert_eq!(self.store.decide_challenge(asked.clone()).await, Ok(WON));
        asked
    }

    async fn entered(&self, asked: &DecideChallenge, typed: TypedCode) -> EnterCodeOutcome {
        self.store.enter_code(self.enter(asked, typed)).await.unwrap()
    }
}

fn right() -> TypedCode {
    TypedCode::Right { entered_seal: ENTERED.to_owned() }
}

#[tokio::test]
async fn the_first_approve_fixes_device_and_code_and_a_repeat_gets_the_same_one() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let before = world.kinds().await;
        let asked = world.ask_for_code(&phone, id);
        assert_eq!(world.store.decide_challenge(asked.clone()).await, Ok(WON));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeCodeShown]);

        let record = world.other.challenge(world.tenant_id, id).await.unwrap().unwrap();
        assert!(record.is_awaiting_code());
        assert_eq!((record.status, record.decided_at), (ChallengeStatus::Pending, None));
        assert_eq!(record.device.unwrap().id, phone.id);
        assert_eq!(record.evidence.unwrap().response, asked.response);
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 1);

        // Run again after a lost answer, and sent again by the phone with another code drawn.
        assert_eq!(world.other.decide_challenge(asked.clone()).await, Ok(WON));
        let code = DisplayedCode { code: "000000".to_owned(), seal: "another".to_owned() };
        let again = DecideChallenge { stamp: world.stamp(phone.actor()), code: Some(code), ..asked.clone() };
        let recorded = RecordedResponse {
            tenant_id: world.tenant_id,
            response: asked.response.clone(),
            status: ChallengeStatus::Pending,
            reason: None,
            decided_at: NOW.plus_seconds(120),
            code: asked.code.clone(),
        };
        assert_eq!(world.other.decide_challenge(again).await, Ok(DecideOutcome::Repeat(recorded.clone())));
        assert_eq!(world.store.recorded_response(id).await, Ok(Some(recorded)));

        // Other bytes, another device: too late. A denial is not.
        for by in [&phone, &watch] {
            let late = world.store.decide_challenge(world.ask_for_code(by, id)).await;
            assert_eq!(late, Ok(DecideOutcome::AwaitingCode));
        }
        assert_eq!(world.store.decide_challenge(world.answer(&watch, id, Verdict::Deny(None))).await, Ok(WON));
        let record = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
        assert_eq!((record.status, record.code), (ChallengeStatus::Denied, None));
        assert_eq!(record.device.unwrap().id, watch.id);
        assert_eq!(world.entered(&asked, right()).await, EnterCodeOutcome::Closed(ChallengeStatus::Denied));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        assert_eq!(world.database.number("SELECT count(*) FROM challenges WHERE code IS NOT NULL").await, 0);
    }
}

#[tokio::test]
async fn the_right_code_approves_once_and_forgets_the_failures() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        world.database.tamper("UPDATE users SET consecutive_failures = 3, consecutive_denials = 2").await;
        let asked = world.shown(&phone).await;
        let before = world.kinds().await;
        let mut enter = world.enter(&asked, right());
        enter.stamp.at = NOW.plus_millis(61_500);
        assert_eq!(world.store.enter_code(enter).await, Ok(EnterCodeOutcome::Approved));
        let record = world.other.challenge(world.tenant_id, asked.challenge_id).await.unwrap().unwrap();
        assert_eq!((record.status, record.decided_at), (ChallengeStatus::Approved, Some(NOW.plus_seconds(61))));
        let code = record.code.unwrap();
        assert_eq!((code.code, code.entered_seal.as_deref()), (None, Some(ENTERED)));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeApproved]);
        let user = world.user(phone.user.id).await;
        assert_eq!((user.pending_challenges, user.consecutive_failures), (0, 0));
        assert_eq!(world.database.number("SELECT consecutive_denials FROM users").await, 0);
        for typed in [right(), TypedCode::Wrong] {
            let late = EnterCodeOutcome::Closed(ChallengeStatus::Approved);
            assert_eq!(world.entered(&asked, typed).await, late);
        }
    }
}

#[tokio::test]
async fn the_fifth_wrong_code_denies_and_each_is_counted_as_a_wrong_number_is() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let asked = world.shown(&phone).await;
        let before = world.kinds().await;
        let wrong = || EnterCode { wrong_numbers_before_lock: 100, ..world.enter(&asked, TypedCode::Wrong) };
        for number in 1..MAX_WRONG_CODES {
            let attempts_left = MAX_WRONG_CODES - number;
            assert_eq!(world.store.enter_code(wrong()).await, Ok(EnterCodeOutcome::Wrong { attempts_left }));
            assert_eq!(world.user(phone.user.id).await.consecutive_failures, number);
            assert_eq!(world.stored_status(asked.challenge_id).await, ChallengeStatus::Pending);
        }
        assert_eq!(world.store.enter_code(wrong()).await, Ok(EnterCodeOutcome::Wrong { attempts_left: 0 }));
        let record = world.store.challenge(world.tenant_id, asked.challenge_id).await.unwrap().unwrap();
        assert_eq!((record.status, record.reason), (ChallengeStatus::Denied, Some(ChallengeReason::WrongCode)));
        assert_eq!(record.decided_at, Some(NOW));
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeDenied]);
        let user = world.user(phone.user.id).await;
        assert_eq!((user.pending_challenges, user.consecutive_failures), (0, MAX_WRONG_CODES));
        let closed = EnterCodeOutcome::Closed(ChallengeStatus::Denied);
        assert_eq!(world.entered(&asked, right()).await, closed);
    }
}

#[tokio::test]
async fn a_locked_users_codes_are_not_judged() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        world.database.tamper("UPDATE users SET consecutive_failures = 4").await;
        let asked = world.shown(&phone).await;
        assert_eq!(world.entered(&asked, TypedCode::Wrong).await, EnterCodeOutcome::Wrong { attempts_left: 4 });
        let until = NOW.plus_seconds(900);
        assert_eq!(world.user(phone.user.id).await.locked_until, Some(until));
        assert_eq!(world.count(EventKind::UserLocked).await, 1);
        for typed in [right(), TypedCode::Wrong] {
            assert_eq!(world.entered(&asked, typed).await, EnterCodeOutcome::Locked(until));
        }
        assert_eq!(world.user(phone.user.id).await.consecutive_failures, 5);
        // Nobody is shown a code while locked.
        let id = world.challenge(&[&phone]).await;
        let locked = world.store.decide_challenge(world.ask_for_code(&phone, id)).await;
        assert_eq!(locked, Ok(DecideOutcome::Locked(until)));
    }
}

#[tokio::test]
async fn only_what_is_awaited_of_this_very_caller_is_judged() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let asked = world.shown(&phone).await;
        let enter = || world.enter(&asked, right());
        let mut other_client = enter();
        other_client.stamp.actor = world.client().await;
        let mut device = enter();
        device.stamp.actor = phone.actor();
        let mut other_tenant = enter();
        other_tenant.stamp = world.stamp_in(world.tenant("neighbour").await);
        let other_user = EnterCode { user_id: world.id(), ..enter() };
        let unknown = EnterCode { challenge_id: world.id(), ..enter() };
        let other_code = EnterCode { seal: "another".to_owned(), ..enter() };
        let other_response = EnterCode { response: "another".to_owned(), ..enter() };
        for command in [other_client, device, other_tenant, other_user, unknown, other_code, other_response] {
            assert_eq!(world.store.enter_code(command).await, Ok(EnterCodeOutcome::NotFound));
        }
        let other_device = EnterCode { device_id: world.id(), ..enter() };
        assert_eq!(world.store.enter_code(other_device).await, Ok(EnterCodeOutcome::DeviceChanged));
        let mut late = enter();
        late.stamp.at = NOW.plus_seconds(120);
        let expired = EnterCodeOutcome::Closed(ChallengeStatus::Expired);
        assert_eq!(world.store.enter_code(late).await, Ok(expired));
        // Bound anew, or put out of action by somebody who does not keep to the barrier.
        for broken in ["binding = 'another'", "status = 'suspended'"] {
            assert_eq!(world.database.tamper(&format!("UPDATE devices SET {broken}")).await, 1);
            assert_eq!(world.store.enter_code(enter()).await, Ok(EnterCodeOutcome::DeviceChanged));
        }
        assert_eq!(world.stored_status(asked.challenge_id).await, ChallengeStatus::Pending);
    }
}

#[tokio::test]
async fn with_the_device_that_shows_it_the_code_is_dead_though_others_are_addressed() {
    for world in World::each().await {
        for (change, reason) in [
            (StatusChange::Suspend, ChallengeReason::DeviceSuspended),
            (StatusChange::Revoke(RevokeReason::Lost), ChallengeReason::DeviceRevoked),
        ] {
            let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
            let id = world.challenge(&[&phone, &watch]).await;
            let untouched = world.challenge(&[&phone, &watch]).await;
            let asked = world.ask_for_code(&phone, id);
            assert_eq!(world.store.decide_challenge(asked.clone()).await, Ok(WON));
            world.change(phone.id, change).await;
            let record = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
            assert_eq!((record.status, record.reason), (ChallengeStatus::Cancelled, Some(reason)));
            let cancelled = EnterCodeOutcome::Closed(ChallengeStatus::Cancelled);
            assert_eq!(world.entered(&asked, right()).await, cancelled);
            assert_eq!(world.stored_status(untouched).await, ChallengeStatus::Pending);
            world.store.close_challenge(world.cancel(phone.user.id, untouched)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_lock_without_end_also_cancels_open_enrollments() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let (invitation, claim) = world.waiting("ada").await;
        let open = world.invite("ada").await;
        let before = FAILURES_UNTIL_ENDLESS_LOCK - 2;
        world.database.tamper(&format!("UPDATE users SET consecutive_failures = {before}")).await;
        let asked = world.shown(&phone).await;
        world.entered(&asked, TypedCode::Wrong).await;
        world.database.tamper("UPDATE users SET locked_until = 1000").await;
        let status = async |id| world.store.enrollment(world.tenant_id, id).await.unwrap().unwrap().status;
        assert_eq!(status(open.id).await, EnrollmentStatus::Pending);
        let kinds = world.kinds().await;
        world.entered(&asked, TypedCode::Wrong).await;
        assert_eq!(world.user(phone.user.id).await.locked_until, Some(Timestamp::NEVER));
        for id in [open.id, invitation.id] {
            assert_eq!(status(id).await, EnrollmentStatus::Cancelled);
        }
        assert_eq!(world.device(claim.device_id).await, None);
        assert_eq!(world.device_count(phone.user.id).await, 1);
        let expected = [EventKind::EnrollmentCancelled, EventKind::EnrollmentCancelled, EventKind::UserLocked];
        assert_eq!(new_kinds(&kinds, world.kinds().await), expected);
        // The same by a wrong number.
        let rival = world.phone("eve").await;
        let another = world.store.create_enrollment(world.new_enrollment("eve", Confirmation::Code)).await;
        assert!(another.is_ok(), "{another:?}");
        world.database.tamper(&format!("UPDATE users SET consecutive_failures = {}", before + 1)).await;
        let id = world.challenge(&[&rival]).await;
        world.store.decide_challenge(world.answer(&rival, id, Verdict::WrongNumber)).await.unwrap();
        assert_eq!(world.database.number("SELECT count(*) FROM enrollments WHERE status = 'pending'").await, 0);
    }
}

#[tokio::test]
async fn whoever_waits_is_woken_by_the_code_and_by_its_end() {
    for world in World::each().await {
        let wakes = Arc::new(Wakes::default());
        let store = world.database.open_with(kit::options(), wakes.clone()).await.unwrap();
        let phone = world.phone("ada").await;
        let asked = world.ask_for_code(&phone, world.challenge(&[&phone]).await);
        store.decide_challenge(asked.clone()).await.unwrap();
        let challenge = WakeKey::Challenge(asked.challenge_id);
        wakes.hear(challenge).await;
        wakes.take();
        store.enter_code(world.enter(&asked, right())).await.unwrap();
        wakes.hear(challenge).await;
        wakes.hear(WakeKey::Device(phone.id)).await;
    }
}

#[tokio::test]
async fn guesses_at_once_from_two_nodes_are_judged_exactly_to_the_limit() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let asked = world.shown(&phone).await;
        let mut guesses = JoinSet::new();
        for number in 0..40 {
            let store = Arc::clone(if number % 2 == 0 { &world.store } else { &world.other });
            let guess = EnterCode { wrong_numbers_before_lock: 3, ..world.enter(&asked, TypedCode::Wrong) };
            guesses.spawn(async move { store.enter_code(guess).await });
        }
        let outcomes = guesses.join_all().await;
        let judged = outcomes.iter().filter(|one| matches!(one, Ok(EnterCodeOutcome::Wrong { .. }))).count();
        let locked = outcomes.iter().filter(|one| matches!(one, Ok(EnterCodeOutcome::Locked(_)))).count();
        assert_eq!((judged, locked), (3, 37), "{outcomes:?}");
        assert_eq!(world.user(phone.user.id).await.consecutive_failures, 3);
        assert_eq!(world.count(EventKind::UserLocked).await, 1);
    }
}
