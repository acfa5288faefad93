//! A database, opened: reads go to a pool, writes to the writer. Compiled once per database.
//!
//! **To write a noun's file** (`sql/<noun>.rs`, `impl ports::<noun>::<Trait> for Database`):
//!
//! * A read of every sign-in: a [`Lookup`](super::reader::Lookup), then `self.lookups.<it>.find(key)`.
//! * Any other read: `self.fetch_optional(query("-- name\nSELECT …").bind(id.as_uuid()))` (or `fetch_all`), then
//!   [`Columns`](super::Columns) for typed columns. Errors are `StoreError` already.
//! * A write: `impl Plain for <the command>` (see [`Plain`](super::Plain)), then `self.write(command)`.
//!   `run` may be called again after a deadlock, so it takes `&self` and changes nothing but the transaction.
//!   It returns [`Outcome::Commit`](super::Outcome) or `Outcome::Rollback` with what the caller is told.
//! * Inside: `tx.execute(query)` → rows changed, `tx.fetch_optional(query)`, `tx.fetch_all(query)`,
//!   `tx.require_actor(&stamp)` (first), `tx.lock_user(…)`, `tx.lock_device(…)` (in this order; nothing on
//!   SQLite), `tx.insert_events(vec![Event::new(…)])`, `tx.wake(WakeKey::…)` (heard after the commit),
//!   `tx.cancel_challenges_of(…)` (the device barrier).
//! * `query` takes a literal or a [`Statement`](crate::statement::Statement) from [`Statements`](super::Statements).

use std::sync::Arc;

use countersign_core::{
    digest::Digest,
    ports::{StoreError, challenges::Asker},
    wake::WakeSink,
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, TenantId},
    timestamp::Timestamp,
};
use sqlx::SqlSafeStr;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{
    ConnectOptions, Plain, Pool, Query, Reserve, Row, Statements,
    api_clients::CallerOfKey,
    challenges::{AddresseesOf, ChallengeById, InboxOf},
    devices::KeyByThumbprint,
    lent::Lent,
    reader::Reader,
    tenants::TenantById,
    writer::{self, Handle, Job, SetCommand},
};
use crate::{connect::Options, failure::unavailable};

/// The store on one kind of database.
pub(crate) struct Database {
    readers: Pool,
    pub(super) statements: Arc<Statements>,
    pub(super) lookups: Lookups,
    writer: Handle,
    options: Options,
}

/// The point reads that share statements.
pub(super) struct Lookups {
    pub(super) callers: Reader<CallerOfKey>,
    pub(super) tenants: Reader<TenantById>,
    pub(super) addressees: Reader<AddresseesOf>,
    pub(super) keys: Reader<KeyByThumbprint>,
    pub(super) inboxes: Reader<InboxOf>,
    pub(super) challenges: Reader<ChallengeById>,
}

impl Lookups {
    fn start(pool: &Pool, statements: &Arc<Statements>, options: &Options) -> Self {
        Self {
            callers: Reader::start(pool.clone(), Arc::clone(statements), options.clone()),
            tenants: Reader::start(pool.clone(), Arc::clone(statements), options.clone()),
            addressees: Reader::start(pool.clone(), Arc::clone(statements), options.clone()),
            keys: Reader::start(pool.clone(), Arc::clone(statements), options.clone()),
            inboxes: Reader::start(pool.clone(), Arc::clone(statements), options.clone()),
            challenges: Reader::start(pool.clone(), Arc::clone(statements), options.clone()),
        }
    }
}

impl Lookups {
    /// Whether each of them answers: asks for what nobody has.
    pub(super) async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let (nobody, no_device) = (TenantId::from_uuid(Uuid::nil()), DeviceId::from_uuid(Uuid::nil()));
        self.callers.find(Digest::of([])).await?;
        self.tenants.find(nobody).await?;
        self.addressees.find((nobody, String::new())).await?;
        if let Ok(no_key) = "A".repeat(43).parse() {
            self.keys.find(no_key).await?;
        }
        self.inboxes.find((no_device, now)).await?;
        self.challenges.find((Asker::Anybody, nobody, ChallengeId::from_uuid(Uuid::nil()))).await?;
        Ok(())
    }
}

/// A query of this database: a literal, or a statement built at the start.
pub(super) fn query<'q>(sql: impl SqlSafeStr) -> Query<'q> {
    sqlx::query(sql)
}

impl Database {
    /// Starts the writer. The receiver changes when the store closes.
    pub(super) fn start(
        readers: Pool,
        writing: ConnectOptions,
        options: Options,
        reserve: Reserve,
        wake: Arc<dyn WakeSink>,
    ) -> (Self, watch::Receiver<bool>) {
        let statements = Arc::new(Statements::new());
        let lookups = Lookups::start(&readers, &statements, &options);
        let writer = writer::start(writing, options.clone(), Arc::clone(&statements), reserve, wake);
        let stopping = writer.stopping();
        (Self { readers, statements, lookups, writer, options }, stopping)
    }

    /// Stops the writer after what waits, then the readers.
    pub(super) async fn shut_down(&self) {
        self.writer.stop().await;
        self.readers.close().await;
    }

    /// At most one row, outside any transaction.
    pub(super) async fn fetch_optional(&self, query: Query<'_>) -> Result<Option<Row>, StoreError> {
        self.bounded(async { query.fetch_optional(Lent::of(&self.readers).await?.connection()).await }).await
    }

    /// All rows, outside any transaction.
    pub(super) async fn fetch_all(&self, query: Query<'_>) -> Result<Vec<Row>, StoreError> {
        self.bounded(async { query.fetch_all(Lent::of(&self.readers).await?.connection()).await }).await
    }

    /// Removes from the files what was deleted, as far as the database can; `false` if somebody was in the way. In its
    /// turn between the batches, outside of any transaction.
    pub(super) async fn scrub(&self) -> Result<bool, StoreError> {
        let (sender, reply) = oneshot::channel();
        self.ask(Job::Scrub(sender), reply).await
    }

    async fn bounded<T>(&self, read: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.options.transaction_timeout, read).await {
            Ok(result) => result.map_err(|error| unavailable(&error)),
            Err(_) => Err(no_answer()),
        }
    }

    /// One transaction of its own, in its turn between the batches.
    pub(super) async fn write<P: Plain>(&self, command: P) -> Result<P::Reply, StoreError> {
        let (job, reply) = writer::plain(command);
        self.ask(job, reply).await
    }

    /// A command of a set-based statement, which shares its transaction with others.
    pub(super) async fn write_in_batch<C, R>(
        &self,
        command: C,
        wrap: impl FnOnce(writer::Ask<C, R>) -> SetCommand,
    ) -> Result<R, StoreError> {
        let (sender, reply) = oneshot::channel();
        self.ask(Job::Set(wrap(writer::Ask::new(command, sender))), reply).await
    }

    /// Queues a job and waits for its reply. A full queue sheds at once; a caller that has given up is skipped.
    async fn ask<R>(&self, job: Job, reply: oneshot::Receiver<Result<R, StoreError>>) -> Result<R, StoreError> {
        self.writer.send(job)?;
        match tokio::time::timeout(self.options.reply_timeout, reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Unavailable("the writer has stopped".to_owned())),
            Err(_) => Err(no_answer()),
        }
    }
}

pub(super) fn no_answer() -> StoreError {
    StoreError::Unavailable("no answer in time".to_owned())
}
