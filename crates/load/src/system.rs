//! The machine's clock, stopwatch and random source: the only touch of them here.
//!
//! Whatever is measured is measured with [`Stopwatch`], which no step of the wall clock can disturb.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use countersign_core::{clock::Clock, entropy::Entropy};
use countersign_proto::timestamp::Timestamp;

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the load generator's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the load generator's clock")]
    fn sleep_until(&self, until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(Duration::from_millis(until.millis_since(self.now()))))
    }
}

/// Time that has passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Sleeps until so long after the stopwatch began. The runtime's timer is as fine as a millisecond, and never early.
#[expect(clippy::disallowed_methods, reason = "load begins at times of the clock")]
pub(crate) async fn pause_until(began: Stopwatch, until: Duration) {
    if let Some(until) = began.0.checked_add(until) {
        tokio::time::sleep_until(until.into()).await;
    }
}

/// Numbers that no earlier run had and that never repeat: all that an id needs to be a new one. Not a source of
/// randomness: that costs more than much of what is measured.
#[derive(Debug)]
pub(crate) struct Fresh {
    next: AtomicU64,
}

impl Fresh {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut first = [0; 8];
        entropy.fill(&mut first);
        Self { next: AtomicU64::new(u64::from_be_bytes(first)) }
    }
}

impl Entropy for Fresh {
    fn fill(&self, buffer: &mut [u8]) {
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        // From the end, where an id has no fixed bits.
        for (place, byte) in buffer.iter_mut().rev().zip(number.iter().rev()) {
            *place = *byte;
        }
    }
}

/// The operating system's random source.
#[derive(Debug, Default)]
pub(crate) struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if self.0.fill(buffer).is_err() {
            // Ids that repeat would collapse, and the figure would be of something else.
            std::process::abort();
        }
    }
}
