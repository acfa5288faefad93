//! One transaction of the writer, and what a plain command is.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use countersign_core::{ports::StoreError, wake::WakeKey};

use super::{Db, Query, Row, Statements, dialect};
use crate::failure::Failure;

/// A command that gets a transaction of its own.
#[async_trait]
pub(super) trait Plain: Send + Sync + 'static {
    /// What the caller is told.
    type Reply: Send + 'static;

    /// Does it. May be called again if the transaction had to be repeated.
    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<Self::Reply>, Failure>;

    /// Whether it knows its own traces when it is run again: then a commit whose answer was lost is repeated, and its
    /// caller hears what came of it.
    fn finds_itself(&self) -> bool {
        false
    }

    /// In which room it may run. Anything but [`Room::Free`] only if it does nothing but take access away from somebody:
    /// whoever may ask for it can use up what is kept.
    fn room(&self) -> Room {
        Room::Free
    }
}

/// Room on the disk (`reserve`), from what everybody may use to what is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Where the disk is not full.
    Free,
    /// What is kept for taking access away.
    Reserved,
    /// What is left of that when somebody's clients have used the rest: for whoever disables their organisation.
    Last,
}

/// How a transaction ends.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// All that was done stays.
    Commit(T),
    /// Nothing stays.
    Rollback(T),
}

/// An open transaction. Ends only by [`Self::commit`] or [`Self::rollback`], which the writer calls.
pub(super) struct Tx<'c> {
    transaction: sqlx::Transaction<'c, Db>,
    statements: Arc<Statements>,
    wakes: BTreeSet<WakeKey>,
    failed: bool,
}

impl<'c> Tx<'c> {
    pub(super) fn new(transaction: sqlx::Transaction<'c, Db>, statements: Arc<Statements>) -> Self {
        Self { transaction, statements, wakes: BTreeSet::new(), failed: false }
    }

    /// The statements that were built at the start.
    pub(super) fn statements(&self) -> Arc<Statements> {
        Arc::clone(&self.statements)
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<u64, Failure> {
        let result = query.execute(&mut *self.transaction).await;
        self.failed |= result.is_err();
        Ok(result?.rows_affected())
    }

    /// At most one row.
    pub(super) async fn fetch_optional(&mut self, query: Query<'_>) -> Result<Option<Row>, Failure> {
        let result = query.fetch_optional(&mut *self.transaction).await;
        self.failed |= result.is_err();
        Ok(result?)
    }

    /// All rows.
    pub(super) async fn fetch_all(&mut self, query: Query<'_>) -> Result<Vec<Row>, Failure> {
        let result = query.fetch_all(&mut *self.transaction).await;
        self.failed |= result.is_err();
        Ok(result?)
    }

    /// Wakes whoever waits for this, once the transaction is committed.
    pub(super) fn wake(&mut self, key: WakeKey) {
        self.wakes.insert(key);
    }

    /// Everything before the COMMIT: after it nothing can fail but the COMMIT itself.
    pub(super) async fn finish(&mut self) -> Result<Vec<WakeKey>, Failure> {
        if self.failed {
            // PostgreSQL answers COMMIT of a failed transaction with a rollback and no error.
            return Err(StoreError::Unavailable("a failed statement was overlooked".to_owned()).into());
        }
        let wakes: Vec<_> = std::mem::take(&mut self.wakes).into_iter().collect();
        for notification in dialect::notifications(&wakes) {
            self.execute(notification).await?;
        }
        Ok(wakes)
    }

    /// COMMIT. If it fails, only the database knows whether it happened.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }

    /// ROLLBACK.
    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}
