//! The machine's two clocks: the only touch of them here. Whatever has an order is ordered by the [`Stopwatch`], which no
//! step of the wall clock can disturb.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use countersign_proto::timestamp::Timestamp;

/// Now, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "the harness's clock")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Time that has passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the harness's clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the harness's clock")]
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The same in microseconds.
    pub(crate) fn micros(self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "attacks come at times of the clock")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
