//! `ports::events` on both databases.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use countersign_core::{actor::Actor, event::EventKind, ports::Store};
use countersign_proto::ids::TenantId;

use crate::world::{NOW, World};

async fn positions(store: &Arc<dyn Store>, tenant_id: TenantId) -> Vec<i64> {
    store.events(tenant_id, 0, 10_000).await.unwrap().into_iter().map(|event| event.position).collect()
}

#[tokio::test]
async fn an_event_is_read_as_it_was_written_once_it_has_its_place() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        assert_eq!(world.store.events(world.tenant_id, 0, 100).await, Ok(vec![]));
        assert_eq!(world.store.unpositioned_tenants(None, 10).await, Ok(vec![world.tenant_id]));
        let first = world.store.position_events(world.tenant_id, 2).await.unwrap();
        assert_eq!(first, 2);
        let rest = world.other.position_events(world.tenant_id, 1000).await.unwrap();
        assert_eq!(world.store.position_events(world.tenant_id, 1000).await, Ok(0));
        assert_eq!(world.store.unpositioned_tenants(None, 10).await, Ok(vec![]));

        let count = i64::try_from(first + rest).unwrap();
        assert_eq!(positions(&world.store, world.tenant_id).await, (1..=count).collect::<Vec<_>>());
        let events = world.store.events(world.tenant_id, 0, 100).await.unwrap();
        let added = events.iter().find(|event| event.kind == EventKind::DeviceAdded).unwrap();
        assert_eq!((added.subjects.device_id, added.subjects.user_id), (Some(phone.id), Some(phone.user.id)));
        assert_eq!((added.at, added.request_id.as_str()), (NOW, "test"));
        assert_eq!((added.actor_kind.as_str(), added.actor_id.clone()), ("device", Actor::Device(phone.id).id()));
        let page = world.store.events(world.tenant_id, 1, 2).await.unwrap();
        assert_eq!(page, events[1..3]);
    }
}

#[tokio::test]
async fn each_tenant_counts_for_itself() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let mut waiting = [world.tenant_id, neighbour];
        waiting.sort();
        assert_eq!(world.store.unpositioned_tenants(None, 1).await, Ok(vec![waiting[0]]));
        assert_eq!(world.store.unpositioned_tenants(Some(waiting[0]), 10).await, Ok(vec![waiting[1]]), "page by page");
        assert_eq!(world.store.unpositioned_tenants(Some(waiting[1]), 10).await, Ok(vec![]));
        assert_eq!(world.store.position_events(neighbour, 100).await, Ok(1));
        assert_eq!(positions(&world.store, neighbour).await, [1]);
        assert_eq!(world.store.events(world.tenant_id, 0, 100).await, Ok(vec![]));
        assert_eq!(world.store.position_events(world.id(), 100).await, Ok(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_seen_a_position_never_misses_an_earlier_one() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let world = Arc::new(world);
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..2 {
            let (world, phone) = (Arc::clone(&world), phone.clone());
            writers.spawn(async move {
                for round in 0..40 {
                    let mut command = world.new_challenge(&[&phone]).await;
                    // Clocks differ from node to node: a later event may carry an earlier time.
                    command.stamp.at = NOW.plus_millis(if number == 0 { round } else { 1000 - round });
                    let id = command.facts.id;
                    let store = if number == 0 { &world.store } else { &world.other };
                    store.create_challenge(command).await.unwrap();
                    store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
                }
            });
        }
        // They never rest: each sees other events than the one before it.
        let mut sealers = tokio::task::JoinSet::new();
        let are_written = Arc::new(AtomicBool::new(false));
        for _ in 0..3 {
            let (store, are_written) = (world.database.open().await, Arc::clone(&are_written));
            let tenant_id = world.tenant_id;
            sealers.spawn(async move {
                while !are_written.load(Ordering::Relaxed) {
                    // On SQLite one of so many who never rest may not get its turn in time: then it asks again.
                    let _ = store.position_events(tenant_id, 7).await;
                }
            });
        }
        // A reader that follows: what it reads continues what it has, without a gap, ever.
        let mut last = 0;
        while !(writers.is_empty() && sealers.is_empty()) {
            while writers.try_join_next().is_some_and(|result| result.map(|()| true).unwrap()) {}
            are_written.store(writers.is_empty(), Ordering::Relaxed);
            while sealers.try_join_next().is_some_and(|result| result.map(|()| true).unwrap()) {}
            for event in world.store.events(world.tenant_id, last, 10_000).await.unwrap() {
                assert_eq!(event.position, last + 1);
                last = event.position;
            }
        }
        while world.store.position_events(world.tenant_id, 1000).await.unwrap() > 0 {}
        let all = positions(&world.store, world.tenant_id).await;
        assert_eq!(all, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(world.count(EventKind::ChallengeCreated).await, 80);
        assert_eq!(world.count(EventKind::ChallengeCancelled).await, 80);
    }
}
