//! Creating.

use countersign_core::{
    actor::Actor,
    device::StatusChange,
    digest::Digest,
    event::EventKind,
    limits::MAX_PENDING_PER_USER,
    ports::{
        StoreError,
        challenges::{CreateChallenge, CreateOutcome, Idempotency, NewDelivery, StoredCreation},
    },
    wake::WakeKey,
};
use countersign_proto::vocabulary::{ChallengeStatus, DeliveryState, PushChannel};

use crate::{
    kit::{self, Wakes},
    world::{NOW, World, new_kinds},
};

pub(super) fn keyed(command: CreateChallenge, key: &str, body: &str) -> CreateChallenge {
    let reply = format!("{{\"id\":\"{}\"}}", command.facts.id);
    let expires_at = command.stamp.at.plus_seconds(86_400);
    let (key, body, suppressed_reply) = (key.to_owned(), Digest::of(body), format!("suppressed {reply}"));
    let idempotency = Idempotency { key, body, reply, suppressed_reply, expires_at };
    CreateChallenge { idempotency: Some(idempotency), ..command }
}

#[tokio::test]
async fn a_new_challenge_is_written_whole() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let before = world.kinds().await;
        let mut command = world.new_challenge(&[&phone, &watch]).await;
        command.deliveries[1].channel = PushChannel::None;
        command.deliveries[1].state = DeliveryState::PullOnly;
        assert!(matches!(world.store.create_challenge(command.clone()).await, Ok(CreateOutcome::Created(_))));

        let record = world.other.challenge(world.tenant_id, command.facts.id).await.unwrap().unwrap();
        assert_eq!((record.facts, record.status), (command.facts.clone(), ChallengeStatus::Pending));
        assert_eq!((record.reason, record.decided_at, record.device, record.evidence), (None, None, None, None));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 1);
        let mut deliveries = world.store.deliveries(world.tenant_id, command.facts.id).await.unwrap();
        deliveries.sort_by_key(|delivery| delivery.device_id != phone.id);
        assert_eq!((deliveries[0].device_id, deliveries[0].state), (phone.id, DeliveryState::Queued));
        assert_eq!((deliveries[1].device_id, deliveries[1].state), (watch.id, DeliveryState::PullOnly));
        assert_eq!((deliveries[1].channel, deliveries[1].attempts), (PushChannel::None, 0));
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 1);
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::ChallengeCreated]);
    }
}

#[tokio::test]
async fn every_addressed_device_is_woken() {
    for world in World::each().await {
        let wakes = std::sync::Arc::new(Wakes::default());
        let store = world.database.open_with(kit::options(), wakes.clone()).await.unwrap();
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let command = world.new_challenge(&[&phone, &watch]).await;
        wakes.take();
        store.create_challenge(command).await.unwrap();
        let outbox = WakeKey::Outbox(PushChannel::Fcm);
        let mut expected = [WakeKey::Device(phone.id), WakeKey::Device(watch.id), outbox];
        expected.sort_unstable();
        assert_eq!(wakes.take(), expected);
    }
}

#[tokio::test]
async fn a_challenge_signed_for_other_devices_than_there_are_now_is_not_written() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let command = keyed(world.new_challenge(&[&phone]).await, "key", "body");
        let before = world.kinds().await;
        world.change(phone.id, StatusChange::Suspend).await;
        assert_eq!(world.store.create_challenge(command.clone()).await, Ok(CreateOutcome::DevicesChanged));
        assert_eq!(world.store.challenge(world.tenant_id, command.facts.id).await, Ok(None));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
        assert_eq!(new_kinds(&before, world.kinds().await), [EventKind::DeviceSuspended]);
        // The key is free for the next attempt.
        let client_id = command.facts.client_id;
        assert_eq!(world.store.stored_creation(client_id, "key", NOW).await, Ok(None));
    }
}

#[tokio::test]
async fn the_twenty_first_pending_challenge_is_refused_and_any_end_makes_room() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut first = None;
        for _ in 0..MAX_PENDING_PER_USER {
            let id = world.challenge(&[&phone]).await;
            first.get_or_insert(id);
        }
        let late = keyed(world.new_challenge(&[&phone]).await, "key", "body");
        assert!(matches!(world.store.create_challenge(late.clone()).await, Ok(CreateOutcome::TooManyPending(_))));
        assert_eq!(world.store.stored_creation(late.facts.client_id, "key", NOW).await, Ok(None));
        world.store.close_challenge(world.cancel(phone.user.id, first.unwrap())).await.unwrap();
        assert!(matches!(world.store.create_challenge(late).await, Ok(CreateOutcome::Created(_))));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, MAX_PENDING_PER_USER);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_on_two_nodes_pass_the_limit_by_none() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut asks = tokio::task::JoinSet::new();
        for number in 0..30 {
            let command = world.new_challenge(&[&phone]).await;
            let store = if number % 2 == 0 { world.store.clone() } else { world.other.clone() };
            asks.spawn(async move { store.create_challenge(command).await.unwrap() });
        }
        let outcomes = asks.join_all().await;
        let made = outcomes.iter().filter(|outcome| matches!(outcome, CreateOutcome::Created(_))).count();
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, CreateOutcome::TooManyPending(_))).count();
        assert_eq!((made, refused), (20, 10));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 20);
        assert_eq!(world.count(EventKind::ChallengeCreated).await, 20);
    }
}

#[tokio::test]
async fn an_idempotency_key_stands_for_its_first_reply() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let first = keyed(world.new_challenge(&[&phone]).await, "key", "body");
        let client_id = first.facts.client_id;
        assert!(matches!(world.store.create_challenge(first.clone()).await, Ok(CreateOutcome::Created(_))));
        let again = keyed(world.new_challenge(&[&phone]).await, "key", "another body");
        let reply = first.idempotency.clone().unwrap().reply;
        let stored = StoredCreation { body: Digest::of("body"), reply, number: Some("123456".to_owned()) };
        assert_eq!(world.other.create_challenge(again.clone()).await, Ok(CreateOutcome::Stored(stored.clone())));
        assert_eq!(world.other.stored_creation(client_id, "key", NOW).await, Ok(Some(stored.clone())));
        assert_eq!(world.store.challenge(world.tenant_id, again.facts.id).await, Ok(None));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 1);

        // The number only while it is of use: not past the end, not after a decision.
        let end = first.facts.expires_at;
        let silent = StoredCreation { number: None, ..stored };
        assert_eq!(world.store.stored_creation(client_id, "key", end).await, Ok(Some(silent.clone())));
        world.store.close_challenge(world.cancel(phone.user.id, first.facts.id)).await.unwrap();
        assert_eq!(world.store.stored_creation(client_id, "key", NOW).await, Ok(Some(silent)));
        // A day later the key is forgotten, and may be used for something else.
        let tomorrow = NOW.plus_seconds(86_400);
        assert_eq!(world.store.stored_creation(client_id, "key", tomorrow).await, Ok(None));
        let mut next = world.new_challenge(&[&phone]).await;
        next.stamp.at = tomorrow;
        assert!(matches!(
            world.store.create_challenge(keyed(next, "key", "body")).await,
            Ok(CreateOutcome::Created(_))
        ));
    }
}

#[tokio::test]
async fn another_clients_equal_key_is_another_key() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mine = keyed(world.new_challenge(&[&phone]).await, "key", "body");
        let mut theirs = keyed(world.new_challenge(&[&phone]).await, "key", "body");
        let actor = world.client().await;
        let Actor::ApiClient { client_id, .. } = actor else { panic!("no client") };
        (theirs.stamp.actor, theirs.facts.client_id) = (actor, client_id);
        assert!(matches!(world.store.create_challenge(mine).await, Ok(CreateOutcome::Created(_))));
        assert!(matches!(world.store.create_challenge(theirs).await, Ok(CreateOutcome::Created(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_keys_at_once_one_creates_and_the_others_are_told_its_reply() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for round in 0..40 {
            let key = format!("key {round}");
            let mut asks = tokio::task::JoinSet::new();
            let mut replies = Vec::new();
            for number in 0..4 {
                let command = keyed(world.new_challenge(&[&phone]).await, &key, "body");
                replies.push((command.facts.id, command.idempotency.clone().unwrap().reply));
                let store = if number % 2 == 0 { world.store.clone() } else { world.other.clone() };
                asks.spawn(async move { (command.facts.id, store.create_challenge(command).await.unwrap()) });
            }
            let (made, stored): (Vec<_>, Vec<_>) = asks
                .join_all()
                .await
                .into_iter()
                .partition(|(_, outcome)| matches!(outcome, CreateOutcome::Created(_)));
            assert_eq!((made.len(), stored.len()), (1, 3));
            let (_, reply) = replies.into_iter().find(|(id, _)| *id == made[0].0).unwrap();
            for (_, outcome) in stored {
                let number = Some("123456".to_owned());
                let expected = StoredCreation { body: Digest::of("body"), reply: reply.clone(), number };
                assert_eq!(outcome, CreateOutcome::Stored(expected));
            }
            world.store.close_challenge(world.cancel(phone.user.id, made[0].0)).await.unwrap();
        }
        assert_eq!(world.count(EventKind::ChallengeCreated).await, 40);
    }
}

#[tokio::test]
async fn keys_taken_in_opposite_orders_on_two_nodes_do_not_stand_in_each_others_way() {
    for world in World::each().await {
        let (ada, bob) = (world.phone("ada").await, world.phone("bob").await);
        for round in 0..10 {
            let (first, second) = (format!("first {round}"), format!("second {round}"));
            let new = async |phone, key: &str| keyed(world.new_challenge(&[phone]).await, key, "body");
            // One user's commands share a batch, but not a round: each node takes its keys one after the other.
            let (one, two) = (new(&ada, &first).await, new(&ada, &second).await);
            let (three, four) = (new(&bob, &second).await, new(&bob, &first).await);
            let ids = [&one, &two, &three, &four].map(|command| (command.facts.user.id, command.facts.id));
            // On this runtime's one thread both nodes' queues are filled before either writer looks.
            let (one, two, three, four) = tokio::join!(
                world.store.create_challenge(one),
                world.store.create_challenge(two),
                world.other.create_challenge(three),
                world.other.create_challenge(four),
            );
            let is_made = |outcome: Result<CreateOutcome, StoreError>| match outcome {
                Ok(CreateOutcome::Created(_)) => true,
                Ok(CreateOutcome::Stored(_)) => false,
                other => panic!("{other:?}"),
            };
            let made = [one, two, three, four].map(is_made);
            assert!(made[0] != made[3] && made[1] != made[2], "{made:?}");
            for ((user_id, id), _) in ids.into_iter().zip(made).filter(|(_, made)| *made) {
                world.store.close_challenge(world.cancel(user_id, id)).await.unwrap();
            }
        }
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn a_key_revoked_between_authentication_and_write_creates_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let command = keyed(world.new_challenge(&[&phone]).await, "key", "body");
        let client_id = command.facts.client_id;
        world.other.revoke_api_client(world.stamp(Actor::Operator), client_id).await.unwrap();
        assert_eq!(world.store.create_challenge(command.clone()).await, Err(StoreError::ActorGone));
        assert_eq!(world.store.challenge(world.tenant_id, command.facts.id).await, Ok(None));
        assert_eq!(world.store.stored_creation(client_id, "key", NOW).await, Ok(None));
        assert_eq!(world.user(phone.user.id).await.pending_challenges, 0);
    }
}

#[tokio::test]
async fn a_client_of_another_tenant_creates_nothing_here() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut command = world.new_challenge(&[&phone]).await;
        let neighbour = world.tenant("neighbour").await;
        let mut client = world.new_client("admin");
        client.stamp = world.stamp_in(neighbour);
        let actor = Actor::ApiClient { client_id: client.id, key_id: client.key.id };
        (command.stamp.actor, command.facts.client_id) = (actor, client.id);
        world.store.create_api_client(client).await.unwrap();
        assert_eq!(world.store.create_challenge(command.clone()).await, Err(StoreError::ActorGone));
        // In its own tenant it finds no such user.
        (command.stamp.tenant_id, command.facts.tenant_id) = (neighbour, neighbour);
        assert_eq!(world.store.create_challenge(command.clone()).await, Ok(CreateOutcome::DevicesChanged));
        assert_eq!(world.store.challenge(world.tenant_id, command.facts.id).await, Ok(None));
    }
}

#[tokio::test]
async fn a_command_that_loses_takes_none_of_its_neighbours_with_it() {
    for world in World::each().await {
        let mut asks = tokio::task::JoinSet::new();
        let gone = world.client().await;
        let Actor::ApiClient { client_id: gone_id, .. } = gone else { panic!("no client") };
        world.store.revoke_api_client(world.stamp(Actor::Operator), gone_id).await.unwrap();
        for number in 0..20 {
            let phone = world.phone(&format!("user {number}")).await;
            let mut command = world.new_challenge(&[&phone]).await;
            match number % 4 {
                1 => command.devices_version += 1,
                2 => (command.stamp.actor, command.facts.client_id) = (gone, gone_id),
                3 => command = keyed(command, "the same for all", "body"),
                _ => {}
            }
            let store = world.store.clone();
            asks.spawn(async move { (number, store.create_challenge(command).await) });
        }
        let mut stored = 0;
        for (number, outcome) in asks.join_all().await {
            match number % 4 {
                0 => assert!(matches!(outcome, Ok(CreateOutcome::Created(_)))),
                1 => assert_eq!(outcome, Ok(CreateOutcome::DevicesChanged)),
                2 => assert_eq!(outcome, Err(StoreError::ActorGone)),
                _ => stored += usize::from(matches!(outcome, Ok(CreateOutcome::Stored(_)))),
            }
        }
        assert_eq!(stored, 4);
        assert_eq!(world.count(EventKind::ChallengeCreated).await, 6);
    }
}

#[tokio::test]
async fn many_devices_of_one_user_are_all_addressed() {
    for world in World::each().await {
        let mut phones = Vec::new();
        for _ in 0..10 {
            phones.push(world.phone("ada").await);
        }
        let mut command = world.new_challenge(&phones.iter().collect::<Vec<_>>()).await;
        command.deliveries = phones
            .iter()
            .map(|phone| NewDelivery {
                device_id: phone.id,
                channel: PushChannel::Apns,
                state: DeliveryState::Suppressed,
                last_error: None,
            })
            .collect();
        world.store.create_challenge(command.clone()).await.unwrap();
        for phone in &phones {
            assert_eq!(world.store.inbox(phone.id, NOW).await.unwrap().len(), 1);
        }
        assert_eq!(world.store.deliveries(world.tenant_id, command.facts.id).await.unwrap().len(), 10);
        assert_eq!(world.database.number("SELECT count(*) FROM notifications WHERE kind <> 'notice'").await, 0);
    }
}
