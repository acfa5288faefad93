//! Push updates: the one artefact whose `jti` is remembered.

use countersign_core::device::StatusChange;
use countersign_core::ports::devices::{UpdatePush, UpdatePushOutcome};
use countersign_proto::{
    jose::Thumbprint,
    push::PushBinding,
    vocabulary::{DeviceStatus, PushChannel},
};

use super::REVOKE;
use crate::world::{NOW, Phone, World};

fn update(world: &World, phone: &Phone, jti: &str) -> UpdatePush {
    UpdatePush {
        stamp: world.stamp(phone.actor()),
        device_id: phone.id,
        key: phone.key.thumbprint.clone(),
        jti: jti.to_owned(),
        push: PushBinding::None,
        app_version: None,
        os_version: None,
    }
}

#[tokio::test]
async fn an_update_takes_the_versions_that_it_tells_and_leaves_the_others() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let told = UpdatePush { app_version: Some("2.1".to_owned()), ..update(&world, &phone, "1") };
        assert_eq!(world.store.update_push(told).await, Ok(UpdatePushOutcome::Updated));
        let told = UpdatePush { os_version: Some("18".to_owned()), ..update(&world, &phone, "2") };
        assert_eq!(world.other.update_push(told).await, Ok(UpdatePushOutcome::Updated));
        let device = world.device(phone.id).await.unwrap().description;
        assert_eq!((device.app_version.as_deref(), device.os_version.as_deref()), (Some("2.1"), Some("18")));
    }
}

#[tokio::test]
async fn an_update_replaces_the_channel() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let later = NOW.plus_seconds(7);
        let mut command = update(&world, &phone, "1");
        command.stamp.at = later;
        assert_eq!(world.store.update_push(command).await, Ok(UpdatePushOutcome::Updated));
        let device = world.device(phone.id).await.unwrap();
        assert_eq!((device.push_channel, device.push_updated_at), (PushChannel::None, later));
    }
}

#[tokio::test]
async fn a_jti_is_refused_for_five_minutes_by_the_same_device_only() {
    for world in World::each().await {
        let (phone, other) = (world.phone("ada").await, world.phone("ada").await);
        let at = async |seconds, phone: &Phone| {
            let mut command = update(&world, phone, "same");
            command.stamp.at = NOW.plus_seconds(seconds);
            world.store.update_push(command).await.unwrap()
        };
        assert_eq!(at(0, &phone).await, UpdatePushOutcome::Updated);
        assert_eq!(at(299, &phone).await, UpdatePushOutcome::Replayed);
        assert_eq!(world.device(phone.id).await.unwrap().push_updated_at, NOW);
        assert_eq!(at(0, &other).await, UpdatePushOutcome::Updated);
        assert_eq!(at(300, &phone).await, UpdatePushOutcome::Updated);
    }
}

#[tokio::test]
async fn of_two_equal_updates_at_once_one_counts() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for round in 0..50 {
            let jti = format!("jti-{round}");
            let (one, two) = (update(&world, &phone, &jti), update(&world, &phone, &jti));
            let (one, two) = tokio::join!(world.store.update_push(one), world.other.update_push(two));
            let outcomes = [one.unwrap(), two.unwrap()];
            assert!(outcomes.contains(&UpdatePushOutcome::Updated), "{outcomes:?}");
            assert!(outcomes.contains(&UpdatePushOutcome::Replayed), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn only_the_current_key_of_a_live_device_updates() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let stale: Thumbprint = world.key().thumbprint;
        let command = UpdatePush { key: stale, ..update(&world, &phone, "1") };
        assert_eq!(world.store.update_push(command).await, Ok(UpdatePushOutcome::StaleKey));
        let command = UpdatePush { device_id: world.id(), ..update(&world, &phone, "1") };
        assert_eq!(world.store.update_push(command).await, Ok(UpdatePushOutcome::StaleKey));
        let mut command = update(&world, &phone, "1");
        command.stamp.tenant_id = world.tenant("neighbour").await;
        assert_eq!(world.store.update_push(command).await, Ok(UpdatePushOutcome::StaleKey));

        for (change, status) in [(StatusChange::Suspend, DeviceStatus::Suspended), (REVOKE, DeviceStatus::Revoked)] {
            world.change(phone.id, change).await;
            let refused = world.store.update_push(update(&world, &phone, "1")).await;
            assert_eq!(refused, Ok(UpdatePushOutcome::NotActive(status)));
        }

        let (_, claim) = world.waiting("ada").await;
        let command = UpdatePush {
            device_id: claim.device_id,
            key: claim.device_key.thumbprint.clone(),
            ..update(&world, &phone, "1")
        };
        assert_eq!(world.store.update_push(command).await, Ok(UpdatePushOutcome::Updated));
    }
}
