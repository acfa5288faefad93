//! The clock as a port: handlers, senders and workers hold one; rules get `now` as a value.
//!
//! Nothing in this crate reads a clock; the server's is the only one that reads the system's. Tests move a clock,
//! they do not sleep.

use std::{future::Future, pin::Pin};

use countersign_proto::timestamp::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Completes when [`Self::now`] has reached `until`, or when as much time has passed as was left: a clock that is set
    /// back keeps nobody asleep. Whoever must know which of the two it was asks [`Self::now`].
    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
