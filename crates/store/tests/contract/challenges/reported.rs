//! Reports of fraud and rows of denials: what else ends, and for how long nobody is rung.

use countersign_core::{
    device::StatusChange,
    event::EventKind,
    limits::FAILURES_UNTIL_ENDLESS_LOCK,
    ports::{
        challenges::{DecideChallenge, DecideOutcome},
        users::{ClearReportOutcome, ReportUser, ReportUserOutcome, UnlockOutcome, UserRecord},
    },
    verify::Verdict,
};
use countersign_proto::{
    api::users::UserReport,
    ids::UserId,
    timestamp::Timestamp,
    vocabulary::{
        ChallengeReason, ChallengeStatus, DenyReason, EnrollmentStatus, ReportAction, ReportReason, ReportedBy,
    },
};

use crate::world::{NOW, World, new_kinds};

const NOT_ME: Verdict = Verdict::Deny(Some(DenyReason::NotMe));
const WON: DecideOutcome = DecideOutcome::Won { locked_until: None };

impl World {
    fn report(&self, id: UserId, action: ReportAction) -> ReportUser {
        let (stamp, reason) = (self.stamp(self.client), ReportReason::Suspicious);
        ReportUser { stamp, id, reason, quiet_seconds: 1_800, action }
    }
}

#[tokio::test]
async fn not_me_ends_what_else_is_pending_of_this_user_and_of_nobody_else() {
    for world in World::each().await {
        let (phone, watch, eve) = (world.phone("ada").await, world.phone("ada").await, world.phone("eve").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let others = [world.challenge(&[&watch]).await, world.challenge(&[&phone]).await];
        let shown = world.ask_for_code(&phone, others[1]);
        assert_eq!(world.store.decide_challenge(shown).await, Ok(WON));
        let eves = world.challenge(&[&eve]).await;
        let before = world.kinds().await;
        let command = world.answer(&phone, id, NOT_ME);
        assert_eq!(world.store.decide_challenge(command.clone()).await, Ok(WON));

        for other in others {
            let record = world.store.challenge(world.tenant_id, other).await.unwrap().unwrap();
            let end = (record.status, record.reason, record.decided_at);
            assert_eq!(end, (ChallengeStatus::Cancelled, Some(ChallengeReason::Reported), Some(NOW)));
        }
        assert_eq!(world.stored_status(eves).await, ChallengeStatus::Pending);
        let user = world.user(phone.user.id).await;
        assert_eq!(user.pending_challenges, 0);
        assert_eq!(user.reported, Some(UserReport { at: NOW, by: ReportedBy::Device }));
        assert_eq!(user.pushes_stopped_until, Some(NOW.plus_seconds(1_800)));
        assert_eq!(user.locked_until, None);
        assert_eq!(world.user(eve.user.id).await.reported, None);
        let expected = [
            EventKind::ChallengeCancelled,
            EventKind::ChallengeCancelled,
            EventKind::ChallengeDenied,
            EventKind::ChallengeReported,
            EventKind::UserReported,
        ];
        assert_eq!(new_kinds(&before, world.kinds().await), expected);
        // Run again after a lost answer: nothing twice.
        assert_eq!(world.other.decide_challenge(command).await, Ok(WON));
        assert_eq!(world.user(phone.user.id).await, user);
        assert_eq!(world.count(EventKind::UserReported).await, 1);
        let sensitive =
            "SELECT count(*) FROM challenges WHERE status <> 'pending' AND (number IS NOT NULL OR code IS NOT NULL)";
        assert_eq!(world.database.number(sensitive).await, 0);
    }
}

#[tokio::test]
async fn a_report_may_lock_until_it_is_cleared() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let open = world.invite("ada").await;
        let id = world.challenge(&[&phone]).await;
        let lock = DecideChallenge { on_report: ReportAction::Lock, ..world.answer(&phone, id, NOT_ME) };
        assert_eq!(world.store.decide_challenge(lock).await, Ok(WON));
        assert_eq!(world.user(phone.user.id).await.locked_until, Some(Timestamp::NEVER));
        let enrollment = world.store.enrollment(world.tenant_id, open.id).await.unwrap().unwrap();
        assert_eq!(enrollment.status, EnrollmentStatus::Cancelled);
        let next = world.challenge(&[&phone]).await;
        let refused = world.store.decide_challenge(world.answer(&phone, next, Verdict::Approve { with_number: true }));
        assert_eq!(refused.await, Ok(DecideOutcome::Locked(Timestamp::NEVER)));
        // A second report locks nobody anew.
        let again = DecideChallenge { on_report: ReportAction::Lock, ..world.answer(&phone, next, NOT_ME) };
        assert_eq!(world.store.decide_challenge(again).await, Ok(WON));
        assert_eq!(world.count(EventKind::UserLocked).await, 1);

        let clear = || world.store.clear_report(world.stamp(world.client), phone.user.id);
        let free = world.user(phone.user.id).await;
        let free = UserRecord { locked_until: None, reported: None, pushes_stopped_until: None, ..free };
        assert_eq!(clear().await, Ok(ClearReportOutcome::Cleared(free.clone())));
        assert_eq!(clear().await, Ok(ClearReportOutcome::NotReported(free)));
        assert_eq!(world.count(EventKind::UserReportCleared).await, 1);
    }
}

#[tokio::test]
async fn an_unlock_ends_the_lock_and_keeps_the_report_and_a_cleared_report_keeps_a_lock_by_failures() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let report = || world.store.report_user(world.report(phone.user.id, ReportAction::Lock));
        report().await.unwrap();
        let unlocked = world.store.unlock_user(world.stamp(world.client), phone.user.id).await.unwrap();
        let UnlockOutcome::Unlocked(user) = unlocked else { panic!("{unlocked:?}") };
        assert_eq!((user.locked_until, user.reported.is_some()), (None, true));

        for (failures, until) in [(FAILURES_UNTIL_ENDLESS_LOCK, Timestamp::NEVER), (5, NOW.plus_seconds(900))] {
            let set = format!("consecutive_failures = {failures}, locked_until = {}", until.as_millis());
            world.database.tamper(&format!("UPDATE users SET reported_at = 1, reported_by = 'device', {set}")).await;
            let cleared = world.store.clear_report(world.stamp(world.client), phone.user.id).await.unwrap();
            let ClearReportOutcome::Cleared(user) = cleared else { panic!("{cleared:?}") };
            assert_eq!((user.locked_until, user.reported), (Some(until), None));
        }
    }
}

#[tokio::test]
async fn an_api_client_reports_a_user_of_its_tenant() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let ids = [world.challenge(&[&phone]).await, world.challenge(&[&phone]).await];
        let before = world.kinds().await;
        let neighbour = world.tenant("neighbour").await;
        let foreign =
            ReportUser { stamp: world.stamp_in(neighbour), ..world.report(phone.user.id, ReportAction::Flag) };
        assert_eq!(world.store.report_user(foreign).await, Ok(ReportUserOutcome::NotFound));
        let foreign = world.store.clear_report(world.stamp_in(neighbour), phone.user.id).await;
        assert_eq!(foreign, Ok(ClearReportOutcome::NotFound));

        let outcome = world.store.report_user(world.report(phone.user.id, ReportAction::Flag)).await.unwrap();
        let ReportUserOutcome::Reported { user, mut cancelled } = outcome else { panic!("{outcome:?}") };
        cancelled.sort_unstable();
        let mut expected = ids;
        expected.sort_unstable();
        assert_eq!(cancelled, expected);
        assert_eq!(*user, world.user(phone.user.id).await);
        assert_eq!(user.reported, Some(UserReport { at: NOW, by: ReportedBy::ApiClient }));
        assert_eq!((user.pending_challenges, user.locked_until), (0, None));
        let expected = [EventKind::ChallengeCancelled, EventKind::ChallengeCancelled, EventKind::UserReported];
        let kinds: Vec<_> = new_kinds(&before, world.kinds().await);
        assert_eq!(kinds, expected);
        for id in ids {
            let record = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
            assert_eq!(record.reason, Some(ChallengeReason::Reported));
        }
        // Nothing left to end.
        let again = world.store.report_user(world.report(phone.user.id, ReportAction::Flag)).await.unwrap();
        assert!(matches!(again, ReportUserOutcome::Reported { cancelled, .. } if cancelled.is_empty()));
    }
}

#[tokio::test]
async fn denials_in_a_row_stop_pushes_for_longer_and_longer_until_an_approval() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let decide = async |verdict, at| {
            let mut command = world.answer(&phone, world.challenge(&[&phone]).await, verdict);
            command.stamp.at = at;
            assert_eq!(world.store.decide_challenge(command).await, Ok(WON));
            world.user(phone.user.id).await.pushes_stopped_until
        };
        let deny = Verdict::Deny(Some(DenyReason::Mistake));
        assert_eq!(decide(deny, NOW).await, None);
        assert_eq!(decide(Verdict::Deny(None), NOW).await, Some(NOW.plus_seconds(60)));
        // An approval forgets the row, not the stop.
        assert_eq!(decide(Verdict::Approve { with_number: false }, NOW).await, Some(NOW.plus_seconds(60)));
        assert_eq!(decide(deny, NOW).await, Some(NOW.plus_seconds(60)));
        assert_eq!(decide(deny, NOW.plus_seconds(1)).await, Some(NOW.plus_seconds(61)));
        assert_eq!(decide(deny, NOW.plus_seconds(1)).await, Some(NOW.plus_seconds(301)));
        for _ in 0..2 {
            assert_eq!(decide(deny, NOW.plus_seconds(1)).await, Some(NOW.plus_seconds(1_801)));
        }
        // A shorter stop never replaces a longer one; a report may.
        for (quiet_seconds, expected) in [(60, 1_801), (3_600, 3_600)] {
            world
                .store
                .report_user(ReportUser { quiet_seconds, ..world.report(phone.user.id, ReportAction::Flag) })
                .await
                .unwrap();
            let stopped = world.user(phone.user.id).await.pushes_stopped_until;
            assert_eq!(stopped, Some(NOW.plus_seconds(expected)));
        }
        // Wrong numbers are no denials.
        world.database.tamper("UPDATE users SET consecutive_denials = 1").await;
        decide(Verdict::WrongNumber, NOW).await;
        assert_eq!(world.database.number("SELECT consecutive_denials FROM users").await, 1);
    }
}

#[tokio::test]
async fn an_approval_begins_the_count_of_pushes_anew() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for (verdict, left) in [
            (Verdict::Deny(None), 7),
            (Verdict::WrongNumber, 7),
            (Verdict::ShowCode, 7),
            (Verdict::Approve { with_number: false }, 0),
        ] {
            let id = world.challenge(&[&phone]).await;
            world.database.tamper("UPDATE users SET pushes_since_approval = 7").await;
            let command = match verdict {
                Verdict::ShowCode => world.ask_for_code(&phone, id),
                verdict => world.answer(&phone, id, verdict),
            };
            assert_eq!(world.store.decide_challenge(command).await, Ok(WON));
            assert_eq!(world.database.number("SELECT pushes_since_approval FROM users").await, left, "{verdict:?}");
        }
    }
}

#[tokio::test]
async fn reports_at_once_from_two_nodes_count_each_challenge_once() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for _ in 0..10 {
            let ids = [world.challenge(&[&phone]).await, world.challenge(&[&phone]).await];
            world.challenge(&[&phone]).await;
            let (one, other) = (world.answer(&phone, ids[0], NOT_ME), world.answer(&phone, ids[1], NOT_ME));
            let (one, other, _) = tokio::join!(
                world.store.decide_challenge(one),
                world.other.decide_challenge(other),
                world.other.report_user(world.report(phone.user.id, ReportAction::Flag)),
            );
            for outcome in [one.unwrap(), other.unwrap()] {
                assert!(matches!(outcome, WON | DecideOutcome::Closed(ChallengeStatus::Cancelled)), "{outcome:?}");
            }
            assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn a_device_that_is_gone_reports_nothing() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        world.change(phone.id, StatusChange::Suspend).await;
        world.store.decide_challenge(world.answer(&phone, id, NOT_ME)).await.unwrap();
        assert_eq!(world.user(phone.user.id).await.reported, None);
        assert_eq!(world.stored_status(id).await, ChallengeStatus::Pending);
    }
}
