//! What is stored at the same time from two nodes: neither deadlocks nor double work.

use std::{collections::HashSet, sync::Arc};

use countersign_core::{
    device::StatusChange,
    ports::notifications::{FinishNotification, FinishOutcome, NotificationVerdict, Sightings},
    verify::Verdict,
};
use countersign_proto::vocabulary::PushChannel;
use tokio::task::JoinSet;

use crate::world::{NOW, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_decisions_and_changes_of_status_meet_without_a_deadlock() {
    for world in World::each().await {
        let world = Arc::new(world);
        for round in 0..8 {
            let mut phones = Vec::new();
            for number in 0..6 {
                phones.push(world.phone(&format!("user {round} {number}")).await);
            }
            let mut ids = Vec::new();
            for phone in &phones {
                ids.push((world.challenge(&[phone]).await, world.challenge(&[phone]).await));
            }
            let mut work = JoinSet::new();
            for (number, job) in world.lease(NOW).await.into_iter().enumerate() {
                let verdict = match number % 4 {
                    0 => NotificationVerdict::TokenGone("gone 410".to_owned()),
                    1 => NotificationVerdict::Undeliverable("bad 400".to_owned()),
                    2 => NotificationVerdict::Delivered,
                    _ => NotificationVerdict::RetryAt(NOW, "busy 503".to_owned()),
                };
                let store = if number % 2 == 0 { world.store.clone() } else { world.other.clone() };
                let finish = FinishNotification { leased: job, verdict, at: NOW };
                work.spawn(async move { store.finish_notification(finish).await.map(|_| ()) });
            }
            let sightings = |reverse: bool| {
                let mut fetches: Vec<_> = phones
                    .iter()
                    .zip(&ids)
                    .flat_map(|(phone, (one, two))| [(*one, phone.id, NOW), (*two, phone.id, NOW)])
                    .collect();
                let mut pulls: Vec<_> = phones.iter().map(|phone| (world.tenant_id, phone.id, NOW)).collect();
                if reverse {
                    fetches.reverse();
                    pulls.reverse();
                }
                Sightings { pulls, fetches, answers: Vec::new() }
            };
            for (store, reverse) in [(&world.store, false), (&world.other, true)] {
                let (store, sightings) = (store.clone(), sightings(reverse));
                work.spawn(async move { store.record_sightings(sightings).await });
            }
            for (number, (phone, (one, _))) in phones.iter().zip(&ids).enumerate() {
                let answer = world.answer(phone, *one, Verdict::Approve { with_number: true });
                let suspend = world.new_status(world.client, phone.id, StatusChange::Suspend);
                let (store, other) = match number % 2 {
                    0 => (world.store.clone(), world.other.clone()),
                    _ => (world.other.clone(), world.store.clone()),
                };
                work.spawn(async move { store.decide_challenge(answer).await.map(|_| ()) });
                work.spawn(async move { other.change_device_status(suspend).await.map(|_| ()) });
            }
            for outcome in work.join_all().await {
                assert_eq!(outcome, Ok(()));
            }
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_tokens_and_suspensions_of_the_same_devices_meet_without_a_deadlock() {
    for world in World::each().await {
        for round in 0..10 {
            let mut phones = Vec::new();
            for number in 0..6 {
                phones.push(world.phone(&format!("user {round} {number}")).await);
                world.challenge(&[&phones[number]]).await;
                world.challenge(&[&phones[number]]).await;
            }
            // One node holds the jobs and wants the devices, the other holds the devices and wants the jobs.
            let mut work = JoinSet::new();
            for (number, job) in world.lease(NOW).await.into_iter().enumerate() {
                let (store, error) = (world.store.clone(), "gone 410".to_owned());
                let verdict = match number % 2 {
                    0 => NotificationVerdict::TokenGone(error),
                    _ => NotificationVerdict::Undeliverable(error),
                };
                let finish = FinishNotification { leased: job, verdict, at: NOW };
                work.spawn(async move { store.finish_notification(finish).await.map(|_| ()) });
            }
            for phone in phones.iter().rev() {
                let suspend = world.new_status(world.client, phone.id, StatusChange::Suspend);
                let store = world.other.clone();
                work.spawn(async move { store.change_device_status(suspend).await.map(|_| ()) });
            }
            for outcome in work.join_all().await {
                assert_eq!(outcome, Ok(()));
            }
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_claim_at_once_each_push_goes_to_one() {
    for world in World::each().await {
        let mut phones = Vec::new();
        for number in 0..10 {
            phones.push(world.phone(&format!("user {number}")).await);
        }
        let mut seen = HashSet::new();
        for _ in 0..5 {
            for phone in &phones {
                world.challenge(&[phone]).await;
            }
            let claim = || world.claim_of(PushChannel::Fcm, NOW, 100);
            let (one, two) =
                tokio::join!(world.store.claim_notifications(claim()), world.other.claim_notifications(claim()));
            let rest = world.lease_all(PushChannel::Fcm, NOW).await;
            for job in one.unwrap().into_iter().chain(two.unwrap()).chain(rest) {
                assert!(seen.insert(job.id), "leased twice");
            }
        }
        assert_eq!(seen.len(), 50);
    }
}

#[tokio::test]
async fn a_stale_lease_changes_neither_token_nor_health_nor_record() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let stale = world.job(&phone, NOW).await;
        let end = stale.leased_until;
        let current = world.lease(end).await.remove(0);
        assert_eq!(current.id, stale.id);
        let before = world.device(phone.id).await;
        let verdicts = [
            NotificationVerdict::Delivered,
            NotificationVerdict::RetryAt(end, "x".to_owned()),
            NotificationVerdict::TokenGone("x".to_owned()),
            NotificationVerdict::Undeliverable("x".to_owned()),
            NotificationVerdict::Rejected("x".to_owned()),
            NotificationVerdict::Expired(Some("x".to_owned())),
        ];
        for verdict in verdicts {
            assert_eq!(world.finish(&stale, verdict, end).await, FinishOutcome::StaleLease);
        }
        assert_eq!(world.device(phone.id).await, before);
        assert_eq!(world.finish(&current, NotificationVerdict::Delivered, end).await, FinishOutcome::Stored);
    }
}
