//! How much is worked on at once: what comes beyond is told at once to come back, instead of waiting for so long that
//! nobody is left who wants the answer.
//!
//! Who waits for something that is not ours to hurry steps [aside](Admission::aside) and does not count: a held read
//! while it sleeps (bounded by [`crate::waiters`]), a request whose body is still on its way (bounded by the connections
//! and by the time that a body may take). Otherwise a thousand slow bodies would lock everybody else out. Health, keys
//! and documents are never refused: a node that is only busy must not look dead to whoever balances. Behind this the
//! store's queues are bounded, too.

use std::sync::atomic::{AtomicI64, Ordering};

use countersign_proto::problem::ProblemType;

use super::problem::ApiError;

/// The requests that are worked on.
#[derive(Debug)]
pub struct Admission {
    limit: i64,
    inside: AtomicI64,
}

/// A request that is worked on, until this is dropped, also when its client hangs up.
#[derive(Debug)]
pub struct Admitted<'a>(&'a AtomicI64);

/// An admitted request that waits, until this is dropped.
#[derive(Debug)]
pub struct Aside<'a>(&'a AtomicI64);

impl Admission {
    /// For so many requests at once.
    pub fn new(limit: usize) -> Self {
        Self { limit: i64::try_from(limit).unwrap_or(i64::MAX), inside: AtomicI64::new(0) }
    }

    /// Lets a request in unless too many are inside.
    ///
    /// # Errors
    /// 503, with `Retry-After`.
    pub fn enter(&self) -> Result<Admitted<'_>, ApiError> {
        // Made before the number is judged: whoever is refused leaves again.
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(&self.inside);
        if before >= self.limit { Err(too_many()) } else { Ok(admitted) }
    }

    /// Lets an admitted request wait without counting. When it goes on it counts again; who has done nothing yet goes on
    /// by [`Self::go_on`].
    pub fn aside(&self) -> Aside<'_> {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        Aside(&self.inside)
    }

    /// Judges again a request that has waited before anything was done for it: a crowd that comes in together, when all
    /// its bodies have arrived, is no better than one that comes at once.
    ///
    /// # Errors
    /// 503, with `Retry-After`.
    pub fn go_on(&self, aside: Aside<'_>) -> Result<(), ApiError> {
        // Counted again and judged in one step, as on entering: of two that come at once one is the later.
        std::mem::forget(aside);
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        if before >= self.limit { Err(too_many()) } else { Ok(()) }
    }
}

fn too_many() -> ApiError {
    metrics::counter!("countersign_requests_shed_total").increment(1);
    ApiError::new(ProblemType::Unavailable).retry_after(1).because("too many requests at once")
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_makes_room_and_who_waits_takes_none() {
        let admission = Admission::new(2);
        let first = admission.enter().unwrap();
        let _second = admission.enter().unwrap();
        assert!(admission.enter().is_err());
        let waits = admission.aside();
        let _beside = admission.enter().unwrap();
        assert!(admission.enter().is_err());
        // Goes on, one too many: nobody else is let in until two have left.
        drop(waits);
        drop(first);
        assert!(admission.enter().is_err());
    }

    #[test]
    fn of_a_crowd_whose_bodies_arrive_together_only_so_many_go_on() {
        let admission = Admission::new(2);
        let crowd: Vec<_> = (0..5).map(|_| (admission.enter().unwrap(), admission.aside())).collect();
        let went_on: Vec<_> =
            crowd.into_iter().map(|(admitted, aside)| (admission.go_on(aside).is_ok(), admitted)).collect();
        assert_eq!(went_on.iter().filter(|(is_in, _)| *is_in).count(), 2);
        drop(went_on);
        assert!(admission.enter().is_ok());
    }
}
