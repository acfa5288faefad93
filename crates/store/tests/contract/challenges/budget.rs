//! Whether a new challenge rings: decided in the creating transaction, exactly.

use countersign_core::{
    policy::{EffectivePolicy, PushBudget},
    ports::challenges::{CreateChallenge, CreateOutcome, Created, NewDelivery, StoredCreation},
    push::budget::Suppression,
};
use countersign_proto::{
    timestamp::Timestamp,
    vocabulary::{DeliveryState, PushChannel},
};

use super::create::keyed;
use crate::world::{NOW, Phone, World};

/// A challenge at this time under the default limits.
async fn limited(world: &World, phone: &Phone, at: Timestamp) -> CreateChallenge {
    let mut command = world.new_challenge(&[phone]).await;
    let limits = EffectivePolicy {
        pushes_per_user: PushBudget::default(),
        max_pending_per_user: 3,
        ..command.facts.policy.clone()
    };
    command.facts.policy = limits;
    (command.facts.created_at, command.facts.expires_at) = (at, at.plus_seconds(120));
    command.stamp.at = at;
    command
}

fn created(outcome: CreateOutcome) -> Created {
    match outcome {
        CreateOutcome::Created(created) => created,
        other => panic!("{other:?}"),
    }
}

async fn create(world: &World, command: CreateChallenge) -> Created {
    created(world.store.create_challenge(command).await.unwrap())
}

/// Makes a challenge and takes it back, so that none is pending.
async fn ring(world: &World, phone: &Phone, at: Timestamp) -> Option<Suppression> {
    let command = limited(world, phone, at).await;
    let id = command.facts.id;
    let suppressed = create(world, command).await.suppressed;
    let mut cancel = world.cancel(phone.user.id, id);
    cancel.stamp.at = at;
    world.store.close_challenge(cancel).await.unwrap();
    suppressed
}

async fn pushes(world: &World) -> i64 {
    world.database.number("SELECT count(*) FROM notifications WHERE kind = 'challenge'").await
}

#[tokio::test]
async fn the_sixth_push_in_ten_minutes_is_not_sent_and_its_delivery_says_why() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for number in 0..5 {
            assert_eq!(ring(&world, &phone, NOW.plus_seconds(number)).await, None);
        }
        let command = limited(&world, &phone, NOW.plus_seconds(9)).await;
        let id = command.facts.id;
        let told = create(&world, command).await;
        assert_eq!(told.suppressed, Some(Suppression::PushBudget));
        assert_eq!((told.standing.pushes_left, told.standing.next_push_in_seconds), (0, Some(591)));
        let delivery = world.store.deliveries(world.tenant_id, id).await.unwrap().remove(0);
        assert_eq!(delivery.state, DeliveryState::Suppressed);
        assert_eq!(delivery.last_error.as_deref(), Some("push-budget"));
        assert_eq!(pushes(&world).await, 0, "the others were taken back, and this one never queued");
        // It is found by pulling.
        assert_eq!(world.store.inbox(phone.id, NOW.plus_seconds(9)).await.unwrap().len(), 1);
        assert_eq!(ring(&world, &phone, NOW.plus_seconds(599)).await, Some(Suppression::PushBudget));
        assert_eq!(ring(&world, &phone, NOW.plus_seconds(600)).await, None);
    }
}

#[tokio::test]
async fn the_fourth_pending_challenge_rings_nobody() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for left in [19, 18, 17] {
            let told = create(&world, limited(&world, &phone, NOW).await).await;
            assert_eq!((told.suppressed, told.standing.pending_left), (None, left));
        }
        let told = create(&world, limited(&world, &phone, NOW).await).await;
        assert_eq!(told.suppressed, Some(Suppression::PendingLimit));
        assert_eq!(pushes(&world).await, 3);
    }
}

#[tokio::test]
async fn the_eleventh_push_without_an_approval_is_not_sent() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for number in 0..10 {
            assert_eq!(ring(&world, &phone, NOW.plus_seconds(number * 300)).await, None);
        }
        let suppressed = ring(&world, &phone, NOW.plus_seconds(86_400)).await;
        assert_eq!(suppressed, Some(Suppression::ApprovalBudget));
    }
}

#[tokio::test]
async fn while_pushes_are_stopped_nobody_is_rung() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let until = NOW.plus_seconds(60).as_millis();
        world.database.tamper(&format!("UPDATE users SET pushes_stopped_until = {until}")).await;
        assert_eq!(ring(&world, &phone, NOW).await, Some(Suppression::Denials));
        world.database.tamper("UPDATE users SET reported_at = 1").await;
        assert_eq!(ring(&world, &phone, NOW).await, Some(Suppression::Reported));
        assert_eq!(ring(&world, &phone, NOW.plus_seconds(60)).await, None);
    }
}

#[tokio::test]
async fn a_challenge_counts_once_however_many_devices_it_rings_and_not_at_all_if_none() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let mut both = limited(&world, &phone, NOW).await;
        both.deliveries = world.new_challenge(&[&phone, &watch]).await.deliveries;
        assert_eq!(create(&world, both).await.standing.pushes_left, 4);
        let mut silent = limited(&world, &phone, NOW).await;
        let (device_id, channel) = (phone.id, PushChannel::None);
        silent.deliveries = vec![NewDelivery { device_id, channel, state: DeliveryState::PullOnly, last_error: None }];
        let told = create(&world, silent).await;
        assert_eq!((told.suppressed, told.standing.pushes_left), (None, 4));
    }
}

#[tokio::test]
async fn another_users_budget_is_another_one() {
    for world in World::each().await {
        let (ada, bob) = (world.phone("ada").await, world.phone("bob").await);
        for number in 0..6 {
            ring(&world, &ada, NOW.plus_seconds(number)).await;
        }
        assert_eq!(ring(&world, &bob, NOW.plus_seconds(9)).await, None);
    }
}

#[tokio::test]
async fn an_idempotency_key_stands_for_the_reply_that_was_given() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for number in 0..5 {
            ring(&world, &phone, NOW.plus_seconds(number)).await;
        }
        let first = keyed(limited(&world, &phone, NOW.plus_seconds(9)).await, "key", "body");
        let reply = first.idempotency.clone().unwrap().suppressed_reply;
        assert!(create(&world, first.clone()).await.suppressed.is_some());
        let client_id = first.facts.client_id;
        let stored = world.other.stored_creation(client_id, "key", NOW).await.unwrap().unwrap();
        assert_eq!(stored.reply, reply);
        let again = keyed(limited(&world, &phone, NOW.plus_seconds(9)).await, "key", "body");
        assert!(matches!(
            world.other.create_challenge(again).await,
            Ok(CreateOutcome::Stored(StoredCreation { reply: told, .. })) if told == reply
        ));
        // The very command, run again after a lost answer, is told the same, too.
        assert_eq!(create(&world, first).await.suppressed, Some(Suppression::PushBudget));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_on_two_nodes_ring_as_often_as_allowed_and_never_once_more() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for round in 0..5 {
            let at = NOW.plus_seconds(round * 700);
            let mut asks = tokio::task::JoinSet::new();
            for number in 0..16 {
                let mut command = limited(&world, &phone, at).await;
                command.facts.policy.max_pending_per_user = 20;
                command.facts.policy.pushes_per_user.since_approval = 1_000;
                let store = if number % 2 == 0 { world.store.clone() } else { world.other.clone() };
                let id = command.facts.id;
                asks.spawn(async move { (id, store.create_challenge(command).await.unwrap()) });
            }
            let outcomes = asks.join_all().await;
            assert_eq!(pushes(&world).await, 5, "round {round}");
            let rang = outcomes.iter().filter(|(_, outcome)| created(outcome.clone()).suppressed.is_none());
            assert_eq!(rang.count(), 5, "round {round}");
            for (id, _) in outcomes {
                let mut cancel = world.cancel(phone.user.id, id);
                cancel.stamp.at = at;
                world.store.close_challenge(cancel).await.unwrap();
            }
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn a_refused_creation_is_told_what_is_left() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for _ in 0..20 {
            create(&world, limited(&world, &phone, NOW).await).await;
        }
        let refused = world.store.create_challenge(limited(&world, &phone, NOW).await).await;
        let Ok(CreateOutcome::TooManyPending(standing)) = refused else { panic!("{refused:?}") };
        assert_eq!((standing.pushes_left, standing.pending_left), (2, 0));
    }
}
