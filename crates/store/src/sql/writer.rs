//! The writer: the one task through which every write of a store goes.
//!
//! It takes what waits (it never waits for a batch to fill), runs all set-based commands among it in one
//! transaction, and answers only after the COMMIT. Plain commands get a transaction each, in their turn.
//! Nothing is known to anybody before it is durable; a command whose caller has given up before its turn is
//! skipped.
//!
//! On a full disk it goes on to run what takes access away, in the room that [`Reserve`] keeps, and refuses everything else
//! until that room is whole again.
//!
//! If the connection is lost during COMMIT, only the database knows what happened. A batch is run again: each of
//! its commands finds its own command id in the row that it won. A plain command answers `Unavailable`.
//!
//! Must never hold a transaction open across anything but SQL.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_core::{
    ports::StoreError,
    wake::{WakeKey, WakeSink},
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

pub(super) use super::batch::{Ask, SetCommand};
use super::{
    ConnectOptions, Connection, Outcome, Plain, Reserve, Room, Statements, Tx, batch::Batch, database::no_answer,
    dialect, trouble::Trouble,
};
use crate::{
    connect::Options,
    failure::{Failure, Remedy, unavailable},
};

/// How often a transaction is repeated after somebody was in the way or the connection was lost.
const RETRIES: u32 = 3;
/// How many pieces of the reserve one command may have at most.
pub(super) const PIECES: u32 = 4;

/// What waits for the writer.
pub(super) enum Job {
    /// Shares its transaction with others.
    Set(SetCommand),
    /// Has its own.
    Plain(Box<dyn PlainJob>),
    /// Empties the files of what was deleted, outside of any transaction. Here, because of two that do so at once, or
    /// beside a commit that brings its log into the file, one would be in the other's way. All that wait share one, after
    /// everything else that waits: however often it is asked for, writes go on.
    Scrub(oneshot::Sender<Result<bool, StoreError>>),
}

/// What happens inside a transaction.
#[async_trait]
pub(super) trait Work: Send {
    /// Does it; whether to commit. May be called again.
    async fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, Failure>;
    /// Whether running it again after a COMMIT that may have happened gives the same outcome.
    fn finds_itself(&self) -> bool;
    /// In which room all of it may run.
    fn room(&self) -> Room;
}

/// A plain command with its caller.
pub(super) trait PlainJob: Work {
    /// Whether the caller has given up.
    fn is_abandoned(&self) -> bool;
    /// Tells the caller.
    fn answer(self: Box<Self>, trouble: Option<StoreError>);
}

struct PlainAsk<P: Plain> {
    command: P,
    reply: oneshot::Sender<Result<P::Reply, StoreError>>,
    outcome: Option<P::Reply>,
}

/// A plain command as a job.
pub(super) fn plain<P: Plain>(command: P) -> (Job, oneshot::Receiver<Result<P::Reply, StoreError>>) {
    let (reply, receiver) = oneshot::channel();
    (Job::Plain(Box::new(PlainAsk { command, reply, outcome: None })), receiver)
}

#[async_trait]
impl<P: Plain> Work for PlainAsk<P> {
    async fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let (outcome, commit) = match self.command.run(tx).await? {
            Outcome::Commit(outcome) => (outcome, true),
            Outcome::Rollback(outcome) => (outcome, false),
        };
        self.outcome = Some(outcome);
        Ok(commit)
    }

    fn finds_itself(&self) -> bool {
        self.command.finds_itself()
    }

    fn room(&self) -> Room {
        self.command.room()
    }
}

impl<P: Plain> PlainJob for PlainAsk<P> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn answer(self: Box<Self>, trouble: Option<StoreError>) {
        let result = match (trouble, self.outcome) {
            (None, Some(outcome)) => Ok(outcome),
            (Some(error), _) => Err(error),
            (None, None) => Err(StoreError::Unavailable("the command did not run".to_owned())),
        };
        // The caller may have gone meanwhile; what is committed stays.
        let _ = self.reply.send(result);
    }
}

/// The writer's other end.
pub(super) struct Handle {
    jobs: mpsc::Sender<Job>,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<()>,
}

impl Handle {
    /// Queues a job.
    pub(super) fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => StoreError::Unavailable("the store is closed".to_owned()),
        })
    }

    /// Changes when the writer is told to stop.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Lets the writer finish what waits, then stops it.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        // Fails exactly when the writer has dropped its end.
        while self.stopped.clone().changed().await.is_ok() {}
    }
}

/// Starts a writer.
pub(super) fn start(
    connect: ConnectOptions,
    options: Options,
    statements: Arc<Statements>,
    reserve: Reserve,
    sink: Arc<dyn WakeSink>,
) -> Handle {
    let (sender, jobs) = mpsc::channel(options.queue_length.max(1));
    let (stop, stopping) = watch::channel(false);
    let (alive, stopped) = watch::channel(());
    let writer = Writer { jobs, connect, connection: None, options, statements, reserve, sink };
    tokio::spawn(async move {
        writer.run(stopping).await;
        drop(alive);
    });
    Handle { jobs: sender, stop, stopped }
}

struct Writer {
    jobs: mpsc::Receiver<Job>,
    connect: ConnectOptions,
    connection: Option<Connection>,
    options: Options,
    statements: Arc<Statements>,
    reserve: Reserve,
    sink: Arc<dyn WakeSink>,
}

impl Writer {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let most = self.options.max_batch.max(1);
        let mut taken = Vec::with_capacity(most);
        let mut stop_seen = false;
        loop {
            tokio::select! {
                biased;
                _ = stopping.changed(), if !stop_seen => {
                    // What is queued is still received; then the queue ends.
                    stop_seen = true;
                    self.jobs.close();
                }
                count = self.jobs.recv_many(&mut taken, most) => {
                    if count == 0 {
                        break;
                    }
                    self.work_off(&mut taken).await;
                }
            }
        }
        if let Some(connection) = self.connection.take() {
            // Gone anyway if this fails.
            let _ = timeout(self.options.connect_timeout, connection.close()).await;
        }
    }

    /// In order of arrival: neighbouring set-based commands share a transaction.
    async fn work_off(&mut self, taken: &mut Vec<Job>) {
        let (mut set, mut scrubs) = (Vec::new(), Vec::new());
        for job in taken.drain(..) {
            match job {
                Job::Set(command) if command.is_abandoned() => {}
                Job::Set(command) => set.push(command),
                Job::Plain(job) => {
                    self.run_set(std::mem::take(&mut set)).await;
                    self.run_plain(job).await;
                }
                Job::Scrub(reply) => scrubs.push(reply),
            }
        }
        self.run_set(set).await;
        if !scrubs.is_empty() {
            let outcome = self.scrub().await;
            for reply in scrubs {
                // The caller may have gone meanwhile.
                let _ = reply.send(outcome.clone());
            }
        }
    }

    async fn scrub(&mut self) -> Result<bool, StoreError> {
        if !self.reserve.is_whole().await {
            return Err(Trouble::no_room().error);
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await.map_err(|trouble| trouble.error)?,
        };
        // Out of time means dropped in the middle: the connection goes with it.
        match timeout(self.options.transaction_timeout, dialect::scrub(&mut connection)).await {
            Ok(result) => {
                self.connection = result.is_ok().then_some(connection);
                result.map_err(|error| unavailable(&error))
            }
            Err(_) => Err(no_answer()),
        }
    }

    async fn run_plain(&mut self, mut job: Box<dyn PlainJob>) {
        if !job.is_abandoned() {
            let result = self.persist(job.as_mut()).await;
            job.answer(result.err().map(|trouble| trouble.error));
        }
    }

    async fn run_set(&mut self, commands: Vec<SetCommand>) {
        if commands.is_empty() {
            return;
        }
        let mut batch = Batch::new(commands);
        match self.persist(&mut batch).await {
            Ok(()) => batch.answer(None),
            // A command that the database itself refuses must not take its neighbours with it.
            Err(trouble) if trouble.remedy == Remedy::Isolate && batch.len() > 1 => {
                tracing::error!(error = %trouble.error, commands = batch.len(), "a batch failed: each command alone");
                for mut single in batch.split() {
                    let result = self.persist(&mut single).await;
                    single.answer(result.err().map(|trouble| trouble.error));
                }
            }
            Err(trouble) if trouble.remedy == Remedy::MakeRoom => {
                let (mut urgent, others) = batch.part();
                others.answer(Some(trouble.error));
                let result = if urgent.len() == 0 { Ok(()) } else { self.persist(&mut urgent).await };
                urgent.answer(result.err().map(|trouble| trouble.error));
            }
            Err(trouble) => batch.answer(Some(trouble.error)),
        }
    }

    /// Runs work to its end, again if that can help.
    async fn persist(&mut self, work: &mut (dyn Work + '_)) -> Result<(), Trouble> {
        let room = work.room();
        if room == Room::Free && !self.reserve.is_whole().await {
            return Err(Trouble::no_room());
        }
        let (mut tries, mut pieces) = (0, 0);
        loop {
            let trouble = match self.transact(work).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let is_repeatable = !trouble.is_ambiguous || work.finds_itself();
            // Not for ever: where what is given up frees nothing, or not at once, the next caller needs some of it, too.
            if trouble.remedy == Remedy::MakeRoom && pieces < PIECES && self.reserve.give_up_a_piece(room).await {
                pieces += 1;
                if is_repeatable {
                    continue;
                }
            }
            tries += 1;
            let can_help = matches!(trouble.remedy, Remedy::Retry | Remedy::Reconnect);
            if !can_help || !is_repeatable || tries > RETRIES {
                return Err(trouble);
            }
            tracing::debug!(error = %trouble.error, tries, "a transaction is repeated");
        }
    }

    async fn transact(&mut self, work: &mut (dyn Work + '_)) -> Result<(), Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let attempt = attempt(&mut connection, Arc::clone(&self.statements), work);
        // Out of time means dropped in the middle: the connection goes with it, and with it the transaction.
        let result = timeout(self.options.transaction_timeout, attempt).await;
        match result {
            Ok(Ok(wakes)) => {
                self.connection = Some(connection);
                if !wakes.is_empty() {
                    self.sink.wake(&wakes);
                }
                Ok(())
            }
            Ok(Err(trouble)) => {
                self.connection = trouble.connection_is_clean.then_some(connection);
                Err(trouble)
            }
            Err(_) => Err(Trouble::unreachable(no_answer())),
        }
    }

    async fn open(&self) -> Result<Connection, Trouble> {
        let open = async {
            let mut connection = self.connect.connect().await?;
            dialect::prepare_writer(&mut connection).await?;
            Ok(connection)
        };
        match timeout(self.options.connect_timeout, open).await {
            Ok(result) => result.map_err(|error: sqlx::Error| Trouble::not_open(&error)),
            Err(_) => Err(Trouble::unreachable(no_answer())),
        }
    }
}

/// One try.
async fn attempt(
    connection: &mut Connection,
    statements: Arc<Statements>,
    work: &mut (dyn Work + '_),
) -> Result<Vec<WakeKey>, Trouble> {
    let begun = connection.begin_with(dialect::BEGIN).await;
    let transaction = begun.map_err(|error| Trouble::before_commit(error.into(), false))?;
    let mut tx = Tx::new(transaction, statements);
    let done = match work.run(&mut tx).await {
        Ok(true) => tx.finish().await.map(Some),
        Ok(false) => Ok(None),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(Some(wakes)) => match tx.commit().await {
            Ok(()) => Ok(wakes),
            Err(error) => Err(Trouble::in_commit(&error)),
        },
        Ok(None) => match tx.rollback().await {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(Trouble::before_commit(error.into(), false)),
        },
        Err(failure) => {
            let is_clean = tx.rollback().await.is_ok();
            Err(Trouble::before_commit(failure, is_clean))
        }
    }
}
