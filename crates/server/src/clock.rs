//! The clock as a port: the only place that reads the system's.
//!
//! Handlers and workers hold a clock; rules get `now` as a value. Tests move a clock, they do not sleep.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use countersign_proto::timestamp::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Completes when [`Self::now`] has reached `until`.
    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the clock's home")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 makes everything expired rather than anything valid.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the clock's home")]
    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // In slices, so that a step of the wall clock is noticed within a second.
            loop {
                let left = until.millis_since(self.now());
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left.min(1_000))).await;
            }
        })
    }
}
