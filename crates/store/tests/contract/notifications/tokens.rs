//! What verdicts say of a device's token: gone, refused, in order again; never of another token than the one tried.

use countersign_core::{
    device::Undeliverable,
    ports::{
        devices::{UpdatePush, UpdatePushOutcome},
        notifications::{FinishNotification, FinishOutcome, LeasedNotification, NotificationVerdict},
    },
};
use countersign_proto::{
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeliveryState, PushChannel},
};

use crate::world::{NOW, Phone, World};

pub(super) fn fcm(token: &str) -> PushBinding {
    PushBinding::Fcm { token: token.to_owned(), project: None }
}

fn gone() -> NotificationVerdict {
    NotificationVerdict::TokenGone("gone 410".to_owned())
}

fn refused() -> NotificationVerdict {
    NotificationVerdict::Undeliverable("bad_token 400".to_owned())
}

impl World {
    pub(crate) fn new_push(&self, phone: &Phone, push: PushBinding, at: Timestamp) -> UpdatePush {
        let stamp = self.stamp_at(phone.actor(), at);
        let key = phone.key.thumbprint.clone();
        UpdatePush {
            stamp,
            device_id: phone.id,
            key,
            jti: self.digest().to_b64u(),
            push,
            app_version: None,
            os_version: None,
        }
    }

    pub(crate) async fn register(&self, phone: &Phone, push: PushBinding, at: Timestamp) {
        let updated = self.store.update_push(self.new_push(phone, push, at)).await;
        assert_eq!(updated, Ok(UpdatePushOutcome::Updated));
    }

    /// A new challenge for the phone, its push leased.
    pub(crate) async fn job(&self, phone: &Phone, at: Timestamp) -> LeasedNotification {
        let id = self.challenge(&[phone]).await;
        self.lease(at).await.into_iter().find(|job| job.challenge_id == Some(id)).unwrap()
    }
}

#[tokio::test]
async fn a_token_that_is_gone_is_cleared_unless_the_device_told_us_another() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        world.register(&phone, fcm("new"), NOW.plus_seconds(1)).await;
        assert_eq!(world.finish(&job, gone(), NOW).await, FinishOutcome::Stored);
        assert!(!world.device(phone.id).await.unwrap().push_token_gone);

        let job = world.job(&phone, NOW.plus_seconds(1)).await;
        assert_eq!(job.push, fcm("new"));
        world.finish(&job, gone(), NOW).await;
        let device = world.device(phone.id).await.unwrap();
        assert!(device.push_token_gone);
        assert_eq!(device.push_channel, PushChannel::Fcm);
        assert_eq!(world.database.number("SELECT count(*) FROM devices WHERE push LIKE '%new%'").await, 0);
        // The device stays, and pulls.
        let id = world.challenge(&[&phone]).await;
        assert_eq!(world.lease(NOW.plus_seconds(1)).await, []);
        assert!(world.store.inbox(phone.id, NOW).await.unwrap().iter().any(|entry| entry.id == id));
        // What waited rings as soon as there is a token again.
        world.register(&phone, fcm("newer"), NOW.plus_seconds(2)).await;
        assert!(!world.device(phone.id).await.unwrap().push_token_gone);
        assert_eq!(world.lease(NOW.plus_seconds(2)).await[0].push, fcm("newer"));
    }
}

#[tokio::test]
async fn another_token_of_the_same_millisecond_is_not_taken_for_the_dead_one() {
    for world in World::each().await {
        for verdict in [gone(), refused()] {
            let phone = world.phone("ada").await;
            world.register(&phone, fcm("old"), NOW).await;
            let job = world.job(&phone, NOW).await;
            world.register(&phone, fcm("new"), NOW).await;
            assert_eq!(world.finish(&job, verdict, NOW).await, FinishOutcome::Stored);
            let device = world.device(phone.id).await.unwrap();
            assert_eq!((device.push_token_gone, device.push_undeliverable), (false, None));
        }
    }
}

#[tokio::test]
async fn the_same_token_registered_again_is_not_the_one_that_was_tried() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        world.register(&phone, fcm("token"), NOW.plus_millis(1)).await;
        world.finish(&job, gone(), NOW).await;
        assert!(!world.device(phone.id).await.unwrap().push_token_gone);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_re_registration_and_a_dead_token_meet_no_good_token_is_cleared() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for round in 0..60_i64 {
            let (before, after) = (NOW.plus_millis(2 * round), NOW.plus_millis(2 * round + 1));
            world.register(&phone, fcm(&format!("old {round}")), before).await;
            let job = world.job(&phone, after).await;
            let new = fcm(&format!("new {round}"));
            let update = world.new_push(&phone, new.clone(), after);
            let verdict = if round % 2 == 0 { gone() } else { refused() };
            let finish = FinishNotification { leased: job.clone(), verdict, at: after };
            let (finished, updated) =
                tokio::join!(world.other.finish_notification(finish), world.store.update_push(update));
            assert_eq!((finished, updated), (Ok(FinishOutcome::Stored), Ok(UpdatePushOutcome::Updated)));
            let device = world.device(phone.id).await.unwrap();
            assert_eq!((device.push_token_gone, device.push_undeliverable), (false, None), "round {round}");
            let found = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
            assert_eq!(found.devices[0].push, new);
            world.store.close_challenge(world.cancel(phone.user.id, job.challenge_id.unwrap())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_refused_token_is_marked_and_stays_until_it_is_taken_again() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        assert!(!job.was_undeliverable);
        let at = NOW.plus_seconds(1);
        world.finish(&job, refused(), at).await;
        let error = "bad_token 400".to_owned();
        assert_eq!(
            world.delivery(job.challenge_id.unwrap(), phone.id).await,
            (DeliveryState::Rejected, 1, Some(error.clone()))
        );
        let refusal = Some(Undeliverable { reason: error, since: at });
        let device = world.device(phone.id).await.unwrap();
        assert_eq!((device.push_undeliverable, device.push_token_gone), (refusal.clone(), false));
        assert_eq!(device.push_channel, PushChannel::Fcm);
        let found = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
        let addressee = &found.devices[0];
        assert_eq!((&addressee.undeliverable, &addressee.push), (&refusal, &fcm("token")));
        assert_eq!((addressee.channel, addressee.is_token_gone), (PushChannel::Fcm, false));

        // A later refusal counts from then on; a message that is refused says nothing about the token.
        let job = world.job(&phone, at).await;
        assert!(job.was_undeliverable);
        let later = NOW.plus_seconds(2);
        world.finish(&job, NotificationVerdict::Undeliverable("other 403".to_owned()), later).await;
        let job = world.job(&phone, later).await;
        world.finish(&job, NotificationVerdict::Rejected("too_large 413".to_owned()), later).await;
        let refusal = Undeliverable { reason: "other 403".to_owned(), since: later };
        assert_eq!(world.device(phone.id).await.unwrap().push_undeliverable, Some(refusal));

        let job = world.job(&phone, later).await;
        world.finish(&job, NotificationVerdict::Delivered, later).await;
        assert_eq!(world.device(phone.id).await.unwrap().push_undeliverable, None);
    }
}

#[tokio::test]
async fn a_success_clears_the_mark_of_the_token_that_was_tried_only() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        world.finish(&job, refused(), NOW).await;
        let old = world.job(&phone, NOW).await;
        let second = NOW.plus_seconds(1);
        world.register(&phone, fcm("new"), second).await;
        assert_eq!(world.device(phone.id).await.unwrap().push_undeliverable, None);
        let job = world.job(&phone, second).await;
        world.finish(&job, refused(), second).await;
        world.finish(&old, NotificationVerdict::Delivered, second).await;
        assert!(world.device(phone.id).await.unwrap().push_undeliverable.is_some());
    }
}

#[tokio::test]
async fn several_verdicts_on_one_device_share_a_batch() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut jobs = Vec::new();
        for _ in 0..9 {
            jobs.push(world.job(&phone, NOW).await);
        }
        let mut finishes = tokio::task::JoinSet::new();
        for (number, job) in jobs.into_iter().enumerate() {
            let verdict = match number % 3 {
                0 => NotificationVerdict::Delivered,
                1 => refused(),
                _ if number == 5 => gone(),
                _ => NotificationVerdict::RetryAt(NOW.plus_seconds(1), "busy 503".to_owned()),
            };
            let (store, finish) = (world.store.clone(), FinishNotification { leased: job, verdict, at: NOW });
            finishes.spawn(async move { store.finish_notification(finish).await });
        }
        for outcome in finishes.join_all().await {
            assert_eq!(outcome, Ok(FinishOutcome::Stored));
        }
        let device = world.device(phone.id).await.unwrap();
        assert!(device.push_token_gone, "once gone, gone for all");
        assert_eq!(device.push_health.accepted_at, Some(NOW));
        assert!(device.push_health.last_error.is_some());
    }
}

#[tokio::test]
async fn a_revocation_forgets_every_mark() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        world.finish(&job, refused(), NOW).await;
        world.change(phone.id, crate::devices::REVOKE).await;
        let device = world.device(phone.id).await.unwrap();
        assert_eq!((device.push_undeliverable, device.push_channel), (None, PushChannel::None));
    }
}
