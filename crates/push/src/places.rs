//! The places at one destination: how many requests may be in flight there, and how many may wait for one.
//!
//! Few for a destination that nobody knows, many for one that has shown that it works: see [`Places::widen`]. Waiting
//! is bounded in time and number, first come first served. Whoever finds no place has asked nobody anything.
//!
//! To give a destination other bounds: its [`Width`]s, where its gate is made.

use std::{sync::Mutex, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::destinations::lock;

/// How many may be in flight, and how many may wait for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width {
    pub(crate) places: usize,
    pub(crate) waiting: usize,
}

/// See the module.
pub(crate) struct Places {
    semaphore: Semaphore,
    few: Width,
    many: Width,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_wide: bool,
    /// Places that were narrowed away while they were taken: whoever gives one back does not.
    owed: usize,
    waiting: usize,
}

/// A place, until dropped.
pub(crate) struct Place<'a> {
    places: &'a Places,
    permit: Option<SemaphorePermit<'a>>,
}

/// One that waits, until dropped: also when its task is cancelled.
struct Waiting<'a>(&'a Places);

impl Places {
    /// `many` has to be at least `few`.
    pub(crate) fn new(few: Width, many: Width) -> Self {
        Self { semaphore: Semaphore::new(few.places), few, many, state: Mutex::default() }
    }

    /// Takes a place, after waiting for at most `patience`. `None`: there is none, or too many wait.
    pub(crate) async fn take(&self, patience: Duration) -> Option<Place<'_>> {
        // A place that comes back goes to whoever waits: this overtakes nobody.
        if let Ok(permit) = self.semaphore.try_acquire() {
            return Some(Place { places: self, permit: Some(permit) });
        }
        let _waiting = self.queue()?;
        let permit = tokio::time::timeout(patience, self.semaphore.acquire()).await.ok()?.ok()?;
        Some(Place { places: self, permit: Some(permit) })
    }

    fn queue(&self) -> Option<Waiting<'_>> {
        let mut state = lock(&self.state);
        let bound = if state.is_wide { self.many.waiting } else { self.few.waiting };
        (state.waiting < bound).then(|| {
            state.waiting += 1;
            Waiting(self)
        })
    }

    /// From now on many.
    pub(crate) fn widen(&self) {
        let mut state = lock(&self.state);
        if !state.is_wide {
            state.is_wide = true;
            let extra = self.extra();
            let paid = state.owed.min(extra);
            state.owed -= paid;
            self.semaphore.add_permits(extra - paid);
        }
    }

    /// From now on few; who has a place keeps it.
    pub(crate) fn narrow(&self) {
        let mut state = lock(&self.state);
        if state.is_wide {
            state.is_wide = false;
            state.owed += self.extra() - self.semaphore.forget_permits(self.extra());
        }
    }

    const fn extra(&self) -> usize {
        self.many.places.saturating_sub(self.few.places)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.places.state);
        if state.owed > 0 {
            state.owed -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_AT_ALL: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(20);

    fn places() -> Places {
        Places::new(Width { places: 1, waiting: 1 }, Width { places: 3, waiting: 2 })
    }

    async fn count(places: &Places) -> usize {
        let mut held = Vec::new();
        while let Some(place) = places.take(NOT_AT_ALL).await {
            held.push(place);
        }
        held.len()
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_comes_back_and_who_comes_when_enough_wait_does_not() {
        let places = places();
        let first = places.take(NOT_AT_ALL).await;
        assert!(first.is_some() && places.take(NOT_AT_ALL).await.is_none());
        let (second, third, ()) = tokio::join!(biased; places.take(LONG), places.take(LONG), async { drop(first) });
        assert!(second.is_some() && third.is_none());
        drop(second);
        assert_eq!(count(&places).await, 1);
    }

    #[tokio::test]
    async fn one_that_stops_waiting_leaves_the_queue() {
        let places = places();
        let _first = places.take(NOT_AT_ALL).await;
        for _ in 0..3 {
            assert!(places.take(Duration::from_millis(1)).await.is_none());
        }
        assert_eq!(lock(&places.state).waiting, 0);
    }

    #[tokio::test]
    async fn a_wide_one_that_becomes_narrow_has_few_places_again_whoever_holds_them() {
        let places = places();
        places.widen();
        places.widen();
        assert_eq!(count(&places).await, 3);
        let held = [places.take(NOT_AT_ALL).await, places.take(NOT_AT_ALL).await, places.take(NOT_AT_ALL).await];
        places.narrow();
        places.narrow();
        let [one, two, three] = held;
        drop(one);
        assert_eq!(count(&places).await, 0);
        places.widen();
        places.narrow();
        drop(two);
        assert_eq!(count(&places).await, 0);
        drop(three);
        assert_eq!(count(&places).await, 1);
        places.widen();
        assert_eq!(count(&places).await, 3);
    }
}
