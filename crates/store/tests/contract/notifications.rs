//! `ports::notifications` on both databases: leases, verdicts, withdrawals. What verdicts say of a token is in
//! `notifications/tokens.rs`, what goes out again in `again.rs`, the lanes in `lanes.rs`, what ends without a verdict in
//! `orphans.rs`, notices in `notices.rs`, health and sightings in `health.rs`.

#[path = "notifications/again.rs"]
mod again;
#[path = "notifications/health.rs"]
mod health;
#[path = "notifications/lanes.rs"]
mod lanes;
#[path = "notifications/notices.rs"]
mod notices;
#[path = "notifications/orphans.rs"]
mod orphans;
#[path = "notifications/races.rs"]
mod races;
#[path = "notifications/tokens.rs"]
mod tokens;

use std::collections::HashSet;

use countersign_core::{
    actor::Actor,
    device::StatusChange,
    ports::notifications::{
        ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification, NotificationKind,
        NotificationVerdict,
    },
    verify::Verdict,
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeliveryState, PushChannel},
};

use crate::{
    kit::Gate,
    world::{NOW, World},
};

const LEASE_SECONDS: i64 = 10;

impl World {
    pub(crate) fn claim_of(&self, channel: PushChannel, now: Timestamp, limit: u32) -> ClaimNotifications {
        ClaimNotifications { channel, lease: self.id(), now, lease_seconds: LEASE_SECONDS, limit }
    }

    /// What is due in the lane of the phones of this world, but for the notices that each new phone causes.
    pub(crate) async fn lease(&self, now: Timestamp) -> Vec<LeasedNotification> {
        let mut jobs = self.lease_all(PushChannel::Fcm, now).await;
        jobs.retain(|job| job.kind != NotificationKind::Notice);
        jobs
    }

    /// All that is due in a lane.
    pub(crate) async fn lease_all(&self, channel: PushChannel, now: Timestamp) -> Vec<LeasedNotification> {
        self.store.claim_notifications(self.claim_of(channel, now, 1000)).await.unwrap()
    }

    pub(crate) async fn finish(
        &self,
        job: &LeasedNotification,
        verdict: NotificationVerdict,
        at: Timestamp,
    ) -> FinishOutcome {
        let finish = FinishNotification { leased: job.clone(), verdict, at };
        self.store.finish_notification(finish).await.unwrap()
    }

    pub(crate) async fn delivery(&self, id: ChallengeId, device_id: DeviceId) -> (DeliveryState, u32, Option<String>) {
        let deliveries = self.store.deliveries(self.tenant_id, id).await.unwrap();
        let delivery = deliveries.into_iter().find(|delivery| delivery.device_id == device_id).unwrap();
        (delivery.state, delivery.attempts, delivery.last_error)
    }
}

#[tokio::test]
async fn what_is_due_is_leased_once_with_all_that_its_sender_needs() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        assert_eq!(world.lease(NOW.plus_millis(-1)).await, []);
        let jobs = world.lease(NOW).await;
        assert_eq!(jobs.len(), 1);
        let job = &jobs[0];
        assert_eq!((job.kind, job.device_id, job.challenge_id), (NotificationKind::Challenge, phone.id, Some(id)));
        assert_eq!((job.tenant_id, job.attempts), (world.tenant_id, 0));
        assert_eq!(job.push, PushBinding::Fcm { token: "token".to_owned(), project: None });
        assert_eq!((job.expires_at, job.leased_until), (NOW.plus_seconds(120), NOW.plus_seconds(LEASE_SECONDS)));
        assert_eq!(world.lease(NOW).await, []);
    }
}

#[tokio::test]
async fn the_oldest_come_first_and_no_more_than_asked_for() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut expected = Vec::new();
        for second in [3, 1, 2] {
            let mut command = world.new_challenge(&[&phone]).await;
            command.stamp.at = NOW.plus_seconds(second);
            expected.push((second, command.facts.id));
            world.store.create_challenge(command).await.unwrap();
        }
        expected.sort_unstable();
        let later = NOW.plus_seconds(5);
        let mut found = Vec::new();
        for _ in 0..3 {
            let jobs = world.other.claim_notifications(world.claim_of(PushChannel::Fcm, later, 1)).await.unwrap();
            found.extend(jobs.into_iter().map(|job| job.challenge_id.unwrap()));
        }
        let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
        assert_eq!(found, expected);
        assert_eq!(world.lease(later).await, []);
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_returns_the_job_and_a_stale_lease_cannot_finish() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let first = world.lease(NOW).await.remove(0);
        let end = NOW.plus_seconds(LEASE_SECONDS);
        assert_eq!(world.lease(end.plus_millis(-1)).await, []);
        let second = world.lease(end).await.remove(0);
        assert_eq!((second.id, second.attempts), (first.id, 1));
        assert_ne!(second.lease, first.lease);
        for verdict in [NotificationVerdict::Delivered, NotificationVerdict::Rejected("late".to_owned())] {
            assert_eq!(world.finish(&first, verdict, end).await, FinishOutcome::StaleLease);
        }
        assert_eq!(world.delivery(id, phone.id).await.0, DeliveryState::Queued);
        assert_eq!(world.finish(&second, NotificationVerdict::Delivered, end).await, FinishOutcome::Stored);
        assert_eq!(world.delivery(id, phone.id).await, (DeliveryState::Delivered, 2, None));
        // Once only.
        assert_eq!(world.finish(&second, NotificationVerdict::Delivered, end).await, FinishOutcome::StaleLease);
        assert_eq!(world.lease(end.plus_seconds(60)).await, []);
    }
}

#[tokio::test]
async fn a_retry_waits_for_its_time() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let job = world.lease(NOW).await.remove(0);
        let later = NOW.plus_seconds(30);
        let retry = NotificationVerdict::RetryAt(later, "provider 503".to_owned());
        assert_eq!(world.finish(&job, retry, NOW).await, FinishOutcome::Stored);
        assert_eq!(world.delivery(id, phone.id).await, (DeliveryState::Retrying, 1, Some("provider 503".to_owned())));
        assert_eq!(world.lease(later.plus_millis(-1)).await, []);
        assert_eq!(world.lease(later).await.remove(0).attempts, 1);
    }
}

#[tokio::test]
async fn each_final_verdict_has_its_delivery_state() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let verdicts = [
            (NotificationVerdict::Delivered, DeliveryState::Delivered, None),
            (NotificationVerdict::Rejected("code 400".to_owned()), DeliveryState::Rejected, Some("code 400")),
            (NotificationVerdict::Expired(None), DeliveryState::Expired, None),
            (NotificationVerdict::Expired(Some("late 503".to_owned())), DeliveryState::Expired, Some("late 503")),
            (NotificationVerdict::Undeliverable("bad 400".to_owned()), DeliveryState::Rejected, Some("bad 400")),
            (NotificationVerdict::TokenGone("gone 410".to_owned()), DeliveryState::TokenGone, Some("gone 410")),
        ];
        for (verdict, state, error) in verdicts {
            let id = world.challenge(&[&phone]).await;
            let job = world.lease(NOW).await.remove(0);
            assert_eq!(world.finish(&job, verdict, NOW).await, FinishOutcome::Stored);
            assert_eq!(world.delivery(id, phone.id).await, (state, 1, error.map(str::to_owned)));
        }
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 0);
    }
}

#[tokio::test]
async fn nothing_is_leased_for_a_device_that_is_not_active() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        world.challenge(&[&phone, &watch]).await;
        world.change(phone.id, StatusChange::Suspend).await;
        let jobs = world.lease(NOW).await;
        assert_eq!(jobs.iter().map(|job| job.device_id).collect::<Vec<_>>(), [watch.id]);
    }
}

#[tokio::test]
async fn a_suspension_returns_after_the_leases_that_it_met_and_before_no_other() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        // Two devices: the challenge outlives the suspension of one, and only the lock holds the two apart.
        world.challenge(&[&phone, &watch]).await;
        let suspend = world.new_status(world.client, phone.id, StatusChange::Suspend);
        if !world.database.is_postgres() {
            world.store.change_device_status(suspend).await.unwrap();
            assert_eq!(world.lease(NOW).await.len(), 1);
            continue;
        }
        let mut gate = Gate::before_commits_of(&world.database, "notifications").await;
        let (store, claim) = (world.store.clone(), world.claim_of(PushChannel::Fcm, NOW, 10));
        let claim = tokio::spawn(async move { store.claim_notifications(claim).await.unwrap() });
        gate.wait_for_somebody().await;
        let store = world.other.clone();
        let mut suspend = tokio::spawn(async move { store.change_device_status(suspend).await.unwrap() });
        let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut suspend).await;
        assert!(early.is_err(), "it returned while a lease was still to be committed");
        gate.open().await;
        assert_eq!(claim.await.unwrap().len(), 3);
        suspend.await.unwrap();
    }
}

#[tokio::test]
async fn a_response_that_came_first_takes_back_the_push() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        world.store.decide_challenge(world.answer(&phone, id, Verdict::Deny(None))).await.unwrap();
        assert_eq!(world.lease(NOW).await, []);
        for device_id in [phone.id, watch.id] {
            assert_eq!(world.delivery(id, device_id).await.0, DeliveryState::Withdrawn);
        }
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 0);
    }
}

#[tokio::test]
async fn other_phones_that_were_rung_are_told_that_it_is_over() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        for job in world.lease(NOW).await {
            world.finish(&job, NotificationVerdict::Delivered, NOW).await;
        }
        world.store.decide_challenge(world.answer(&phone, id, Verdict::Deny(None))).await.unwrap();
        let jobs = world.lease(NOW).await;
        let kinds: Vec<_> = jobs.iter().map(|job| (job.kind, job.device_id, job.challenge_id)).collect();
        assert_eq!(kinds, [(NotificationKind::Withdrawn, watch.id, Some(id))]);
        world.finish(&jobs[0], NotificationVerdict::Delivered, NOW).await;
        assert_eq!(world.delivery(id, watch.id).await.0, DeliveryState::Withdrawn);
        assert_eq!(world.delivery(id, phone.id).await.0, DeliveryState::Delivered);
    }
}

#[tokio::test]
async fn browsers_are_sent_no_withdrawal() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut command = world.new_challenge(&[&phone]).await;
        command.deliveries[0].channel = PushChannel::Webpush;
        let id = command.facts.id;
        world.store.create_challenge(command).await.unwrap();
        let job = world.lease(NOW).await.remove(0);
        world.finish(&job, NotificationVerdict::Delivered, NOW).await;
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        assert_eq!(world.lease(NOW).await, []);
    }
}

#[tokio::test]
async fn a_push_that_was_under_way_when_it_ended_is_withdrawn_after_it_arrived() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let jobs = world.lease(NOW).await;
        world.store.decide_challenge(world.answer(&phone, id, Verdict::Deny(None))).await.unwrap();
        for job in &jobs {
            assert_eq!(world.finish(job, NotificationVerdict::Delivered, NOW).await, FinishOutcome::Stored);
        }
        let withdrawals = world.lease(NOW).await;
        let kinds: Vec<_> = withdrawals.iter().map(|job| (job.kind, job.device_id)).collect();
        assert_eq!(kinds, [(NotificationKind::Withdrawn, watch.id)]);
    }
}

#[tokio::test]
async fn what_nobody_will_send_is_removed_and_said_so() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let end = NOW.plus_seconds(120);
        assert_eq!(world.store.expire_notifications(end.plus_millis(-1), 10).await, Ok(0));
        assert_eq!(world.lease(end).await, []);
        assert_eq!(world.store.expire_notifications(end, 10).await, Ok(1));
        assert_eq!(world.delivery(id, phone.id).await.0, DeliveryState::Expired);
        assert_eq!(world.store.expire_notifications(end, 10).await, Ok(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dispatchers_never_hold_the_same_job() {
    for world in World::each().await {
        let mut phones = Vec::new();
        for number in 0..4 {
            phones.push(world.phone(&format!("user {number}")).await);
        }
        for number in 0..60 {
            world.challenge(&[&phones[number % 4]]).await;
        }
        let mut claims = tokio::task::JoinSet::new();
        for number in 0..20 {
            let store = if number % 2 == 0 { world.store.clone() } else { world.other.clone() };
            let claim = world.claim_of(PushChannel::Fcm, NOW, 7);
            claims.spawn(async move { store.claim_notifications(claim).await.unwrap() });
        }
        let mut ids = Vec::new();
        for jobs in claims.join_all().await {
            assert!(jobs.len() <= 7);
            ids.extend(jobs.into_iter().map(|job| job.id));
        }
        // Whoever was skipped because two met is leased by the next one.
        ids.extend(world.lease(NOW).await.into_iter().map(|job| job.id));
        assert_eq!(ids.len(), 60);
        assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), 60);
    }
}

#[tokio::test]
async fn many_verdicts_at_once_are_stored_each_for_itself() {
    for world in World::each().await {
        let mut expected = Vec::new();
        for number in 0..12 {
            let phone = world.phone(&format!("user {number}")).await;
            expected.push((world.challenge(&[&phone]).await, phone.id));
        }
        let mut finishes = tokio::task::JoinSet::new();
        for job in world.lease(NOW).await {
            let number = expected.iter().position(|(_, device_id)| *device_id == job.device_id).unwrap();
            let verdict = match number % 3 {
                0 => NotificationVerdict::Delivered,
                1 => NotificationVerdict::Rejected(format!("code {number}")),
                _ => NotificationVerdict::RetryAt(NOW.plus_seconds(5), format!("code {number}")),
            };
            let lease = if number % 4 == 3 { world.id() } else { job.lease };
            let store = world.store.clone();
            let finish = FinishNotification { leased: LeasedNotification { lease, ..job }, verdict, at: NOW };
            finishes.spawn(async move { (number, store.finish_notification(finish).await.unwrap()) });
        }
        for (number, outcome) in finishes.join_all().await {
            let is_stale = number % 4 == 3;
            assert_eq!(outcome, if is_stale { FinishOutcome::StaleLease } else { FinishOutcome::Stored });
            let (id, device_id) = expected[number];
            let (state, _, error) = world.delivery(id, device_id).await;
            let (wanted, has_error) = match number % 3 {
                _ if is_stale => (DeliveryState::Queued, false),
                0 => (DeliveryState::Delivered, false),
                1 => (DeliveryState::Rejected, true),
                _ => (DeliveryState::Retrying, true),
            };
            assert_eq!((state, error), (wanted, has_error.then(|| format!("code {number}"))));
        }
    }
}

#[tokio::test]
async fn a_cancelled_challenge_of_a_revoked_device_rings_nobody() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        world.challenge(&[&phone]).await;
        world
            .store
            .change_device_status(world.new_status(Actor::Operator, phone.id, StatusChange::Suspend))
            .await
            .unwrap();
        world.change(phone.id, StatusChange::Resume).await;
        assert_eq!(world.lease(NOW).await, []);
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 0);
    }
}
