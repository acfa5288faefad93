//! The circuit of one destination: while it is known to be in trouble, pushes wait at once instead of in a queue.
//!
//! A pure state machine over `now`: it knows neither clock nor lock. It opens at once when the provider refuses our
//! credentials, which no repeat will mend, and otherwise after [`FAILURES`] failures in a row of enough different
//! devices: where devices choose the paths, one of them must not shut a destination for the others. While it is open
//! one probe a second goes through: a real push, and its success closes it. A device whose push did not close it is
//! not the next probe while others ask. What concerns one device only is no failure.
//!
//! A destination that asks for time is left alone until then, for at most [`WAIT_MILLIS`].
//!
//! To add a kind of health: a variant of [`Health`] and its arm in [`Circuit::record`].

use countersign_proto::{ids::DeviceId, timestamp::Timestamp};

use crate::report::Reason;

#[cfg(test)]
mod tests;

/// So many failures in a row open it.
const FAILURES: u32 = 5;
/// A probe at most so often, in milliseconds.
const PROBE_MILLIS: i64 = 1_000;
/// How many devices that did not close it are remembered.
const TRIED: usize = 16;
/// How long a due probe is kept for devices that have not been tried, if one has asked.
const KEPT_MILLIS: i64 = 2_000;
/// The longest that a destination is left alone because it asked for it.
pub(crate) const WAIT_MILLIS: i64 = 300_000;
/// An open circuit that nobody asked about for so long is not worth remembering.
const FORGOTTEN_MILLIS: i64 = 600_000;

/// What a request says about its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It works, whatever it thinks of this message.
    Alive,
    /// It failed; others may too.
    Failing(Reason),
    /// It does not accept our credentials.
    Refused(Reason),
    /// It asks for time: so many milliseconds.
    Waits(i64),
    /// Says nothing: the request never got so far, or its answer concerns one device.
    Unknown,
}

/// A change that an operator wants to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Opened(Reason),
    Closed,
}

/// Why a request may not go, and after how many milliseconds the next one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The circuit is open.
    Open(i64),
    /// The destination asked for time.
    Waits(i64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Circuit {
    /// How many different devices have to say the same before it counts for all.
    witnesses: usize,
    state: State,
    /// Whom the destination asked for time since it last worked; at most `witnesses`.
    asked: Vec<DeviceId>,
    not_before: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    /// `failed`: whose pushes failed since it last worked; at most `witnesses`.
    Closed { failures: u32, failed: Vec<DeviceId> },
    /// `tried`: whose pushes did not close it, the latest at the end. `others_ask`: another was turned away.
    Open { next_probe: Timestamp, tried: Vec<DeviceId>, others_ask: bool },
}

impl Circuit {
    /// A closed one.
    pub(crate) const fn new(witnesses: usize) -> Self {
        Self { witnesses, state: State::closed(), asked: Vec::new(), not_before: None }
    }

    /// Whether a request of `device` may go at `now`, as far as can be said without letting it go.
    pub(crate) fn look(&mut self, now: Timestamp, device: DeviceId) -> Result<(), Shut> {
        if let Some(wait) = self.wait(now) {
            return Err(Shut::Waits(wait));
        }
        let State::Open { next_probe, tried, others_ask } = &mut self.state else { return Ok(()) };
        // A longer wait than was ever set: the clock was put back. Better a probe too many than none for hours.
        let wait = next_probe.as_millis().saturating_sub(now.as_millis());
        let is_early = (1..=PROBE_MILLIS).contains(&wait);
        let is_tried = tried.contains(&device);
        let is_kept = *others_ask && is_tried && (-KEPT_MILLIS..=0).contains(&wait);
        if !is_early && !is_kept {
            return Ok(());
        }
        *others_ask |= !is_tried;
        Err(Shut::Open(if is_early { wait } else { PROBE_MILLIS }))
    }

    /// Lets a request of `device` go at `now`, or not. While open, this spends the probe.
    pub(crate) fn admit(&mut self, now: Timestamp, device: DeviceId) -> Result<(), Shut> {
        self.look(now, device)?;
        if let State::Open { next_probe, others_ask, .. } = &mut self.state {
            *next_probe = now.plus_millis(PROBE_MILLIS);
            *others_ask = false;
        }
        Ok(())
    }

    /// Takes note of how a request of `device` went.
    pub(crate) fn record(&mut self, now: Timestamp, device: DeviceId, health: Health) -> Option<Change> {
        if let State::Open { tried, .. } = &mut self.state {
            tried.retain(|other| *other != device);
            tried.push(device);
            tried.drain(..tried.len().saturating_sub(TRIED));
        }
        match health {
            Health::Unknown => None,
            Health::Alive => {
                self.asked.clear();
                let was_open = self.is_open();
                self.state = State::closed();
                was_open.then_some(Change::Closed)
            }
            Health::Waits(millis) => {
                note(&mut self.asked, device, self.witnesses);
                if self.asked.len() >= self.witnesses {
                    let until = now.plus_millis(millis.clamp(0, WAIT_MILLIS));
                    self.not_before = self.not_before.max(Some(until));
                }
                None
            }
            Health::Failing(reason) => self.fail(now, device, reason, false),
            Health::Refused(reason) => self.fail(now, device, reason, true),
        }
    }

    fn fail(&mut self, now: Timestamp, device: DeviceId, reason: Reason, at_once: bool) -> Option<Change> {
        match &mut self.state {
            State::Open { .. } => None,
            State::Closed { failures, failed } => {
                *failures = failures.saturating_add(1);
                note(failed, device, self.witnesses);
                if !at_once && (*failures < FAILURES || failed.len() < self.witnesses) {
                    return None;
                }
                let next_probe = now.plus_millis(PROBE_MILLIS);
                self.state = State::Open { next_probe, tried: vec![device], others_ask: false };
                Some(Change::Opened(reason))
            }
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// For how many milliseconds more the destination wants to be left alone.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<i64> {
        let wait = self.not_before?.as_millis().saturating_sub(now.as_millis());
        // Longer than can be asked for: the clock was put back.
        (1..=WAIT_MILLIS).contains(&wait).then_some(wait)
    }

    /// Whether something would be lost by beginning anew.
    pub(crate) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        let is_recent = |next_probe: Timestamp| now.millis_since(next_probe) < FORGOTTEN_MILLIS.unsigned_abs();
        self.wait(now).is_some() || matches!(self.state, State::Open { next_probe, .. } if is_recent(next_probe))
    }
}

impl State {
    const fn closed() -> Self {
        Self::Closed { failures: 0, failed: Vec::new() }
    }
}

/// Adds a device, once, while fewer than `enough` are known.
fn note(devices: &mut Vec<DeviceId>, device: DeviceId, enough: usize) {
    if devices.len() < enough && !devices.contains(&device) {
        devices.push(device);
    }
}
