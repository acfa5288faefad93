//! The database's machine goes without a word, and another one takes its address: connections to the first never hear
//! anything again, not even that they have ended. The store lets go of them by itself.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use countersign_core::{
    ports::Store,
    wake::{WakeKey, WakeSink},
};
use countersign_simulator::switch::{Farewell, Switch, Untouched};
use countersign_store::Options;
use countersign_tests::{Database, Db};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::process::PATIENCE;

const READERS: u32 = 2;

/// Remembers that there was a wake-up.
#[derive(Default)]
struct Heard(Notify);

impl WakeSink for Heard {
    fn wake(&self, _keys: &[WakeKey]) {
        self.0.notify_one();
    }
}

/// A database whose address may be taken by another machine, which here is the same again.
struct Movable {
    database: Database,
    options: PgConnectOptions,
    switch: Switch,
}

impl Movable {
    async fn create() -> Self {
        let database = Database::create(Db::Postgres).await;
        let options = PgConnectOptions::from_str(&database.url()).unwrap().disable_statement_logging();
        let moved = Self { database, options, switch: Switch::start(Untouched).await.unwrap() };
        moved.moves();
        moved
    }

    /// Connections until now hear nothing any more.
    fn moves(&self) {
        self.switch.point(self.options.get_host(), self.options.get_port(), Farewell::Silence);
    }

    async fn open(&self, sink: Arc<Heard>) -> Arc<dyn Store> {
        let options = Options {
            read_connections: READERS,
            connect_timeout: Duration::from_secs(2),
            // So that no lock that is waited for here is given up.
            transaction_timeout: 2 * PATIENCE,
            ..Options::default()
        };
        let url = self.switch.url(&self.database.url()).unwrap();
        countersign_store::connect(&url, options, sink).await.unwrap()
    }
}

/// Says something to all listeners until this one has heard it.
async fn hears(database: &Database, sink: &Heard) -> bool {
    let heard = async {
        loop {
            database.tamper("NOTIFY countersign, 'c00000000000000000000000000000000'").await;
            if timeout(Duration::from_millis(100), sink.0.notified()).await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, heard).await.is_ok()
}

#[tokio::test]
async fn a_listener_that_nobody_answers_listens_anew() {
    let (movable, sink) = (Movable::create().await, Arc::new(Heard::default()));
    let store = movable.open(Arc::clone(&sink)).await;
    assert!(hears(&movable.database, &sink).await);
    movable.moves();
    // What was said before may still be on its way.
    while timeout(Duration::from_millis(100), sink.0.notified()).await.is_ok() {}
    assert!(hears(&movable.database, &sink).await);
    store.close().await;
}

#[tokio::test]
async fn reads_that_nobody_answers_cost_no_connection() {
    let movable = Movable::create().await;
    let store = movable.open(Arc::default()).await;
    let mut session = movable.options.connect().await.unwrap();
    let mut transaction = session.begin().await.unwrap();
    transaction.execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut reads = JoinSet::new();
    for _ in 0..READERS {
        let store = Arc::clone(&store);
        reads.spawn(async move { store.tenants().await });
    }
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while movable.database.number(waiting).await < i64::from(READERS) {
        tokio::task::yield_now().await;
    }
    movable.moves();
    transaction.rollback().await.unwrap();
    // Their callers give up.
    reads.shutdown().await;
    let works = async { while store.tenants().await.is_err() {} };
    assert!(timeout(PATIENCE, works).await.is_ok(), "no connection is left to read on");
    assert!(timeout(PATIENCE, store.close()).await.is_ok(), "it cannot be closed");
}
