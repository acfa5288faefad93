//! The system's clock: the only place that reads it.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(sleep(until, || self.now()))
    }
}

/// In slices, so that a step of the wall clock is noticed within a second; and no longer than was left at the beginning
/// by what passes: a clock that is set back by an hour must not stop the sweeper, the senders and held reads for an hour.
#[expect(clippy::disallowed_methods, reason = "the clock's home")]
async fn sleep(until: Timestamp, now: impl Fn() -> Timestamp) {
    let (began, at_most) = (Instant::now(), Duration::from_millis(until.millis_since(now())));
    loop {
        let left = Duration::from_millis(until.millis_since(now())).min(at_most.saturating_sub(began.elapsed()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Longer than any machine needs, shorter than the step.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_nobody_asleep() {
        let was_asked = AtomicBool::new(false);
        let now = || if was_asked.swap(true, Ordering::SeqCst) { at(1_000) } else { at(100_000) };
        assert!(tokio::time::timeout(PATIENCE, sleep(at(100_000).plus_millis(20), now)).await.is_ok());
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_wakes_whoever_sleeps() {
        let was_asked = AtomicBool::new(false);
        let now = || if was_asked.swap(true, Ordering::SeqCst) { at(100_000) } else { at(1_000) };
        assert!(tokio::time::timeout(PATIENCE, sleep(at(100_000), now)).await.is_ok());
    }
}
