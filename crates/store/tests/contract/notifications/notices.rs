//! Ringing for notices: who is rung for what, and once.

use std::collections::BTreeSet;

use countersign_core::{
    device::{StatusChange, Undeliverable},
    limits::{NOTICE_PUSH_SECONDS, UNDELIVERABLE_RETRY_SECONDS},
    ports::{
        challenges::{DecideChallenge, DecideOutcome},
        devices::ChangeDeviceStatusOutcome,
        enrollments::ConfirmOutcome,
        notifications::{FinishNotification, FinishOutcome, NotificationKind, NotificationVerdict},
    },
    verify::Verdict,
};
use countersign_proto::{
    ids::{DeviceId, kind::Device},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{PushChannel, RevokeReason},
};

use crate::world::{CODE, NOW, Phone, World};

impl World {
    /// Takes all notices out of the outbox, as if they had been sent; returns whom they rang.
    async fn rung(&self, now: Timestamp) -> Vec<DeviceId> {
        let mut rung = Vec::new();
        for job in self.lease_all(PushChannel::Fcm, now).await {
            if job.kind == NotificationKind::Notice {
                assert_eq!(job.challenge_id, None);
                self.finish(&job, NotificationVerdict::Delivered, now).await;
                rung.push(job.device_id);
            }
        }
        rung.sort();
        rung
    }
}

fn ids(phones: &[&Phone]) -> Vec<DeviceId> {
    phones.iter().map(|phone| phone.id).collect::<BTreeSet<_>>().into_iter().collect()
}

#[tokio::test]
async fn a_new_device_rings_the_others_of_its_user() {
    for world in World::each().await {
        let one = world.phone("ada").await;
        world.phone("bob").await;
        assert_eq!(world.rung(NOW).await, []);
        let two = world.phone("ada").await;
        assert_eq!(world.rung(NOW).await, ids(&[&one]));
        // With a code the notice comes when the code is typed.
        let (invitation, claim) = world.waiting("ada").await;
        assert_eq!(world.rung(NOW).await, []);
        let confirm = world.confirm(&invitation, &claim, CODE);
        assert_eq!(world.store.confirm_enrollment(confirm).await, Ok(ConfirmOutcome::Completed));
        assert_eq!(world.rung(NOW).await, ids(&[&one, &two]));
        let confirm = world.confirm(&invitation, &claim, CODE);
        assert_eq!(world.store.confirm_enrollment(confirm).await, Ok(ConfirmOutcome::AlreadyCompleted));
        assert_eq!(world.rung(NOW).await, []);
    }
}

#[tokio::test]
async fn a_device_that_goes_rings_the_others() {
    for world in World::each().await {
        let (one, two, three) = (world.phone("ada").await, world.phone("ada").await, world.phone("ada").await);
        world.rung(NOW).await;
        world.change(two.id, StatusChange::Suspend).await;
        assert_eq!(world.rung(NOW).await, ids(&[&one, &three]));
        // Once, however often it is asked for; and resuming is no notice.
        world.change(two.id, StatusChange::Suspend).await;
        world.change(two.id, StatusChange::Resume).await;
        assert_eq!(world.rung(NOW).await, []);
        world.change(two.id, crate::devices::REVOKE).await;
        assert_eq!(world.rung(NOW).await, ids(&[&one, &three]));
        let leave = world.new_status(one.actor(), one.id, StatusChange::Revoke(RevokeReason::Replaced));
        let left = world.store.change_device_status(leave).await;
        assert!(matches!(left, Ok(ChangeDeviceStatusOutcome::Changed { .. })), "{left:?}");
        assert_eq!(world.rung(NOW).await, ids(&[&three]));
    }
}

#[tokio::test]
async fn a_contested_enrollment_rings_every_device_of_the_user() {
    for world in World::each().await {
        let (one, two) = (world.phone("ada").await, world.phone("ada").await);
        world.rung(NOW).await;
        let (invitation, _) = world.waiting("ada").await;
        world.store.claim_ticket(world.claim(&invitation)).await.unwrap();
        assert_eq!(world.rung(NOW).await, ids(&[&one, &two]));
    }
}

#[tokio::test]
async fn a_lock_rings_every_device_of_the_user_and_shows_itself_there() {
    for world in World::each().await {
        let (one, two) = (world.phone("ada").await, world.phone("ada").await);
        world.rung(NOW).await;
        let id = world.challenge(&[&one, &two]).await;
        let wrong = DecideChallenge { wrong_numbers_before_lock: 1, ..world.answer(&one, id, Verdict::WrongNumber) };
        let outcome = world.store.decide_challenge(wrong).await;
        assert!(matches!(outcome, Ok(DecideOutcome::Won { locked_until: Some(_) })), "{outcome:?}");
        assert_eq!(world.rung(NOW).await, ids(&[&one, &two]));
        for phone in [&one, &two] {
            let notices = world.store.notices(world.tenant_id, phone.user.id, phone.id, NOW).await.unwrap();
            let is_told = |kind: &str| notices.iter().any(|notice| notice.kind.as_str() == kind);
            assert!(is_told("user.locked") && is_told("device.added"), "{notices:?}");
            assert!(notices.iter().all(|notice| !(notice.is_disputable && notice.kind.as_str() == "user.locked")));
        }
    }
}

#[tokio::test]
async fn only_a_device_that_can_be_rung_is_rung() {
    for world in World::each().await {
        let mut phones = Vec::new();
        for _ in 0..5 {
            phones.push(world.phone("ada").await);
        }
        world.rung(NOW).await;
        world.register(&phones[0], PushBinding::None, NOW).await;
        let mark =
            |id, set: &str| format!("UPDATE devices SET {set} WHERE id = {}", world.database.sql_id::<Device>(id));
        world.database.tamper(&mark(phones[1].id, "push_token_gone = 1")).await;
        let refused = format!("push_undeliverable = 'x', push_undeliverable_at = {}", NOW.as_millis());
        world.database.tamper(&mark(phones[2].id, &refused)).await;
        let refusal = Some(Undeliverable { reason: "x".to_owned(), since: NOW });
        assert_eq!(world.device(phones[2].id).await.unwrap().push_undeliverable, refusal);
        world.change(phones[3].id, StatusChange::Suspend).await;
        assert_eq!(world.rung(NOW).await, ids(&[&phones[4]]));
        // A refused token is tried again after an hour.
        let later = NOW.plus_seconds(UNDELIVERABLE_RETRY_SECONDS);
        let mut resume = world.new_status(world.client, phones[3].id, crate::devices::REVOKE);
        resume.stamp.at = later;
        world.store.change_device_status(resume).await.unwrap();
        assert_eq!(world.rung(later).await, ids(&[&phones[2], &phones[4]]));
    }
}

#[tokio::test]
async fn a_notice_rings_for_an_hour() {
    for world in World::each().await {
        let one = world.phone("ada").await;
        world.phone("ada").await;
        let end = NOW.plus_seconds(NOTICE_PUSH_SECONDS);
        assert_eq!(world.store.expire_notifications(end.plus_millis(-1), 10).await, Ok(0));
        assert_eq!(world.store.oldest_unsent(end.plus_millis(-1)).await, Ok(vec![(PushChannel::Fcm, NOW)]));
        assert_eq!(world.store.expire_notifications(end, 10).await, Ok(1));
        assert_eq!(world.device(one.id).await.unwrap().push_health.accepted_at, None);
    }
}

#[tokio::test]
async fn however_much_happens_one_notice_waits_for_each_device() {
    for world in World::each().await {
        let (one, two, three) = (world.phone("ada").await, world.phone("ada").await, world.phone("ada").await);
        world.rung(NOW).await;
        let mut last = NOW;
        for seconds in 1..20 {
            last = NOW.plus_seconds(seconds);
            for change in [StatusChange::Suspend, StatusChange::Resume] {
                let mut command = world.new_status(world.client, two.id, change);
                command.stamp.at = last;
                let store = if seconds % 2 == 0 { &world.store } else { &world.other };
                store.change_device_status(command).await.unwrap();
            }
        }
        let waiting = "SELECT count(*) FROM notifications WHERE kind = 'notice'";
        assert_eq!(world.database.number(waiting).await, 2);
        // It lives as long as the last of them would, and is due since the first.
        let end = last.plus_seconds(NOTICE_PUSH_SECONDS);
        assert_eq!(world.store.expire_notifications(end.plus_millis(-1), 10).await, Ok(0));
        assert_eq!(world.rung(NOW.plus_seconds(1)).await, ids(&[&one, &three]));
        assert_eq!(world.rung(last).await, []);
    }
}

#[tokio::test]
async fn what_happens_while_a_notice_is_being_sent_rings_again() {
    for world in World::each().await {
        let (one, two) = (world.phone("ada").await, world.phone("ada").await);
        let notice = async || {
            let jobs = world.lease_all(PushChannel::Fcm, NOW).await;
            jobs.into_iter().find(|job| job.device_id == one.id)
        };
        let sending = notice().await.unwrap();
        assert_eq!(notice().await, None);
        world.change(two.id, StatusChange::Suspend).await;
        let again = notice().await.unwrap();
        // In whichever order the two end, the second says what becomes of it.
        assert_eq!(world.finish(&sending, NotificationVerdict::Delivered, NOW).await, FinishOutcome::StaleLease);
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind = 'notice'").await, 1);
        assert_eq!(world.finish(&again, NotificationVerdict::Delivered, NOW).await, FinishOutcome::Stored);
        assert_eq!(notice().await, None);
        // One that is to be tried again later keeps its time: more news is no reason to press a busy provider.
        world.change(two.id, StatusChange::Resume).await;
        world.change(two.id, StatusChange::Suspend).await;
        let busy = notice().await.unwrap();
        let later = NOW.plus_seconds(30);
        world.finish(&busy, NotificationVerdict::RetryAt(later, "busy 503".to_owned()), NOW).await;
        world.change(two.id, crate::devices::REVOKE).await;
        assert_eq!(notice().await, None);
        assert_eq!(world.rung(later).await, ids(&[&one]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_and_verdicts_on_them_meet_without_a_deadlock() {
    for world in World::each().await {
        let mut phones = Vec::new();
        for number in 0..12 {
            phones.push(world.phone(if number % 2 == 0 { "ada" } else { "bob" }).await);
        }
        for round in 0..10 {
            let mut jobs = world.lease_all(PushChannel::Fcm, NOW).await;
            if round % 2 == 0 {
                jobs.reverse();
            }
            let mut work = tokio::task::JoinSet::new();
            for (phone, job) in phones.iter().zip(jobs) {
                let (store, finish) = (
                    world.store.clone(),
                    FinishNotification { leased: job, verdict: NotificationVerdict::Delivered, at: NOW },
                );
                work.spawn(async move { store.finish_notification(finish).await.map(|_| ()) });
                let change = if round % 2 == 0 { StatusChange::Suspend } else { StatusChange::Resume };
                let (store, change) = (world.other.clone(), world.new_status(world.client, phone.id, change));
                work.spawn(async move { store.change_device_status(change).await.map(|_| ()) });
            }
            for outcome in work.join_all().await {
                assert_eq!(outcome, Ok(()));
            }
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn a_command_that_is_run_again_rings_once() {
    for world in World::each().await {
        let one = world.phone("ada").await;
        let (two, _) = (world.phone("ada").await, world.rung(NOW).await);
        // A plain command, sent again under its own id because the answer was lost.
        let suspend = world.new_status(world.client, two.id, StatusChange::Suspend);
        for store in [&world.store, &world.other, &world.store] {
            store.change_device_status(suspend.clone()).await.unwrap();
        }
        assert_eq!(world.rung(NOW).await, ids(&[&one]));
        // A set-based one: it finds itself.
        let id = world.challenge(&[&one]).await;
        let wrong = DecideChallenge { wrong_numbers_before_lock: 1, ..world.answer(&one, id, Verdict::WrongNumber) };
        for store in [&world.store, &world.other] {
            let outcome = store.decide_challenge(wrong.clone()).await;
            assert!(matches!(outcome, Ok(DecideOutcome::Won { .. })), "{outcome:?}");
        }
        assert_eq!(world.rung(NOW).await, ids(&[&one]));
    }
}
