//! `ports::test_pushes` on both databases.

use countersign_core::{
    device::StatusChange,
    event::EventKind,
    limits::{TEST_PUSH_KEPT_SECONDS, TEST_PUSH_SECONDS},
    ports::{
        StoreError,
        notifications::{LeasedNotification, NotificationKind, NotificationVerdict},
        test_pushes::{CreateTestPush, CreateTestPushOutcome as Outcome, TestPushRecord},
    },
};
use countersign_proto::{
    ids::DeviceId,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeliveryState, DeviceStatus, PushChannel},
};

use crate::world::{NOW, World};

impl World {
    fn new_test(&self, device_id: DeviceId, at: Timestamp) -> CreateTestPush {
        CreateTestPush {
            stamp: self.stamp_at(self.client, at),
            id: self.id(),
            device_id,
            expires_at: at.plus_seconds(TEST_PUSH_SECONDS),
            not_after_another_since: at.plus_seconds(-10),
        }
    }

    async fn record(&self, created: &TestPushRecord) -> TestPushRecord {
        self.other.test_push(self.tenant_id, created.device_id, created.id).await.unwrap().unwrap()
    }
}

fn queued(outcome: Result<Outcome, StoreError>) -> TestPushRecord {
    match outcome {
        Ok(Outcome::Queued(record)) => record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_test_push_is_queued_told_and_found_again() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let command = world.new_test(phone.id, NOW);
        let record = queued(world.store.create_test_push(command.clone()).await);
        let wanted = TestPushRecord {
            id: command.id,
            device_id: phone.id,
            channel: PushChannel::Fcm,
            state: DeliveryState::Queued,
            attempts: 0,
            last_error: None,
            created_at: NOW,
            updated_at: NOW,
        };
        assert_eq!((&record, &world.record(&record).await), (&wanted, &wanted));
        assert_eq!(world.count(EventKind::DevicePushTested).await, 1);
        let job = world.lease(NOW).await.remove(0);
        assert_eq!((job.id, job.kind, job.challenge_id), (command.id, NotificationKind::Test, None));
        assert_eq!(job.expires_at, command.expires_at);
        // Only of this device and tenant.
        let other = world.phone("bob").await;
        assert_eq!(world.store.test_push(world.tenant_id, other.id, record.id).await, Ok(None));
        assert_eq!(world.store.test_push(world.tenant("neighbour").await, phone.id, record.id).await, Ok(None));
        assert_eq!(world.store.test_push(world.tenant_id, phone.id, world.id()).await, Ok(None));
    }
}

#[tokio::test]
async fn every_verdict_is_told_in_the_record() {
    for world in World::each().await {
        let later = NOW.plus_seconds(1);
        let text = || "code 400".to_owned();
        let verdicts = [
            (NotificationVerdict::Delivered, DeliveryState::Delivered, None),
            (NotificationVerdict::RetryAt(later, text()), DeliveryState::Retrying, Some(text())),
            (NotificationVerdict::TokenGone(text()), DeliveryState::TokenGone, Some(text())),
            (NotificationVerdict::Undeliverable(text()), DeliveryState::Rejected, Some(text())),
            (NotificationVerdict::Rejected(text()), DeliveryState::Rejected, Some(text())),
            (NotificationVerdict::Expired(Some(text())), DeliveryState::Expired, Some(text())),
        ];
        for (verdict, state, last_error) in verdicts {
            let phone = world.phone("ada").await;
            let record = queued(world.store.create_test_push(world.new_test(phone.id, NOW)).await);
            let is_this = |job: &LeasedNotification| job.id == record.id;
            let job = world.lease(NOW).await.into_iter().find(is_this).unwrap();
            world.finish(&job, verdict, later).await;
            let wanted = TestPushRecord { state, last_error, attempts: 1, updated_at: later, ..record.clone() };
            assert_eq!(world.record(&record).await, wanted);
        }
    }
}

#[tokio::test]
async fn a_device_that_cannot_be_rung_is_not_tested() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let refused = async |device_id, wanted| {
            assert_eq!(world.store.create_test_push(world.new_test(device_id, NOW)).await, Ok(wanted));
        };
        refused(world.id(), Outcome::NotFound).await;
        let mut foreign = world.new_test(phone.id, NOW);
        foreign.stamp = world.stamp_in(world.tenant("neighbour").await);
        assert_eq!(world.store.create_test_push(foreign).await, Ok(Outcome::NotFound));
        let (_, claim) = world.waiting("ada").await;
        refused(claim.device_id, Outcome::NotActive(DeviceStatus::PendingConfirmation)).await;
        world.change(phone.id, StatusChange::Suspend).await;
        refused(phone.id, Outcome::NotActive(DeviceStatus::Suspended)).await;
        world.change(phone.id, StatusChange::Resume).await;
        world.database.tamper("UPDATE devices SET push_token_gone = 1").await;
        refused(phone.id, Outcome::NoChannel).await;
        world.register(&phone, PushBinding::None, NOW).await;
        refused(phone.id, Outcome::NoChannel).await;
        world.change(phone.id, crate::devices::REVOKE).await;
        refused(phone.id, Outcome::NotActive(DeviceStatus::Revoked)).await;
        assert_eq!(world.database.number("SELECT count(*) FROM test_pushes").await, 0);
        assert_eq!(world.count(EventKind::DevicePushTested).await, 0);
    }
}

#[tokio::test]
async fn a_client_that_is_revoked_tests_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let command = world.new_test(phone.id, NOW);
        let countersign_core::actor::Actor::ApiClient { client_id, .. } = world.client else { panic!("no client") };
        let stamp = world.stamp(countersign_core::actor::Actor::Operator);
        world.store.revoke_api_client(stamp, client_id).await.unwrap();
        assert_eq!(world.other.create_test_push(command).await, Err(StoreError::ActorGone));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_tests_at_once_one_is_too_soon() {
    for world in World::each().await {
        let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
        for round in 0..20 {
            let at = NOW.plus_seconds(11 * round);
            let (one, two) = (world.new_test(phone.id, at), world.new_test(phone.id, at));
            let (one, two) = tokio::join!(world.store.create_test_push(one), world.other.create_test_push(two));
            let outcomes = [one.unwrap(), two.unwrap()];
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::TooSoon).count(), 1, "{outcomes:?}");
            let pause = world.store.create_test_push(world.new_test(phone.id, at.plus_seconds(10))).await;
            assert_eq!(pause, Ok(Outcome::TooSoon));
            queued(world.store.create_test_push(world.new_test(other.id, at)).await);
        }
    }
}

#[tokio::test]
async fn a_test_that_was_not_sent_ends_with_its_time_or_its_device() {
    for world in World::each().await {
        let (phone, other) = (world.phone("ada").await, world.phone("bob").await);
        let ending = queued(world.store.create_test_push(world.new_test(phone.id, NOW)).await);
        let end = NOW.plus_seconds(TEST_PUSH_SECONDS);
        let withdrawn = queued(world.store.create_test_push(world.new_test(other.id, NOW)).await);
        world.change(other.id, StatusChange::Suspend).await;
        assert_eq!(world.record(&withdrawn).await.state, DeliveryState::Withdrawn);
        assert_eq!(world.store.expire_notifications(end, 10).await, Ok(1));
        let record = world.record(&ending).await;
        assert_eq!((record.state, record.attempts, record.updated_at), (DeliveryState::Expired, 0, end));
    }
}

#[tokio::test]
async fn what_came_of_a_test_is_forgotten_after_a_week() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let old = queued(world.store.create_test_push(world.new_test(phone.id, NOW)).await);
        let later = NOW.plus_seconds(60);
        let new = queued(world.store.create_test_push(world.new_test(phone.id, later)).await);
        let end = NOW.plus_seconds(TEST_PUSH_KEPT_SECONDS);
        world.store.forget_expired(end.plus_millis(-1), 100).await.unwrap();
        world.record(&old).await;
        assert_eq!(world.store.forget_expired(end, 100).await, Ok(1));
        assert_eq!(world.store.test_push(world.tenant_id, phone.id, old.id).await, Ok(None));
        world.record(&new).await;
    }
}
