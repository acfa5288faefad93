//! Pushes that end without a verdict: their sender died while their challenge ended, or nobody can read where they go.

use countersign_core::{
    ports::notifications::{FinishOutcome, LeasedNotification, NotificationKind, NotificationVerdict},
    verify::Verdict,
};
use countersign_proto::{
    ids::kind::Device,
    push::PushBinding,
    vocabulary::{DeliveryState, PushChannel},
};

use crate::world::{NOW, Phone, World};

impl World {
    async fn deny(&self, phone: &Phone, job: &LeasedNotification) {
        let answer = self.answer(phone, job.challenge_id.unwrap(), Verdict::Deny(None));
        self.store.decide_challenge(answer).await.unwrap();
    }
}

fn kinds(jobs: &[LeasedNotification]) -> Vec<(NotificationKind, countersign_proto::ids::DeviceId)> {
    jobs.iter().map(|job| (job.kind, job.device_id)).collect()
}

#[tokio::test]
async fn a_push_whose_sender_died_while_its_challenge_ended_is_withdrawn_after_its_lease() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let jobs = world.lease(NOW).await;
        assert_eq!(jobs.len(), 2);
        world.deny(&phone, &jobs[0]).await;
        let end = jobs[0].leased_until;
        assert_eq!(world.lease(end.plus_millis(-1)).await, [], "the sender may be alive");
        assert_eq!(world.lease(end).await, [], "nobody is rung for what has ended");
        // The one who decided knows; the other is told.
        let told = world.lease(end).await;
        assert_eq!(kinds(&told), [(NotificationKind::Withdrawn, watch.id)]);
        assert_eq!(told[0].challenge_id, Some(id));
        for device_id in [phone.id, watch.id] {
            assert_eq!(world.delivery(id, device_id).await, (DeliveryState::Withdrawn, 1, None));
        }
        // Whoever was thought dead is not heard any more, and nothing is withdrawn twice.
        for job in &jobs {
            let late = world.finish(job, NotificationVerdict::Delivered, end).await;
            assert_eq!(late, FinishOutcome::StaleLease);
        }
        world.finish(&told[0], NotificationVerdict::Delivered, end).await;
        assert_eq!(world.lease(end.plus_seconds(30)).await, []);
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 0);
    }
}

#[tokio::test]
async fn a_push_that_was_under_way_and_failed_after_the_end_is_withdrawn() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let jobs = world.lease(NOW).await;
        world.deny(&phone, &jobs[0]).await;
        // Perhaps it rang, and only the answer was lost. One was not even tried.
        let watchs = jobs.iter().find(|job| job.device_id == watch.id).unwrap();
        let phones = jobs.iter().find(|job| job.device_id == phone.id).unwrap();
        world.finish(watchs, NotificationVerdict::RetryAt(NOW, "timeout".to_owned()), NOW).await;
        world.finish(phones, NotificationVerdict::PutBack(NOW), NOW).await;
        assert_eq!(world.lease(NOW).await, []);
        assert_eq!(kinds(&world.lease(NOW).await), [(NotificationKind::Withdrawn, watch.id)]);
        let failed = (DeliveryState::Withdrawn, 1, Some("timeout".to_owned()));
        assert_eq!(world.delivery(id, watch.id).await, failed);
        assert_eq!(world.delivery(id, phone.id).await, (DeliveryState::Withdrawn, 0, None));
    }
}

#[tokio::test]
async fn a_push_that_was_put_back_after_the_end_ends_without_a_word() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&watch]).await;
        let job = world.lease(NOW).await.remove(0);
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        world.finish(&job, NotificationVerdict::PutBack(NOW), NOW).await;
        assert_eq!(world.lease(NOW).await, []);
        assert_eq!(world.lease(NOW).await, []);
        assert_eq!(world.delivery(id, watch.id).await, (DeliveryState::Withdrawn, 0, None));
    }
}

#[tokio::test]
async fn what_was_tried_and_waits_when_its_challenge_ends_is_withdrawn_at_once() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        for is_dead in [false, true] {
            let id = world.challenge(&[&phone, &watch]).await;
            let jobs = world.lease(NOW).await;
            let mut at = NOW;
            if is_dead {
                at = jobs[0].leased_until;
            } else {
                for job in &jobs {
                    world.finish(job, NotificationVerdict::RetryAt(NOW, "timeout".to_owned()), NOW).await;
                }
            }
            let mut answer = world.answer(&phone, id, Verdict::Deny(None));
            answer.stamp.at = at;
            world.store.decide_challenge(answer).await.unwrap();
            let told = world.lease(at).await;
            assert_eq!(kinds(&told), [(NotificationKind::Withdrawn, watch.id)]);
            assert_eq!(world.delivery(id, watch.id).await.0, DeliveryState::Withdrawn);
            world.finish(&told[0], NotificationVerdict::Delivered, at).await;
        }
    }
}

#[tokio::test]
async fn an_orphan_that_nobody_claims_is_withdrawn_when_its_time_is_up() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let jobs = world.lease(NOW).await;
        world.deny(&phone, &jobs[0]).await;
        let end = NOW.plus_seconds(120);
        assert_eq!(world.store.expire_notifications(end, 10).await, Ok(2));
        assert_eq!(kinds(&world.lease(end).await), [(NotificationKind::Withdrawn, watch.id)]);
        for device_id in [phone.id, watch.id] {
            assert_eq!(world.delivery(id, device_id).await.0, DeliveryState::Withdrawn);
        }
    }
}

#[tokio::test]
async fn a_binding_that_cannot_be_read_stops_nobody_else() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let first = world.challenge(&[&phone, &watch]).await;
        let phone_id = world.database.sql_id::<Device>(phone.id);
        let spoil = format!("UPDATE devices SET push = '{{\"channel\":\"pigeon\"}}' WHERE id = {phone_id}");
        assert_eq!(world.database.tamper(&spoil).await, 1);
        assert_eq!(kinds(&world.lease(NOW).await), [(NotificationKind::Challenge, watch.id)]);
        let error = Some("unreadable-binding".to_owned());
        assert_eq!(world.delivery(first, phone.id).await, (DeliveryState::Rejected, 1, error.clone()));
        let health = world.device(phone.id).await.unwrap().push_health;
        assert_eq!(health.last_error.map(|(error, _)| error), error);
        // A sign-in goes on: the device pulls.
        let found = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
        let addressee = found.devices.iter().find(|device| device.device_id == phone.id).unwrap();
        assert_eq!((&addressee.push, addressee.channel), (&PushBinding::None, PushChannel::Fcm));
        let second = world.challenge(&[&phone, &watch]).await;
        assert_eq!(kinds(&world.lease(NOW).await), [(NotificationKind::Challenge, watch.id)]);
        assert!(world.store.inbox(phone.id, NOW).await.unwrap().iter().any(|entry| entry.id == second));
    }
}
