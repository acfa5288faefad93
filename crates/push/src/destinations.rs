//! The gate in front of each destination: its circuit, and its bound of requests in flight (the bulkhead).
//!
//! A shut gate turns away at once; a full one lets wait, for a bounded time and a bounded number, so a slow destination
//! costs the others neither time nor memory. Locks are held for a few instructions, never across an await.
//!
//! To add a destination that is known from the start: a [`Gate`] of its own. Destinations that devices bring (Web
//! Push) live in [`Recent`], which is bounded.

mod recent;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_core::clock::Clock;
use countersign_proto::{ids::DeviceId, timestamp::Timestamp};

pub(crate) use self::recent::Recent;
use crate::{
    circuit::{Change, Circuit, Health, Shut},
    places::{Place, Places, Width},
    report::{Destination, Outcome, Reason},
};

/// After how many milliseconds a push that found no room is taken up again.
pub(crate) const BUSY_MILLIS: i64 = 200;
/// Apple and Google: two that hang leave room in the dispatcher's lane for a third. As many as the lane takes may wait.
const PROVIDER: Width = Width { places: 400, waiting: 600 };
/// A push service that nobody knows: any device can name one.
const STRANGER: Width = Width { places: 16, waiting: 64 };
/// One that works: all the users of a browser share it. A quarter of the dispatcher's lane is left to others.
const PROVEN: Width = Width { places: 256, waiting: 512 };
/// How long a success proves that an origin works.
const PROVEN_MILLIS: u64 = 600_000;
/// How many different devices have to have trouble with a push service before it counts as the service's.
const WITNESSES: usize = 3;

/// A lock that a panic elsewhere does not spoil: what is behind it is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub(crate) struct Gate {
    destination: Destination,
    /// Whether devices bring it: then it has to prove itself.
    is_stranger: bool,
    inner: Mutex<Inner>,
    places: Places,
    clock: Arc<dyn Clock>,
}

struct Inner {
    circuit: Circuit,
    /// When a push last succeeded, if the circuit has not opened since.
    proven_at: Option<Timestamp>,
}

/// A request's place at its destination, until dropped. One that is dropped without [`Pass::record`] (the task was
/// cancelled) has said nothing about it.
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    device: DeviceId,
    _place: Place<'a>,
}

impl Gate {
    /// A destination that the operator names.
    pub(crate) fn of_provider(destination: Destination, clock: Arc<dyn Clock>) -> Self {
        Self::new(destination, false, Circuit::new(1), Places::new(PROVIDER, PROVIDER), clock)
    }

    /// A destination that devices name.
    pub(crate) fn of_stranger(destination: Destination, clock: Arc<dyn Clock>) -> Self {
        Self::new(destination, true, Circuit::new(WITNESSES), Places::new(STRANGER, PROVEN), clock)
    }

    fn new(
        destination: Destination,
        is_stranger: bool,
        circuit: Circuit,
        places: Places,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { destination, is_stranger, inner: Mutex::new(Inner { circuit, proven_at: None }), places, clock }
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether its circuit is open.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.inner).circuit.is_open()
    }

    /// Whether a push is known to have to wait.
    pub(crate) fn is_in_trouble(&self) -> bool {
        let inner = lock(&self.inner);
        inner.circuit.is_open() || inner.circuit.wait(self.clock.now()).is_some()
    }

    /// Whether what failed with its connection may be tried again at once. Not at a destination that is being probed:
    /// a probe is one request. Not at one that has yet to show that it works.
    pub(crate) fn may_repeat(&self) -> bool {
        let inner = lock(&self.inner);
        !inner.circuit.is_open() && (!self.is_stranger || inner.is_proven(self.clock.now()))
    }

    /// Whether something would be lost if it were made anew.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        lock(&self.inner).circuit.is_worth_keeping(self.clock.now())
    }

    /// Lets a request of `device` in, after waiting for a place for at most `patience`, or says what becomes of it.
    pub(crate) async fn enter(&self, device: DeviceId, patience: Duration) -> Result<Pass<'_>, Outcome> {
        self.look(device)?;
        // The place first: a probe is not spent on a request that finds none.
        let Some(place) = self.places.take(patience).await else {
            return Err(Outcome::NotTried { after_millis: BUSY_MILLIS, reason: Reason::of("busy") });
        };
        lock(&self.inner).circuit.admit(self.clock.now(), device).map_err(turned_away)?;
        Ok(Pass { gate: self, device, _place: place })
    }

    /// Who would be turned away does not wait for a place first.
    fn look(&self, device: DeviceId) -> Result<(), Outcome> {
        let now = self.clock.now();
        let mut inner = lock(&self.inner);
        if self.is_stranger && inner.proven_at.is_some() && !inner.is_proven(now) {
            inner.proven_at = None;
            self.places.narrow();
        }
        inner.circuit.look(now, device).map_err(turned_away)
    }
}

fn turned_away(shut: Shut) -> Outcome {
    let (wait, code) = match shut {
        Shut::Open(wait) => (wait, "circuit-open"),
        Shut::Waits(wait) => (wait, "provider-asked-to-wait"),
    };
    Outcome::Retry { after_millis: Some(wait), reason: Reason::of(code) }
}

impl Inner {
    fn is_proven(&self, now: Timestamp) -> bool {
        self.proven_at.is_some_and(|at| now.millis_since(at) < PROVEN_MILLIS)
    }
}

impl Pass<'_> {
    /// Takes note of how it went, and tells the operator once when the circuit opens or closes.
    pub(crate) fn record(self, outcome: &Outcome, health: Health) {
        let now = self.gate.clock.now();
        let mut inner = lock(&self.gate.inner);
        let change = inner.circuit.record(now, self.device, health);
        if *outcome == Outcome::Accepted && health == Health::Alive {
            inner.proven_at = Some(now);
            self.gate.places.widen();
        } else if matches!(change, Some(Change::Opened(_))) {
            inner.proven_at = None;
            self.gate.places.narrow();
        }
        drop(inner);
        self.tell(change);
    }

    fn tell(&self, change: Option<Change>) {
        let destination = &self.gate.destination;
        match change {
            None => {}
            // Any device can name an origin: its trouble is not the operator's.
            Some(Change::Opened(reason)) if self.gate.is_stranger => {
                tracing::warn!(push.destination = %destination, push.reason = %reason, "circuit opened");
            }
            Some(Change::Opened(reason)) => {
                tracing::error!(push.destination = %destination, push.reason = %reason, "circuit opened");
            }
            Some(Change::Closed) => tracing::info!(push.destination = %destination, "circuit closed"),
        }
    }
}
