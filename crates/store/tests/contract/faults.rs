//! What stands in a transaction's way, and how often it is tried again: a bounded number of times, then the caller is
//! told.
//!
//! Tries are counted by a sequence, which no rollback takes back. To add a fault: what provokes it, how many tries it is
//! worth (`Remedy` in `failure.rs`), and that all is well once it is gone.

use std::{sync::Arc, time::Duration};

use countersign_core::{
    ports::{
        Store, StoreError,
        challenges::{CreateChallenge, CreateOutcome, DecideOutcome},
    },
    verify::Verdict,
};
use countersign_proto::vocabulary::Confirmation;
use countersign_store::Options;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::{
    kit::{self, Wakes},
    world::{NOW, World},
};

/// The first and three more.
const TRIES: i64 = 4;
/// No test waits longer for what is promised to be bounded.
const PATIENCE: Duration = Duration::from_secs(20);

async fn on_postgres() -> World {
    World::each().await.into_iter().find(|world| world.database.is_postgres()).unwrap()
}

async fn open(world: &World, options: Options) -> Arc<dyn Store> {
    world.database.open_with(options, Arc::new(Wakes::default())).await.unwrap()
}

/// Statements 500 ms, locks 250 ms; whoever asks waits for the outcome of all tries.
fn impatient() -> Options {
    Options { transaction_timeout: Duration::from_secs(1), reply_timeout: PATIENCE, ..kit::options() }
}

async fn in_time<T>(ask: impl Future<Output = T>) -> T {
    let answered = tokio::time::timeout(PATIENCE, ask).await;
    assert!(answered.is_ok(), "it is not bounded");
    answered.unwrap()
}

fn is_unavailable<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

async fn new_challenge(world: &World, user: &str) -> CreateChallenge {
    let phone = world.phone(user).await;
    world.new_challenge(&[&phone]).await
}

/// From now on the first so many inserts into the table do this instead; each try is counted.
async fn trouble(world: &World, table: &str, tries: u32, instead: &str) {
    let sql = format!(
        "CREATE SEQUENCE IF NOT EXISTS tries;
        CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF nextval('tries') <= {tries} THEN {instead}; END IF; RETURN NULL; END $$;
        DROP TRIGGER IF EXISTS trouble ON {table};
        CREATE TRIGGER trouble BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
    );
    world.database.tamper("DROP SEQUENCE IF EXISTS tries").await;
    world.database.tamper(&sql).await;
}

async fn tries(world: &World) -> i64 {
    world.database.number("SELECT last_value FROM tries").await
}

/// serialization_failure, deadlock_detected, lock_not_available
const IN_THE_WAY: [&str; 3] = ["40001", "40P01", "55P03"];

#[tokio::test]
async fn who_stands_in_somebodys_way_is_tried_again_three_times_and_no_more() {
    let world = on_postgres().await;
    for code in IN_THE_WAY {
        let raise = format!("RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}'");
        // In a batch.
        let command = new_challenge(&world, code).await;
        trouble(&world, "challenges", 3, &raise).await;
        assert!(
            matches!(in_time(world.store.create_challenge(command)).await, Ok(CreateOutcome::Created(_))),
            "{code}"
        );
        assert_eq!(tries(&world).await, TRIES);
        trouble(&world, "challenges", 1_000, &raise).await;
        let command = new_challenge(&world, code).await;
        let told = in_time(world.store.create_challenge(command.clone())).await;
        assert!(is_unavailable(&told), "{told:?}");
        assert_eq!(tries(&world).await, TRIES, "{code}: neither given up early nor tried for ever");
        assert_eq!(world.store.challenge(world.tenant_id, command.facts.id).await, Ok(None));

        // Alone.
        trouble(&world, "enrollments", 3, &raise).await;
        let command = world.new_enrollment(code, Confirmation::Code);
        assert!(in_time(world.store.create_enrollment(command)).await.is_ok());
        assert_eq!(tries(&world).await, TRIES);
        trouble(&world, "enrollments", 1_000, &raise).await;
        let told = in_time(world.store.create_enrollment(world.new_enrollment(code, Confirmation::Code))).await;
        assert!(is_unavailable(&told), "{told:?}");
        assert_eq!(tries(&world).await, TRIES);
        world.database.tamper("DROP TRIGGER trouble ON challenges").await;
        world.database.tamper("DROP TRIGGER trouble ON enrollments").await;
    }
}

#[tokio::test]
async fn a_statement_that_hangs_is_ended_and_not_repeated() {
    let world = on_postgres().await;
    let store = open(&world, impatient()).await;
    let command = new_challenge(&world, "ada").await;
    trouble(&world, "challenges", 1, "PERFORM pg_sleep(3600)").await;
    let told = in_time(store.create_challenge(command.clone())).await;
    assert!(matches!(&told, Err(StoreError::Unavailable(why)) if why.contains("57014")), "{told:?}");
    assert_eq!(tries(&world).await, 1, "what hangs once hangs again");
    // The same connection, or a new one: the next command is done.
    assert!(matches!(in_time(store.create_challenge(command)).await, Ok(CreateOutcome::Created(_))));
}

/// Somebody else, in a transaction that holds what `sql` locks.
async fn holding(world: &World, sql: &str) -> PgConnection {
    let mut connection = world.database.postgres_connection().await;
    connection.execute("BEGIN").await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_waited_for_so_long_and_no_longer() {
    let world = on_postgres().await;
    let store = open(&world, impatient()).await;
    let phone = world.phone("ada").await;
    let id = world.challenge(&[&phone]).await;
    let user = world.database.sql_id(phone.user.id);
    let holder = holding(&world, &format!("SELECT FROM users WHERE id = {user} FOR UPDATE")).await;
    let answer = world.answer(&phone, id, Verdict::Approve { with_number: true });
    let told = in_time(store.decide_challenge(answer.clone())).await;
    assert!(matches!(&told, Err(StoreError::Unavailable(why)) if why.contains("55P03")), "{told:?}");
    // Others were held up, and are served now.
    let other = new_challenge(&world, "bob").await;
    assert!(matches!(in_time(store.create_challenge(other)).await, Ok(CreateOutcome::Created(_))));
    holder.close().await.unwrap();
    let won = in_time(store.decide_challenge(answer)).await;
    assert_eq!(won, Ok(DecideOutcome::Won { locked_until: None }));
}

#[tokio::test]
async fn a_read_that_hangs_is_ended() {
    let world = on_postgres().await;
    let store = open(&world, impatient()).await;
    let holder = holding(&world, "LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE").await;
    let told = in_time(store.tenants()).await;
    assert!(is_unavailable(&told), "{told:?}");
    holder.close().await.unwrap();
    assert!(in_time(store.tenants()).await.is_ok());
}

/// Until a node of the store waits for a lock.
async fn until_it_waits(world: &World) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'countersign' AND wait_event_type = 'Lock'";
    in_time(async { while world.database.number(waiting).await == 0 {} }).await;
}

#[tokio::test]
async fn a_deadlock_with_somebody_elses_transaction_costs_a_try_and_no_answer() {
    let world = on_postgres().await;
    let phone = world.phone("ada").await;
    let id = world.challenge(&[&phone]).await;
    // So long may it take until both stand in each other's way; then it is our session that the database breaks.
    let name = world.database.name();
    world.database.administer(format!("ALTER DATABASE {name} SET deadlock_timeout = '2s'")).await;
    let patient = Options { transaction_timeout: Duration::from_secs(80), reply_timeout: PATIENCE, ..kit::options() };
    let store = open(&world, patient).await;

    let (user, device) = (world.database.sql_id(phone.user.id), world.database.sql_id(phone.id));
    let mut other = holding(&world, &format!("SELECT FROM devices WHERE id = {device} FOR UPDATE")).await;
    other.execute("SET deadlock_timeout = '1h'").await.unwrap();
    let answer = world.answer(&phone, id, Verdict::Approve { with_number: true });
    let deciding = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.decide_challenge(answer).await }
    });
    // It holds the user, and waits for the device.
    until_it_waits(&world).await;
    let lock = format!("SELECT FROM users WHERE id = {user} FOR UPDATE");
    in_time(other.execute(AssertSqlSafe(lock))).await.unwrap();
    other.execute("COMMIT").await.unwrap();
    let won = in_time(deciding).await.unwrap();
    assert_eq!(won, Ok(DecideOutcome::Won { locked_until: None }));
    store.close().await;
    assert_eq!(world.deadlocks().await, 1);
}

#[tokio::test]
async fn a_busy_sqlite_is_waited_for_and_a_late_turn_is_still_a_turn() {
    let world = World::each().await.into_iter().find(|world| !world.database.is_postgres()).unwrap();
    let command = new_challenge(&world, "ada").await;
    // How long one try waits for the file.
    let options = Options { connect_timeout: Duration::from_millis(300), reply_timeout: PATIENCE, ..kit::options() };
    let store = open(&world, options).await;
    store.check_ready(NOW).await.unwrap();
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(world.database.path());
    let mut other = sqlx::ConnectOptions::connect(&file).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let asks = async { store.create_challenge(command.clone()).await };
    let lets_go = async {
        // Longer than the first try waits, and shorter than all of them.
        tokio::time::timeout(Duration::from_millis(500), std::future::pending::<()>()).await.unwrap_err();
        other.execute("ROLLBACK").await.unwrap();
    };
    let (created, ()) = in_time(async { tokio::join!(asks, lets_go) }).await;
    assert!(matches!(created, Ok(CreateOutcome::Created(_))));

    // Never let go: told after four tries.
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let told = in_time(store.create_challenge(new_facts(&world, &command))).await;
    assert!(is_unavailable(&told), "{told:?}");
    other.execute("ROLLBACK").await.unwrap();
    assert!(matches!(
        in_time(store.create_challenge(new_facts(&world, &command))).await,
        Ok(CreateOutcome::Created(_))
    ));
}

/// The same challenge as another one.
fn new_facts(world: &World, command: &CreateChallenge) -> CreateChallenge {
    let mut command = command.clone();
    command.stamp = world.stamp(world.client);
    command.facts.id = world.id();
    command.facts.jws = format!("challenge.{}", command.facts.id);
    command
}
