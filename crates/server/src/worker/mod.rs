//! Background work: idempotent, takes its input from the database, ends when the server stops.
//!
//! To add a worker: a module with an `async fn run(app)` that loops over [`pause`], and its line in `app.rs`; and a
//! function for one round, so that tests run it once instead of waiting.

pub mod dispatch;
pub mod erase;
pub mod forget;
pub mod lease;
pub mod observe;
pub mod poll;
pub mod reload;
pub mod seal;
pub mod sweep;
pub mod webhooks;

use countersign_proto::timestamp::Timestamp;

use crate::{clock::Clock, shutdown::Stopping};

/// Waits for the next round; `false` if the server stops first.
pub async fn pause(clock: &dyn Clock, until: Timestamp, stopping: &mut Stopping) -> bool {
    tokio::select! {
        () = clock.sleep_until(until) => true,
        () = stopping.begun() => false,
    }
}
