//! The gate in front of each destination: its circuit, and its bound of requests in flight (the bulkhead).
//!
//! Nothing here waits: whoever finds a gate shut or full gets a verdict at once, so a slow destination costs the
//! others neither time nor memory. Locks are held for a few instructions, never across an await.
//!
//! To add a destination that is known from the start: a [`Gate`] of its own. Destinations that devices bring (Web
//! Push) live in [`Recent`], which is bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use countersign_core::clock::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    circuit::{Change, Circuit, Health},
    report::{Destination, Outcome, Reason},
};

/// How long to wait for a place, in milliseconds.
const BUSY_MILLIS: i64 = 100;

/// A lock that a panic elsewhere does not spoil: what is behind it is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub(crate) struct Gate {
    destination: Destination,
    circuit: Mutex<Circuit>,
    places: Semaphore,
    clock: Arc<dyn Clock>,
}

/// A request's place at its destination, until dropped. One that is dropped without [`Pass::record`] (the task was
/// cancelled) has said nothing about it.
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    _place: SemaphorePermit<'a>,
}

impl Gate {
    pub(crate) fn new(destination: Destination, in_flight: usize, clock: Arc<dyn Clock>) -> Self {
        Self { destination, circuit: Mutex::default(), places: Semaphore::new(in_flight), clock }
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.circuit).is_open()
    }

    /// Lets a request in, or says what becomes of it at once.
    pub(crate) fn enter(&self) -> Result<Pass<'_>, Outcome> {
        // The place first: a probe is not spent on a request that finds none.
        let Ok(place) = self.places.try_acquire() else {
            return Err(Outcome::Retry { after_millis: Some(BUSY_MILLIS), reason: Reason::of("busy") });
        };
        match lock(&self.circuit).admit(self.clock.now()) {
            Ok(()) => Ok(Pass { gate: self, _place: place }),
            Err(wait) => Err(Outcome::Retry { after_millis: Some(wait), reason: Reason::of("circuit-open") }),
        }
    }
}

impl Pass<'_> {
    /// Takes note of how it went, and tells the operator once when the circuit opens or closes.
    pub(crate) fn record(self, health: Health) {
        let change = lock(&self.gate.circuit).record(self.gate.clock.now(), health);
        let destination = &self.gate.destination;
        match (change, destination) {
            (None, _) => {}
            // Any device can name an origin: its trouble is not the operator's.
            (Some(Change::Opened(reason)), Destination::WebPush(_)) => {
                tracing::warn!(push.destination = %destination, push.reason = %reason, "circuit opened");
            }
            (Some(Change::Opened(reason)), _) => {
                tracing::error!(push.destination = %destination, push.reason = %reason, "circuit opened");
            }
            (Some(Change::Closed), _) => tracing::info!(push.destination = %destination, "circuit closed"),
        }
    }
}

/// The most recently used of something per name, at most `capacity`: what devices bring must not fill the memory.
pub(crate) struct Recent<T> {
    capacity: usize,
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    by_name: HashMap<Arc<str>, (Arc<T>, u64)>,
    uses: u64,
}

impl<T> Recent<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(Entries { by_name: HashMap::new(), uses: 0 }) }
    }

    /// The entry of `name`, made if it is new; then the one that was unused for longest goes. Whoever still holds
    /// that one keeps it until done.
    pub(crate) fn get_or_make(&self, name: &str, make: impl FnOnce(&Arc<str>) -> T) -> Arc<T> {
        let mut entries = lock(&self.entries);
        entries.uses += 1;
        let use_ = entries.uses;
        if let Some((entry, used)) = entries.by_name.get_mut(name) {
            *used = use_;
            return Arc::clone(entry);
        }
        if entries.by_name.len() >= self.capacity {
            let oldest = entries.by_name.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| Arc::clone(name));
            oldest.map(|name| entries.by_name.remove(&name));
        }
        let name: Arc<str> = Arc::from(name);
        let entry = Arc::new(make(&name));
        entries.by_name.insert(name, (Arc::clone(&entry), use_));
        entry
    }

    /// The entry of `name`, if there is one. Not a use.
    pub(crate) fn peek(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.entries).by_name.get(name).map(|(entry, _)| Arc::clone(entry))
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        lock(&self.entries).by_name.values().map(|(entry, _)| Arc::clone(entry)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    fn gate(in_flight: usize) -> (Gate, TestClock) {
        let clock = TestClock::default();
        (Gate::new(Destination::Apns("main".into()), in_flight, Arc::new(clock.clone())), clock)
    }

    fn code(outcome: Result<Pass<'_>, Outcome>) -> &'static str {
        outcome.err().and_then(|outcome| outcome.reason()).map_or("entered", |reason| reason.code)
    }

    #[test]
    fn a_full_gate_turns_away_at_once_and_a_place_comes_back() {
        let (gate, _) = gate(2);
        let first = gate.enter();
        let second = gate.enter();
        assert_eq!(code(gate.enter()), "busy");
        drop(first);
        assert_eq!(code(gate.enter()), "entered");
        drop(second);
    }

    #[test]
    fn a_shut_gate_lets_one_probe_a_second_in() {
        let (gate, clock) = gate(9);
        let Ok(pass) = gate.enter() else { panic!("a new gate is open") };
        pass.record(Health::Refused(Reason::of("token-refused")));
        assert!(gate.is_open());
        assert_eq!(code(gate.enter()), "circuit-open");
        clock.advance_millis(1_000);
        let probe = gate.enter();
        assert_eq!(code(gate.enter()), "circuit-open");
        let Ok(probe) = probe else { panic!("a second has passed") };
        probe.record(Health::Alive);
        assert!(!gate.is_open());
        assert_eq!(code(gate.enter()), "entered");
    }

    #[test]
    fn the_table_forgets_what_was_unused_for_longest() {
        let recent = Recent::new(2);
        recent.get_or_make("a", |_| 1);
        recent.get_or_make("b", |_| 2);
        recent.get_or_make("a", |_| panic!("known"));
        recent.get_or_make("c", |_| 3);
        assert_eq!((recent.peek("a").is_some(), recent.peek("b").is_some(), recent.all().len()), (true, false, 2));
    }
}
