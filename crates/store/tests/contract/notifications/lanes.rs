//! Lanes: what waits for one channel keeps nobody else waiting.

use std::collections::HashSet;

use countersign_core::{
    device::StatusChange,
    ports::{
        challenges::CreateOutcome,
        notifications::{FinishOutcome, NotificationKind, NotificationVerdict},
    },
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    ids::Id,
    push::PushBinding,
    vocabulary::{ApnsEnvironment, PushChannel},
};

use crate::{
    kit::{self, Database, Wakes},
    world::{NOW, Phone, World},
};

fn apns() -> PushBinding {
    let token = "ab".repeat(32);
    PushBinding::Apns { token, topic: "org.example".to_owned(), environment: ApnsEnvironment::Production }
}

fn webpush() -> PushBinding {
    let endpoint = "https://push.example/x".to_owned();
    PushBinding::Webpush { endpoint, p256dh: "p".to_owned(), auth: "a".to_owned() }
}

/// A phone of each channel, each of a user of its own.
async fn one_of_each(world: &World) -> Vec<(PushChannel, Phone)> {
    let mut phones = Vec::new();
    for (name, push) in [("ada", None), ("bob", Some(apns())), ("eve", Some(webpush()))] {
        let phone = world.phone(name).await;
        let channel = push.as_ref().map_or(PushChannel::Fcm, PushBinding::channel);
        if let Some(push) = push {
            world.register(&phone, push, NOW).await;
        }
        phones.push((channel, phone));
    }
    phones
}

#[tokio::test]
async fn a_lane_yields_the_pushes_of_its_channel_only() {
    for world in World::each().await {
        let phones = one_of_each(&world).await;
        for (_, phone) in &phones {
            world.challenge(&[phone]).await;
        }
        for (channel, phone) in &phones {
            let jobs = world.lease_all(*channel, NOW).await;
            assert_eq!(jobs.iter().map(|job| job.device_id).collect::<Vec<_>>(), [phone.id]);
            assert_eq!(jobs[0].push.channel(), *channel);
        }
        assert_eq!(world.lease_all(PushChannel::None, NOW).await, []);
    }
}

#[tokio::test]
async fn what_an_older_program_queued_waits_in_the_lane_of_its_device() {
    for database in Database::each().await {
        database.migrate_to_the_first().await;
        let id = |number: u128| database.sql_id::<()>(Id::from_uuid(uuid::Uuid::from_u128(number)));
        let (tenant, user) = (id(1), id(2));
        database
            .tamper(&format!(
                "INSERT INTO tenants (id, slug, name, policy, created_at) VALUES ({tenant}, 'a', 'A', '{{}}', 0)"
            ))
            .await;
        database
            .tamper(&format!(
                "INSERT INTO users (id, tenant_id, external_id, created_at) VALUES ({user}, {tenant}, 'ada', 0)"
            ))
            .await;
        for (number, channel) in [(3, "apns"), (4, "fcm")] {
            let device = id(number);
            database
                .tamper(&format!(
                    "INSERT INTO devices (id, tenant_id, user_id, name, platform, purpose, status, key_thumbprint,
                    push_channel, push, push_updated_at, created_at, decision_id)
                 VALUES ({device}, {tenant}, {user}, 'P', 'ios', 'approval', 'active', 'k{number}', '{channel}',
                    '{{}}', 0, 0, {device})"
                ))
                .await;
        }
        // The third one's device is gone.
        for (number, device) in [(5, 3), (6, 4), (7, 9)] {
            let (notification, device) = (id(number), id(device));
            database
                .tamper(&format!(
                    "INSERT INTO notifications (id, tenant_id, kind, device_id, due_at, expires_at)
                 VALUES ({notification}, {tenant}, 'notice', {device}, 0, 1)"
                ))
                .await;
        }
        database.open().await;
        assert_eq!(database.texts("SELECT channel FROM notifications ORDER BY id").await, ["apns", "fcm", "none"]);
    }
}

#[tokio::test]
async fn a_full_lane_does_not_hide_what_waits_in_another() {
    for world in World::each().await {
        let phones = one_of_each(&world).await;
        for _ in 0..10 {
            world.challenge(&[&phones[1].1]).await;
        }
        let id = world.challenge(&[&phones[0].1]).await;
        let jobs = world.store.claim_notifications(world.claim_of(PushChannel::Fcm, NOW, 1)).await.unwrap();
        assert_eq!(jobs[0].challenge_id, Some(id));
    }
}

#[tokio::test]
async fn what_is_queued_follows_the_device_to_another_channel() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        let bystander = world.phone("bob").await;
        let stays = world.challenge(&[&bystander]).await;
        world.register(&phone, apns(), NOW).await;
        assert_eq!(world.lease(NOW).await.iter().map(|job| job.challenge_id).collect::<Vec<_>>(), [Some(stays)]);
        let jobs = world.lease_all(PushChannel::Apns, NOW).await;
        assert_eq!((jobs[0].challenge_id, jobs[0].push.clone()), (Some(id), apns()));

        // Also what is under way, for when its lease ends; and back.
        world.register(&phone, webpush(), NOW).await;
        let end = jobs[0].leased_until;
        assert_eq!(world.lease_all(PushChannel::Apns, end).await, []);
        assert_eq!(
            world.finish(&jobs[0], NotificationVerdict::RetryAt(end, "x".to_owned()), NOW).await,
            FinishOutcome::Stored
        );
        assert_eq!(world.lease_all(PushChannel::Webpush, end).await.len(), 1);

        // Without a channel nothing is sent, and nothing is lost should there be one again in time.
        let id = world.challenge(&[&phone]).await;
        world.register(&phone, PushBinding::None, NOW).await;
        for channel in [PushChannel::Apns, PushChannel::Fcm, PushChannel::Webpush, PushChannel::None] {
            assert!(world.lease_all(channel, NOW).await.iter().all(|job| job.challenge_id != Some(id)));
        }
        world.register(&phone, apns(), NOW).await;
        assert_eq!(world.lease_all(PushChannel::Apns, NOW).await[0].challenge_id, Some(id));
    }
}

#[tokio::test]
async fn a_new_push_takes_the_lane_of_the_channel_that_the_device_has_now() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        // Read before the device changed its channel, written afterwards.
        let command = world.new_challenge(&[&phone, &watch]).await;
        let id = command.facts.id;
        world.register(&phone, apns(), NOW).await;
        assert!(matches!(world.store.create_challenge(command).await, Ok(CreateOutcome::Created(_))));
        let job = world.lease_all(PushChannel::Apns, NOW).await.into_iter().find(|job| job.challenge_id.is_some());
        let job = job.unwrap();
        assert_eq!((job.challenge_id, job.device_id), (Some(id), phone.id));
        // So does its withdrawal.
        world.finish(&job, NotificationVerdict::Delivered, NOW).await;
        world.store.decide_challenge(world.answer(&watch, id, Verdict::Deny(None))).await.unwrap();
        let jobs = world.lease_all(PushChannel::Apns, NOW).await;
        assert_eq!(jobs.iter().map(|job| job.kind).collect::<Vec<_>>(), [NotificationKind::Withdrawn]);
    }
}

#[tokio::test]
async fn the_dispatcher_of_the_lane_is_woken_on_the_node_that_queued() {
    for world in World::each().await {
        let phones = one_of_each(&world).await;
        let (here, there) = (std::sync::Arc::new(Wakes::default()), std::sync::Arc::new(Wakes::default()));
        let node = world.database.open_with(kit::options(), here.clone()).await.unwrap();
        let _other = world.database.open_with(kit::options(), there.clone()).await.unwrap();
        let command = world.new_challenge(&[&phones[1].1]).await;
        node.create_challenge(command).await.unwrap();
        here.hear(WakeKey::Outbox(PushChannel::Apns)).await;
        assert!(!here.take().contains(&WakeKey::Outbox(PushChannel::Fcm)));
        // A move wakes the new lane.
        node.update_push(world.new_push(&phones[1].1, webpush(), NOW)).await.unwrap();
        here.hear(WakeKey::Outbox(PushChannel::Webpush)).await;
        if world.database.is_postgres() {
            // What the other node hears of this one comes in order, and never the outbox.
            let id = world.challenge(&[&phones[0].1]).await;
            node.close_challenge(world.cancel(phones[0].1.user.id, id)).await.unwrap();
            there.hear(WakeKey::Challenge(id)).await;
        }
        assert!(!there.take().iter().any(|key| matches!(key, WakeKey::Outbox(_))));
    }
}

#[tokio::test]
async fn the_age_of_a_lane_is_that_of_its_oldest_push_that_could_go_out() {
    for world in World::each().await {
        let phones = one_of_each(&world).await;
        let at = |seconds| NOW.plus_seconds(seconds);
        assert_eq!(world.store.oldest_unsent(at(60)).await, Ok(vec![]));
        for (seconds, phone) in [(3, 0), (5, 0), (4, 1)] {
            let mut command = world.new_challenge(&[&phones[phone].1]).await;
            command.stamp.at = at(seconds);
            world.store.create_challenge(command).await.unwrap();
        }
        let oldest =
            async |seconds| world.store.oldest_unsent(at(seconds)).await.unwrap().into_iter().collect::<HashSet<_>>();
        assert_eq!(oldest(10).await, HashSet::from([(PushChannel::Fcm, at(3)), (PushChannel::Apns, at(4))]));
        // What is being sent, or waits to be tried again, has not gone out.
        let jobs = world.lease(at(10)).await;
        assert_eq!(oldest(10).await, HashSet::from([(PushChannel::Fcm, at(3)), (PushChannel::Apns, at(4))]));
        for job in &jobs {
            world.finish(job, NotificationVerdict::RetryAt(at(20), "x".to_owned()), at(10)).await;
        }
        assert_eq!(oldest(19).await, HashSet::from([(PushChannel::Fcm, at(3)), (PushChannel::Apns, at(4))]));
        let job = world.lease(at(20)).await.remove(0);
        world.finish(&job, NotificationVerdict::Delivered, at(20)).await;
        assert_eq!(oldest(20).await, HashSet::from([(PushChannel::Fcm, at(5)), (PushChannel::Apns, at(4))]));
        assert_eq!(oldest(200).await, HashSet::new(), "whose time is up is nobody's backlog");
        // What nobody can send waits for its end and raises no alarm.
        world.change(phones[1].1.id, StatusChange::Suspend).await;
        world.database.tamper("UPDATE devices SET push_token_gone = 1").await;
        assert_eq!(oldest(20).await, HashSet::new());
    }
}
