//! A clock that stands still until a test moves it.

use std::{future::Future, pin::Pin};

use countersign::clock::Clock;
use countersign_proto::timestamp::Timestamp;
use tokio::sync::watch;

/// Where every test begins: 2026-01-01T00:00:00Z, and a part of a second that must not leak into whole seconds.
const BEGINNING_MILLIS: i64 = 1_767_225_600_250;

/// A clock that stands still until a test moves it. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct TestClock(watch::Sender<Timestamp>);

impl Default for TestClock {
    fn default() -> Self {
        Self(watch::Sender::new(Timestamp::from_millis(BEGINNING_MILLIS)))
    }
}

impl TestClock {
    /// Now.
    pub fn time(&self) -> Timestamp {
        *self.0.borrow()
    }

    /// Moves on; whoever sleeps until a time that is reached now wakes.
    pub fn advance(&self, seconds: i64) {
        self.0.send_modify(|now| *now = now.plus_seconds(seconds));
    }

    /// The same by milliseconds.
    pub fn advance_millis(&self, millis: i64) {
        self.0.send_modify(|now| *now = now.plus_millis(millis));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.time()
    }

    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut now = self.0.subscribe();
        // The sender is `self`, which the future borrows: it cannot be gone.
        Box::pin(async move {
            now.wait_for(|now| *now >= until).await.unwrap();
        })
    }
}
