//! What a store does with commands that wait while it is closed, full, or without its database.

use std::{sync::Arc, time::Duration};

use countersign_core::ports::{
    Store, StoreError,
    challenges::{CreateChallenge, CreateOutcome},
};
use countersign_store::Options;
use sqlx::{ConnectOptions as _, Executor as _};

use crate::{
    kit::{self, Wakes},
    world::{NOW, World},
};

/// A challenge each for a user of its own.
async fn commands(world: &World, count: usize) -> Vec<CreateChallenge> {
    let mut commands = Vec::new();
    for number in 0..count {
        let phone = world.phone(&format!("user {number}")).await;
        commands.push(world.new_challenge(&[&phone]).await);
    }
    commands
}

async fn all(store: &Arc<dyn Store>, commands: Vec<CreateChallenge>) -> Vec<Result<CreateOutcome, StoreError>> {
    let mut asks = tokio::task::JoinSet::new();
    for command in commands {
        let store = Arc::clone(store);
        asks.spawn(async move { store.create_challenge(command).await });
    }
    asks.join_all().await
}

const CHALLENGES: &str = "SELECT count(*) FROM challenges";

#[tokio::test]
async fn a_store_that_closes_finishes_what_waits_and_then_refuses() {
    for world in World::each().await {
        let commands = commands(&world, 30).await;
        let late = commands[0].clone();
        let (outcomes, ()) = tokio::join!(all(&world.store, commands), async {
            tokio::task::yield_now().await;
            world.store.close().await;
        });
        let made = outcomes.iter().filter(|outcome| matches!(outcome, Ok(CreateOutcome::Created(_)))).count();
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Unavailable(_)))).count();
        assert_eq!(made + refused, 30);
        assert_eq!(world.database.number(CHALLENGES).await, i64::try_from(made).unwrap());
        assert!(matches!(world.store.create_challenge(late).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(world.store.tenants().await, Err(StoreError::Unavailable(_))));
        world.store.close().await;
        assert!(world.other.check_ready(NOW).await.is_ok());
    }
}

#[tokio::test]
async fn a_full_queue_sheds_at_once_and_loses_nothing_that_it_took() {
    for world in World::each().await {
        let commands = commands(&world, 20).await;
        let narrow = Options { queue_length: 3, max_batch: 2, ..kit::options() };
        let store = world.database.open_with(narrow, Arc::new(Wakes::default())).await.unwrap();
        let outcomes = all(&store, commands).await;
        let made = outcomes.iter().filter(|outcome| matches!(outcome, Ok(CreateOutcome::Created(_)))).count();
        let shed = outcomes.iter().filter(|outcome| **outcome == Err(StoreError::Overloaded)).count();
        assert_eq!(made + shed, 20);
        assert!(made >= 3 && shed > 0, "{made} made, {shed} shed");
        assert_eq!(world.database.number(CHALLENGES).await, i64::try_from(made).unwrap());
    }
}

#[tokio::test]
async fn a_command_whose_caller_gave_up_before_its_turn_is_skipped() {
    for world in World::each().await {
        let mut commands = commands(&world, 2).await;
        let (second, first) = (commands.pop().unwrap(), commands.pop().unwrap());
        {
            let mut ask = std::pin::pin!(world.store.create_challenge(first.clone()));
            // Polled once: it is queued, and the writer has not run on this one thread.
            let polled = std::future::poll_fn(|context| std::task::Poll::Ready(ask.as_mut().poll(context))).await;
            assert!(polled.is_pending());
        }
        assert!(matches!(world.store.create_challenge(second).await, Ok(CreateOutcome::Created(_))));
        assert_eq!(world.store.challenge(world.tenant_id, first.facts.id).await, Ok(None));
    }
}

#[tokio::test]
async fn a_command_that_the_database_itself_refuses_fails_alone() {
    for world in World::each().await {
        let mut commands = commands(&world, 10).await;
        // PostgreSQL has no NUL in texts. The rules let none through; the store does not rely on it.
        commands[4].facts.jws.push('\0');
        let poison = commands[4].facts.id;
        let ids: Vec<_> = commands.iter().map(|command| command.facts.id).filter(|id| *id != poison).collect();
        let outcomes = all(&world.store, commands).await;
        let made = outcomes.iter().filter(|outcome| matches!(outcome, Ok(CreateOutcome::Created(_)))).count();
        assert_eq!(made, if world.database.is_postgres() { 9 } else { 10 });
        for id in ids {
            assert!(world.store.challenge(world.tenant_id, id).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_replaced_before_anybody_notices() {
    for world in World::each().await {
        if world.database.is_postgres() {
            world.database.end_connections().await;
        }
        let commands = commands(&world, 5).await;
        assert_eq!(all(&world.store, commands.clone()).await.len(), 5);
        if world.database.is_postgres() {
            world.database.end_connections().await;
        }
        for command in commands {
            // Run again it finds itself, on a new connection; reads have one too.
            assert!(matches!(world.store.create_challenge(command.clone()).await, Ok(CreateOutcome::Created(_))));
            assert!(world.store.challenge(world.tenant_id, command.facts.id).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn while_the_database_is_away_callers_are_told_in_time_and_afterwards_all_is_well() {
    let options = Options {
        connect_timeout: Duration::from_secs(1),
        transaction_timeout: Duration::from_secs(4),
        reply_timeout: Duration::from_secs(3),
        ..kit::options()
    };
    for world in World::each().await {
        let store = world.database.open_with(options.clone(), Arc::new(Wakes::default())).await.unwrap();
        let commands = commands(&world, 5).await;
        let away = Away::begin(&world).await;
        let told = tokio::time::timeout(Duration::from_secs(10), all(&store, commands.clone())).await.unwrap();
        assert!(told.iter().all(|outcome| matches!(outcome, Err(StoreError::Unavailable(_)))), "{told:?}");
        let plain = tokio::time::timeout(Duration::from_secs(10), store.check_ready(NOW)).await.unwrap();
        assert!(matches!(plain, Err(StoreError::Unavailable(_))), "{plain:?}");
        if world.database.is_postgres() {
            let read = tokio::time::timeout(Duration::from_secs(10), store.tenants()).await.unwrap();
            assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        }
        away.end(&world).await;
        let outcomes = all(&store, commands).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(CreateOutcome::Created(_)))), "{outcomes:?}");
    }
}

/// A database that does not answer: PostgreSQL lets nobody in; SQLite is being written by somebody else.
enum Away {
    Closed,
    Busy(Box<sqlx::SqliteConnection>),
}

impl Away {
    async fn begin(world: &World) -> Self {
        if world.database.is_postgres() {
            world
                .database
                .administer(format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", world.database.name()))
                .await;
            world.database.end_connections().await;
            return Self::Closed;
        }
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.database.path());
        let mut connection = options.connect().await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        Self::Busy(Box::new(connection))
    }

    async fn end(self, world: &World) {
        match self {
            Self::Closed => {
                let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", world.database.name());
                world.database.administer(open).await;
            }
            Self::Busy(mut connection) => {
                connection.execute("ROLLBACK").await.unwrap();
            }
        }
    }
}
