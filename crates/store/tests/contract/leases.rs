//! `ports::leases` on both databases.

use countersign_core::ports::leases::{FAR_AHEAD_MILLIS, HolderId, TakeLease};
use countersign_proto::timestamp::Timestamp;

use crate::world::{NOW, World};

/// Seconds that a lease lasts here.
const LASTS: i64 = 4;

fn ask(holder: HolderId, now: Timestamp) -> TakeLease {
    TakeLease { name: "work", holder, now, until: now.plus_seconds(LASTS) }
}

fn later(millis: i64) -> Timestamp {
    NOW.plus_millis(millis)
}

#[tokio::test]
async fn a_lease_is_one_holders_until_its_end() {
    for world in World::each().await {
        let (one, other) = (world.id(), world.id());
        assert_eq!(world.store.take_lease(ask(one, NOW)).await, Ok(true));
        assert_eq!(world.other.take_lease(ask(other, NOW)).await, Ok(false));
        assert_eq!(world.other.take_lease(ask(other, later(3_999))).await, Ok(false));
        // The holder dies. To the millisecond:
        assert_eq!(world.other.take_lease(ask(other, later(4_000))).await, Ok(true));
        // It was only asleep, and is told that it has lost.
        assert_eq!(world.store.take_lease(ask(one, later(4_001))).await, Ok(false));
    }
}

#[tokio::test]
async fn a_holder_renews_and_nobody_gets_in_between() {
    for world in World::each().await {
        let (one, other) = (world.id(), world.id());
        for second in 0..10 {
            assert_eq!(world.store.take_lease(ask(one, later(second * 1_000))).await, Ok(true));
            assert_eq!(world.other.take_lease(ask(other, later(second * 1_000 + 999))).await, Ok(false));
        }
    }
}

#[tokio::test]
async fn kinds_of_work_have_leases_of_their_own() {
    for world in World::each().await {
        let (one, other) = (world.id(), world.id());
        assert_eq!(world.store.take_lease(ask(one, NOW)).await, Ok(true));
        assert_eq!(world.other.take_lease(TakeLease { name: "other work", ..ask(other, NOW) }).await, Ok(true));
    }
}

#[tokio::test]
async fn what_is_given_back_is_free_at_once_and_somebody_elses_stays() {
    for world in World::each().await {
        let (one, other) = (world.id(), world.id());
        assert_eq!(world.store.take_lease(ask(one, NOW)).await, Ok(true));
        assert_eq!(world.other.give_back_lease("work", other).await, Ok(()));
        assert_eq!(world.other.take_lease(ask(other, NOW)).await, Ok(false));
        assert_eq!(world.store.give_back_lease("work", one).await, Ok(()));
        assert_eq!(world.other.take_lease(ask(other, NOW)).await, Ok(true));
        // Twice does no harm.
        assert_eq!(world.store.give_back_lease("work", one).await, Ok(()));
        assert_eq!(world.store.take_lease(ask(one, NOW)).await, Ok(false));
    }
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_keeps_nobody_from_working() {
    for world in World::each().await {
        let (ahead, other) = (world.id(), world.id());
        // Within a minute clocks may differ: then the lease holds.
        assert_eq!(world.store.take_lease(ask(ahead, later(FAR_AHEAD_MILLIS))).await, Ok(true));
        assert_eq!(world.other.take_lease(ask(other, NOW)).await, Ok(false));
        assert_eq!(world.store.take_lease(ask(ahead, NOW.plus_seconds(365 * 86_400))).await, Ok(true));
        assert_eq!(world.other.take_lease(ask(other, NOW)).await, Ok(true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_ask_at_once_one_holds() {
    for world in World::each().await {
        for round in 0..20 {
            let now = NOW.plus_seconds(round * LASTS);
            let mut asks = tokio::task::JoinSet::new();
            for number in 0..6 {
                let store = if number % 2 == 0 { &world.store } else { &world.other };
                let (store, command) = (std::sync::Arc::clone(store), ask(world.id(), now));
                asks.spawn(async move { store.take_lease(command).await.unwrap() });
            }
            let held = asks.join_all().await.into_iter().filter(|is_held| *is_held).count();
            assert_eq!(held, 1);
        }
    }
}
