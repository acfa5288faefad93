//! The readers: the point reads of every sign-in, many callers to a statement.
//!
//! Each kind of lookup has one task. It takes the keys that wait (it never waits for more), asks for all of them in
//! one statement, and hands every caller its own part. Callers that ask for the same key share the answer. Nobody is
//! ever given what was read before it asked: a statement serves only those who were in the queue when it began, so
//! that a revocation that has returned is seen by every read that begins after it.
//!
//! Must never keep an answer for later. To add a lookup: a type with [`Lookup`] beside its noun, its statement with
//! `r_number` in its row source and among its columns, its [`Reader`] in `database.rs`.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use countersign_core::ports::StoreError;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Columns, Pool, Row, Statements, database::no_answer, dialect, lent::Lent, query};
use crate::{
    connect::Options,
    failure::{Remedy, remedy, unavailable},
    rows,
    statement::Statement,
};

/// The row source's column that says which of the keys a row answers: its place in the list.
pub(super) const NUMBER: &str = "r_number";

/// A kind of point read.
pub(super) trait Lookup: Send + Sync + 'static {
    /// What is asked for.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    /// What is found; callers that asked together each get a copy.
    type Found: Clone + Send + 'static;

    /// The row source's columns, [`NUMBER`] among them.
    const COLUMNS: &'static rows::Columns;

    /// Keys in one statement at most: as many rows, of whatever size, are in memory at once.
    const AT_ONCE: usize = 256;

    /// The statement; it binds the row source as its one parameter and selects [`NUMBER`].
    fn statement(statements: &Statements) -> &Statement;

    /// The cells of one key, without its number.
    fn cells(key: &Self::Key) -> Value;

    /// What the rows of one key say: at least one, in no order.
    fn read(rows: &[Row]) -> Result<Self::Found, StoreError>;
}

/// The one row of a key that has at most one.
pub(super) fn only<'r>(rows: &'r [Row], table: &'static str) -> Result<Columns<'r>, StoreError> {
    let row = rows.first().ok_or_else(|| StoreError::Unavailable("a lookup's row is missing".to_owned()))?;
    Ok(Columns::new(table, row))
}

/// The callers' end of one lookup.
pub(super) struct Reader<L: Lookup> {
    asks: mpsc::Sender<Ask<L>>,
    options: Options,
}

struct Ask<L: Lookup> {
    key: L::Key,
    reply: oneshot::Sender<Result<Option<L::Found>, StoreError>>,
}

impl<L: Lookup> Reader<L> {
    /// Starts the lookup's task. It ends when this is dropped.
    pub(super) fn start(pool: Pool, statements: Arc<Statements>, options: Options) -> Self {
        let (asks, queue) = mpsc::channel(options.queue_length.max(1));
        let most = options.max_batch.clamp(1, L::AT_ONCE);
        let task = Task { pool, statements, options: options.clone() };
        tokio::spawn(async move { task.run(queue, most).await });
        Self { asks, options }
    }

    /// What is there now; `None`: nothing.
    ///
    /// # Errors
    /// The database does not answer; too many wait already; the row cannot be read.
    pub(super) async fn find(&self, key: L::Key) -> Result<Option<L::Found>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask { key, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => StoreError::Unavailable("the store is closed".to_owned()),
        })?;
        match timeout(self.options.reply_timeout, answer).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(StoreError::Unavailable("the reader has stopped".to_owned())),
            Err(_) => Err(no_answer()),
        }
    }
}

struct Task {
    pool: Pool,
    statements: Arc<Statements>,
    options: Options,
}

/// Why a statement found nothing out.
struct Trouble {
    error: StoreError,
    remedy: Remedy,
}

impl Task {
    async fn run<L: Lookup>(&self, mut queue: mpsc::Receiver<Ask<L>>, most: usize) {
        let mut taken = Vec::with_capacity(most);
        while queue.recv_many(&mut taken, most).await > 0 {
            let mut callers: HashMap<L::Key, Vec<_>> = HashMap::with_capacity(taken.len());
            for Ask { key, reply } in taken.drain(..) {
                // Who has given up asks for nothing any more.
                if !reply.is_closed() {
                    callers.entry(key).or_default().push(reply);
                }
            }
            let keys: Vec<_> = callers.keys().cloned().collect();
            for (key, answer) in keys.iter().zip(self.ask::<L>(&keys).await) {
                for reply in callers.remove(key).into_iter().flatten() {
                    // The caller may have gone meanwhile.
                    let _ = reply.send(answer.clone());
                }
            }
        }
    }

    /// One answer per key.
    async fn ask<L: Lookup>(&self, keys: &[L::Key]) -> Vec<Result<Option<L::Found>, StoreError>> {
        let mut tries = 0;
        let trouble = loop {
            match self.look_up::<L>(keys).await {
                Ok(answers) => return answers,
                // A connection that died with many callers on it: the next one answers, and reading twice harms nobody.
                Err(trouble) if matches!(trouble.remedy, Remedy::Retry | Remedy::Reconnect) && tries == 0 => tries += 1,
                Err(trouble) => break trouble,
            }
        };
        // A key that the database itself refuses must not take its neighbours with it.
        if trouble.remedy != Remedy::Isolate || keys.len() < 2 {
            return keys.iter().map(|_| Err(trouble.error.clone())).collect();
        }
        tracing::error!(error = %trouble.error, keys = keys.len(), "a lookup failed: each key alone");
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            match self.look_up::<L>(std::slice::from_ref(key)).await {
                Ok(answer) => answers.extend(answer),
                Err(trouble) => answers.push(Err(trouble.error)),
            }
        }
        answers
    }

    async fn look_up<L: Lookup>(&self, keys: &[L::Key]) -> Result<Vec<Result<Option<L::Found>, StoreError>>, Trouble> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let numbered = |(number, key): (usize, &L::Key)| {
            let mut cells = L::cells(key);
            if let Value::Object(cells) = &mut cells {
                cells.insert(NUMBER.to_owned(), number.into());
            }
            cells
        };
        let parameter = rows::to_parameter(L::COLUMNS, keys.iter().enumerate().map(numbered).collect());
        let query = query(L::statement(&self.statements)).bind(parameter);
        let rows = async { query.fetch_all(Lent::of(&self.pool).await?.connection()).await };
        // No longer than callers wait: whoever comes after them must not pay for a connection that has gone silent.
        let patience = self.options.transaction_timeout.min(self.options.reply_timeout);
        let rows = match timeout(patience, rows).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                let remedy = remedy(&error, dialect::remedy);
                return Err(Trouble { error: unavailable(&error), remedy });
            }
            Err(_) => return Err(Trouble { error: no_answer(), remedy: Remedy::GiveUp }),
        };
        let mut by_key: Vec<Vec<Row>> = keys.iter().map(|_| Vec::new()).collect();
        for row in rows {
            let number = Columns::new("r", &row).count(NUMBER).map(|number| number as usize);
            match number.map(|number| by_key.get_mut(number)) {
                Ok(Some(rows)) => rows.push(row),
                Ok(None) | Err(_) => {
                    let error = StoreError::Unavailable("a lookup's answer has no number".to_owned());
                    return Err(Trouble { error, remedy: Remedy::GiveUp });
                }
            }
        }
        let answer = |rows: Vec<Row>| if rows.is_empty() { Ok(None) } else { L::read(&rows).map(Some) };
        Ok(by_key.into_iter().map(answer).collect())
    }
}
