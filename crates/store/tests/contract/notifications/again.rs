//! Pushes that are taken up again although somebody had them: put back untried, or tried with a token that is not the
//! device's any more.

use countersign_core::{
    device::PushHealth,
    ports::{
        notifications::{FinishOutcome, NotificationVerdict},
        test_pushes::{CreateTestPush, CreateTestPushOutcome},
    },
};
use countersign_proto::{
    push::PushBinding,
    vocabulary::{DeliveryState, PushChannel},
};

use super::tokens::fcm;
use crate::world::{NOW, World};

#[tokio::test]
async fn a_push_that_is_put_back_was_never_tried() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let later = NOW.plus_seconds(3);
        for _ in 0..3 {
            let job = world.lease(NOW).await.remove(0);
            assert_eq!(job.attempts, 0);
            assert_eq!(world.finish(&job, NotificationVerdict::PutBack(NOW), NOW).await, FinishOutcome::Stored);
        }
        assert_eq!(world.delivery(id, phone.id).await, (DeliveryState::Queued, 0, None));
        let device = world.device(phone.id).await.unwrap();
        assert_eq!((device.push_health, device.push_token_gone), (PushHealth::default(), false));
        // A delivery that was tried before stays as it was, too; and a stale lease puts nothing back.
        let job = world.lease(NOW).await.remove(0);
        world.finish(&job, NotificationVerdict::RetryAt(NOW, "busy 503".to_owned()), NOW).await;
        let second = world.lease(NOW).await.remove(0);
        world.finish(&second, NotificationVerdict::PutBack(later), NOW).await;
        let before = (DeliveryState::Retrying, 1, Some("busy 503".to_owned()));
        assert_eq!(world.delivery(id, phone.id).await, before);
        assert_eq!(world.finish(&job, NotificationVerdict::PutBack(NOW), NOW).await, FinishOutcome::StaleLease);
        assert_eq!(world.lease(later.plus_millis(-1)).await, []);
        assert_eq!(world.lease(later).await.remove(0).attempts, 1);
    }
}

#[tokio::test]
async fn a_count_of_attempts_never_falls_below_none() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        world.database.tamper("UPDATE notifications SET attempts = 0").await;
        assert_eq!(world.finish(&job, NotificationVerdict::PutBack(NOW), NOW).await, FinishOutcome::Stored);
        assert_eq!(world.lease(NOW).await.remove(0).attempts, 0);
    }
}

#[tokio::test]
async fn a_test_push_that_is_put_back_stays_queued() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let command = CreateTestPush {
            stamp: world.stamp(world.client),
            id: world.id(),
            device_id: phone.id,
            not_after_another_since: NOW,
            expires_at: NOW.plus_seconds(60),
        };
        let id = command.id;
        let created = world.store.create_test_push(command).await;
        assert!(matches!(created, Ok(CreateTestPushOutcome::Queued(_))), "{created:?}");
        let job = world.lease(NOW).await.remove(0);
        world.finish(&job, NotificationVerdict::PutBack(NOW.plus_seconds(1)), NOW).await;
        let record = world.store.test_push(world.tenant_id, phone.id, id).await.unwrap().unwrap();
        assert_eq!((record.state, record.attempts, record.last_error), (DeliveryState::Queued, 0, None));
    }
}

#[tokio::test]
async fn a_push_that_met_an_old_token_goes_out_to_the_new_one() {
    let condemnations = [
        NotificationVerdict::TokenGone("gone 410".to_owned()),
        NotificationVerdict::Undeliverable("bad_token 400".to_owned()),
    ];
    for world in World::each().await {
        for verdict in condemnations.clone() {
            let phone = world.phone("ada").await;
            let job = world.job(&phone, NOW).await;
            let id = job.challenge_id.unwrap();
            world.register(&phone, fcm("new"), NOW.plus_seconds(1)).await;
            let at = NOW.plus_seconds(2);
            assert_eq!(world.finish(&job, verdict.clone(), at).await, FinishOutcome::Stored);
            assert_eq!(world.delivery(id, phone.id).await, (DeliveryState::Queued, 0, None));
            let device = world.device(phone.id).await.unwrap();
            assert_eq!((device.push_health, device.push_undeliverable), (PushHealth::default(), None));
            let again = world.lease(at).await.remove(0);
            assert_eq!((again.id, again.push.clone(), again.attempts), (job.id, fcm("new"), 0));
            // The same verdict on the token of now is final.
            world.finish(&again, verdict, at).await;
            assert!(matches!(world.delivery(id, phone.id).await.0, DeliveryState::TokenGone | DeliveryState::Rejected));
            assert_eq!(world.lease(at).await, []);
        }
    }
}

#[tokio::test]
async fn a_push_follows_its_device_to_the_lane_of_its_new_token() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        let push = PushBinding::Apns {
            token: "ab".repeat(32),
            topic: "app.example".to_owned(),
            environment: countersign_proto::vocabulary::ApnsEnvironment::Production,
        };
        world.register(&phone, push.clone(), NOW).await;
        world.finish(&job, NotificationVerdict::TokenGone("gone 410".to_owned()), NOW).await;
        assert_eq!(world.lease_all(PushChannel::Apns, NOW).await.remove(0).push, push);
    }
}

#[tokio::test]
async fn a_push_that_met_an_old_token_ends_if_there_is_no_other() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let job = world.job(&phone, NOW).await;
        world.register(&phone, PushBinding::None, NOW).await;
        world.finish(&job, NotificationVerdict::TokenGone("gone 410".to_owned()), NOW).await;
        assert_eq!(world.delivery(job.challenge_id.unwrap(), phone.id).await.0, DeliveryState::TokenGone);
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 0);
    }
}
