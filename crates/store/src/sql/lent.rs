//! A connection of the readers' pool, lent for one read, and how it comes back.
//!
//! sqlx asks each connection that comes back whether it is still there, and waits for the answer for ever. Where the
//! database's machine has gone without a word, connection after connection would be lost in that question, with the last
//! of them every read, and the store could not be closed. Here the answer is waited for as long as for a new connection;
//! then the connection is dropped, and its place is free.
//!
//! Must never be held across anything but one read. To read: [`Lent::of`], then the query on [`Lent::connection`].

use std::time::Duration;

use sqlx::pool::PoolConnection;
use tokio::{runtime::Handle, time::timeout};

use super::{Connection, Db, Pool};

pub(super) struct Lent {
    connection: PoolConnection<Db>,
    patience: Duration,
}

impl Lent {
    /// Waits for one that is free, or comes up.
    pub(super) async fn of(pool: &Pool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: pool.acquire().await?, patience: pool.options().get_acquire_timeout() })
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Lent {
    /// Also of a read that was given up in the middle.
    fn drop(&mut self) {
        let returned = timeout(self.patience, self.connection.return_to_pool());
        // Without a runtime nothing reads any more: dropped, it is closed.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(returned);
        }
    }
}
