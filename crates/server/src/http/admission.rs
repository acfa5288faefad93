//! How much is worked on at once: what comes beyond is told at once to come back, instead of waiting for so long that
//! nobody is left who wants the answer.
//!
//! Held reads do not count while they sleep; they have a bound of their own ([`crate::waiters`]). Health, keys and
//! documents are never refused: a node that is only busy must not look dead to whoever balances. Behind this the
//! store's queues are bounded, too.

use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_proto::problem::ProblemType;

use super::problem::ApiError;

/// The requests that are inside.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    inside: AtomicUsize,
}

/// A request that is inside; it leaves when dropped, also when its client hangs up.
#[derive(Debug)]
pub struct Admitted<'a>(&'a AtomicUsize);

impl Admission {
    /// For so many requests at once.
    pub const fn new(limit: usize) -> Self {
        Self { limit, inside: AtomicUsize::new(0) }
    }

    /// Lets a request in unless too many are inside that do not sleep.
    ///
    /// # Errors
    /// 503, with `Retry-After`.
    pub fn enter(&self, asleep: usize) -> Result<Admitted<'_>, ApiError> {
        // Made before the number is judged: whoever is refused leaves again.
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(&self.inside);
        if before.saturating_sub(asleep) >= self.limit {
            metrics::counter!("countersign_requests_shed_total").increment(1);
            return Err(ApiError::new(ProblemType::Unavailable).retry_after(1).because("too many requests at once"));
        }
        Ok(admitted)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_makes_room_and_sleepers_take_none() {
        let admission = Admission::new(2);
        let first = admission.enter(0).unwrap();
        let _second = admission.enter(0).unwrap();
        assert!(admission.enter(0).is_err());
        let _beside_a_sleeper = admission.enter(1).unwrap();
        assert!(admission.enter(1).is_err());
        drop(first);
        let _in_its_place = admission.enter(1).unwrap();
    }
}
