//! The system's clock: the only place that reads it.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use countersign_core::clock::Clock;
use countersign_proto::timestamp::Timestamp;

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
