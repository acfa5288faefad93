//! When sign-ins begin, and which count. Pure: times are counted from the load's beginning and handed in.
//!
//! To add a distribution of arrivals: a variant of [`Arrivals`] and its step in [`Pace::open`].

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// When the load ends, the warm-up not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After so many.
    Count(u64),
    /// After so long.
    After(Duration),
}

/// How the arrivals of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly.
    Fixed,
    /// As independent people arrive: exponential gaps, from the seed.
    Poisson,
}

/// When sign-ins begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// When the flow is free.
    Closed { warm_up: Duration, end: End },
    /// At these times.
    Open { warm_up: Duration, arrivals: Vec<Duration> },
}

impl Pace {
    /// Arrivals at a rate per second, during the warm-up and after it.
    pub(super) fn open(rate: f64, arrivals: Arrivals, seed: u64, warm_up: Duration, end: End) -> Self {
        let mut gaps = Gaps(seed);
        let (mut at, mut times, mut counted) = (Duration::ZERO, Vec::new(), 0);
        loop {
            let is_over = match end {
                End::Count(count) => counted >= count,
                End::After(length) => at >= warm_up.saturating_add(length),
            };
            if is_over {
                return Self::Open { warm_up, arrivals: times };
            }
            times.push(at);
            counted += u64::from(at >= warm_up);
            let gap = match arrivals {
                Arrivals::Fixed => 1.0,
                Arrivals::Poisson => gaps.next(),
            };
            // Fixed times are multiplied, not added up: rounding does not shift the rate.
            at = match arrivals {
                #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
                Arrivals::Fixed => Duration::from_secs_f64(times.len() as f64 / rate),
                Arrivals::Poisson => at.saturating_add(Duration::from_secs_f64(gap / rate)),
            };
        }
    }

    pub(super) fn warm_up(&self) -> Duration {
        match self {
            Self::Closed { warm_up, .. } | Self::Open { warm_up, .. } => *warm_up,
        }
    }

    /// When the sign-in of this number should begin; `None` after the last.
    pub(super) fn intended(&self, number: u64, now: Duration, counted: u64) -> Option<Duration> {
        match self {
            Self::Closed { warm_up, end } => {
                let is_over = match end {
                    End::Count(count) => counted >= *count,
                    End::After(length) => now >= warm_up.saturating_add(*length),
                };
                if is_over { None } else { Some(now) }
            }
            Self::Open { arrivals, .. } => arrivals.get(usize::try_from(number).ok()?).copied(),
        }
    }

    /// Whether a sign-in counts: in a closed loop by its end, in an open one by its beginning, for there the slow ones
    /// are what matters.
    pub(super) fn counts(&self, intended: Duration, finished: Duration, counted: &AtomicU64) -> bool {
        let is_in = match self {
            Self::Closed { warm_up, end: End::After(length) } => {
                finished >= *warm_up && finished < warm_up.saturating_add(*length)
            }
            Self::Closed { warm_up, end: End::Count(_) } => finished >= *warm_up,
            Self::Open { warm_up, .. } => intended >= *warm_up,
        };
        if !is_in {
            return false;
        }
        let earlier = counted.fetch_add(1, Ordering::Relaxed);
        !matches!(self, Self::Closed { end: End::Count(count), .. } if earlier >= *count)
    }

    /// How long those that count took together, if the last of them ended at `last`.
    pub(super) fn window(&self, last: Duration) -> Duration {
        match self {
            Self::Closed { end: End::After(length), .. } => *length,
            Self::Closed { warm_up, .. } | Self::Open { warm_up, .. } => last.saturating_sub(*warm_up),
        }
    }
}

/// Exponential gaps with mean 1, the same for the same seed (splitmix64).
struct Gaps(u64);

impl Gaps {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
        // 1 − u is never 0.
        -(1.0 - uniform).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn arrivals(pace: &Pace) -> &[Duration] {
        match pace {
            Pace::Open { arrivals, .. } => arrivals,
            Pace::Closed { .. } => &[],
        }
    }

    #[test]
    fn fixed_arrivals_keep_their_rate_through_warm_up_and_after() {
        let pace = Pace::open(300.0, Arrivals::Fixed, 1, SECOND, End::After(2 * SECOND));
        assert_eq!(arrivals(&pace).len(), 900);
        assert_eq!(arrivals(&pace)[300], SECOND);
        let pace = Pace::open(10.0, Arrivals::Fixed, 1, SECOND, End::Count(7));
        assert_eq!(arrivals(&pace).len(), 17);
    }

    #[test]
    fn people_arrive_at_random_but_alike_for_the_same_seed() {
        let at = |seed| Pace::open(1_000.0, Arrivals::Poisson, seed, Duration::ZERO, End::After(20 * SECOND));
        assert_eq!(at(7), at(7));
        assert_ne!(at(7), at(8));
        let count = arrivals(&at(7)).len();
        assert!((19_500..20_500).contains(&count), "{count}");
        let is_burst = |pair: &[Duration]| pair[1] - pair[0] < Duration::from_micros(100);
        assert!(arrivals(&at(7)).windows(2).filter(|pair| is_burst(pair)).count() > 1_000);
    }

    #[test]
    fn a_late_sign_in_is_measured_from_when_it_should_have_begun() {
        // The server stood still for a second: an honest figure shows that in all that should have begun in it.
        let pace = Pace::open(10.0, Arrivals::Fixed, 1, Duration::ZERO, End::After(SECOND));
        let stood_still_until = SECOND;
        let late: Vec<_> =
            (0..10).filter_map(|number| pace.intended(number, stood_still_until, 0)).map(|at| SECOND - at).collect();
        assert_eq!(late.len(), 10);
        assert_eq!((late[0], late[9]), (SECOND, Duration::from_millis(100)));
        assert_eq!(pace.intended(10, stood_still_until, 0), None);
    }

    #[test]
    fn a_closed_loop_counts_what_ends_in_its_window() {
        let counted = AtomicU64::new(0);
        let pace = Pace::Closed { warm_up: SECOND, end: End::After(SECOND) };
        let counts = |millis| pace.counts(Duration::ZERO, Duration::from_millis(millis), &counted);
        assert_eq!((counts(999), counts(1_000), counts(1_999), counts(2_000)), (false, true, true, false));
        assert_eq!(pace.window(SECOND), SECOND);
        assert_eq!(pace.intended(0, Duration::from_millis(1_999), 2), Some(Duration::from_millis(1_999)));
        assert_eq!(pace.intended(0, Duration::from_millis(2_000), 2), None);
    }

    #[test]
    fn a_closed_loop_with_a_number_counts_exactly_so_many() {
        let counted = AtomicU64::new(0);
        let pace = Pace::Closed { warm_up: SECOND, end: End::Count(2) };
        let count = (0..5).filter(|at| pace.counts(Duration::ZERO, SECOND * *at, &counted)).count();
        assert_eq!(count, 2);
        assert_eq!(pace.window(3 * SECOND), 2 * SECOND);
        assert_eq!(pace.intended(9, SECOND, 2), None);
    }
}
