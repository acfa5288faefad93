//! The circuit of one destination: while it is known to be in trouble, pushes wait at once instead of in a queue.
//!
//! A pure state machine over `now`: it knows neither clock nor lock. It opens at once when the provider refuses our
//! credentials, which no repeat will mend, and after [`FAILURES`] failures in a row otherwise. While it is open one
//! probe a second goes through: a real push, and its success closes it. What concerns one device only is no failure.
//!
//! To add a kind of health: a variant of [`Health`] and its arm in [`Circuit::record`].

use countersign_proto::timestamp::Timestamp;

use crate::report::Reason;

/// So many failures in a row open it.
const FAILURES: u32 = 5;
/// A probe at most so often, in milliseconds.
const PROBE_MILLIS: i64 = 1_000;

/// What a request says about its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It works, whatever it thinks of this message.
    Alive,
    /// It failed; others may too.
    Failing(Reason),
    /// It does not accept our credentials.
    Refused(Reason),
    /// Says nothing: the request never got so far, or the destination asked for time.
    Unknown,
}

/// A change that an operator wants to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Opened(Reason),
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Circuit {
    Closed { failures: u32 },
    Open { next_probe: Timestamp },
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Circuit {
    /// Whether a request may go at `now`. If not, after how many milliseconds the next one may.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Result<(), i64> {
        let Self::Open { next_probe } = self else { return Ok(()) };
        let wait = next_probe.as_millis().saturating_sub(now.as_millis());
        // A longer wait than was ever set: the clock was put back. Better a probe too many than none for hours.
        if (1..=PROBE_MILLIS).contains(&wait) {
            return Err(wait);
        }
        *next_probe = now.plus_millis(PROBE_MILLIS);
        Ok(())
    }

    /// Takes note of how a request went.
    pub(crate) fn record(&mut self, now: Timestamp, health: Health) -> Option<Change> {
        match (&mut *self, health) {
            (_, Health::Unknown) | (Self::Open { .. }, Health::Failing(_) | Health::Refused(_)) => None,
            (Self::Closed { failures }, Health::Alive) => {
                *failures = 0;
                None
            }
            (Self::Open { .. }, Health::Alive) => {
                *self = Self::default();
                Some(Change::Closed)
            }
            (Self::Closed { failures }, Health::Failing(_)) if *failures + 1 < FAILURES => {
                *failures += 1;
                None
            }
            (Self::Closed { .. }, Health::Failing(reason) | Health::Refused(reason)) => {
                *self = Self::Open { next_probe: now.plus_millis(PROBE_MILLIS) };
                Some(Change::Opened(reason))
            }
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const WHY: Reason = Reason::answered("unexpected-status", 500);

    fn opened() -> Circuit {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.record(NOW, Health::Refused(WHY)), Some(Change::Opened(WHY)));
        circuit
    }

    #[test]
    fn refused_credentials_open_it_at_once() {
        assert!(opened().is_open());
    }

    #[test]
    fn five_failures_in_a_row_open_it_once_and_four_do_not() {
        let mut circuit = Circuit::default();
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(circuit.record(NOW, Health::Failing(WHY)), None);
                assert_eq!(circuit.record(NOW, Health::Unknown), None, "says nothing either way");
            }
            assert_eq!(circuit.record(NOW, Health::Alive), None);
        }
        let changes: Vec<_> = (0..8).filter_map(|_| circuit.record(NOW, Health::Failing(WHY))).collect();
        assert_eq!(changes, [Change::Opened(WHY)]);
    }

    #[test]
    fn while_open_one_probe_a_second_goes_through() {
        let mut circuit = opened();
        assert_eq!(circuit.admit(NOW), Err(1_000));
        assert_eq!(circuit.admit(NOW.plus_millis(999)), Err(1));
        let mut probes = 0;
        for millis in 1_000..11_000 {
            probes += u32::from(circuit.admit(NOW.plus_millis(millis)).is_ok());
            assert_eq!(circuit.record(NOW.plus_millis(millis), Health::Refused(WHY)), None, "told once");
        }
        assert_eq!(probes, 10);
    }

    #[test]
    fn a_success_closes_it() {
        let mut circuit = opened();
        assert_eq!(circuit.record(NOW, Health::Alive), Some(Change::Closed));
        assert!(!circuit.is_open());
        assert_eq!(circuit.admit(NOW), Ok(()));
        assert_eq!(circuit.record(NOW, Health::Failing(WHY)), None, "it counts from the beginning");
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_hold_the_probes() {
        let mut circuit = opened();
        assert_eq!(circuit.admit(NOW.plus_seconds(-3_600)), Ok(()));
        assert_eq!(circuit.admit(NOW.plus_seconds(-3_600)), Err(1_000));
    }
}
