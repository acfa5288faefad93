//! What many durations and many failures come to. Pure: knows no clock.
//!
//! Never averages: a mean hides the slow ones. To add a figure: a method here, with its test.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// What became of the requests of one flow, or, once they are merged, of all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    latencies: Vec<Duration>,
    failures: BTreeMap<String, u64>,
}

impl Tally {
    /// One that went well.
    pub(crate) fn succeeded(&mut self, took: Duration) {
        self.latencies.push(took);
    }

    /// One that did not, by our word for why. How long it took says nothing of the others.
    pub(crate) fn failed(&mut self, reason: String) {
        *self.failures.entry(reason).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
    }

    pub(crate) fn succeeded_count(&self) -> u64 {
        self.latencies.len().try_into().unwrap_or(u64::MAX)
    }

    pub(crate) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// What went well, per second of `whole`.
    pub(crate) fn per_second(&self, whole: Duration) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let count = self.succeeded_count() as f64;
        if whole.is_zero() { 0.0 } else { count / whole.as_secs_f64() }
    }

    /// The latencies in order, for percentiles.
    pub(crate) fn latencies(&self) -> Latencies {
        self.latencies.iter().copied().collect()
    }
}

/// Latencies, shortest first.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(latencies: I) -> Self {
        let mut sorted: Vec<_> = latencies.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl Latencies {
    /// The shortest that at least `percent` in a hundred did not exceed (nearest rank); zero if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.per_mille(percent.saturating_mul(10))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn per_mille(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille.min(1_000)).div_ceil(1_000);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// In milliseconds.
    pub(crate) fn to_json(&self) -> Value {
        let millis = |per_mille| rounded(self.per_mille(per_mille).as_secs_f64() * 1_000.0);
        json!({"p50": millis(500), "p90": millis(900), "p99": millis(990), "p999": millis(999), "max": millis(1_000)})
    }

    /// In a line.
    pub(crate) fn to_text(&self) -> String {
        let [p50, p90, p99, p999, max] = [500, 900, 990, 999, 1_000].map(|per_mille| self.per_mille(per_mille));
        format!("p50 {p50:.2?}, p90 {p90:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}, longest {max:.2?}")
    }
}

/// Three digits behind the point are more than any of these figures is worth.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(millis: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::default();
        millis.into_iter().for_each(|millis| tally.succeeded(Duration::from_millis(millis)));
        tally
    }

    #[test]
    fn a_percentile_is_the_shortest_that_so_many_did_not_exceed() {
        let percentile = |millis: std::ops::RangeInclusive<u64>, percent| {
            tally(millis.rev()).latencies().percentile(percent).as_millis()
        };
        assert_eq!((percentile(1..=100, 50), percentile(1..=100, 99), percentile(1..=100, 100)), (50, 99, 100));
        assert_eq!((percentile(1..=1_000, 99), percentile(1..=3, 50), percentile(7..=7, 1)), (990, 2, 7));
        assert_eq!(percentile(1..=10, 0), 1);
    }

    #[test]
    fn of_a_thousand_the_999th_is_the_last_but_one() {
        let latencies = tally(1..=1_000).latencies();
        assert_eq!(
            latencies.to_json(),
            json!({"p50": 500.0, "p90": 900.0, "p99": 990.0, "p999": 999.0, "max": 1000.0})
        );
        assert!(latencies.to_text().ends_with("p99.9 999.00ms, longest 1.00s"), "{}", latencies.to_text());
    }

    #[test]
    fn of_nothing_every_figure_is_zero() {
        let tally = Tally::default();
        assert_eq!(tally.latencies().percentile(99), Duration::ZERO);
        assert_eq!(tally.per_second(Duration::from_secs(1)), 0.0);
        assert_eq!(self::tally([1]).per_second(Duration::ZERO), 0.0);
    }

    #[test]
    fn merging_keeps_every_latency_and_counts_failures_by_reason() {
        let mut all = tally([3, 1]);
        all.failed("busy".to_owned());
        let mut other = tally([2]);
        other.failed("busy".to_owned());
        other.failed("timeout".to_owned());
        all.merge(other);
        assert_eq!(all.succeeded_count(), 3);
        assert_eq!(all.failures(), &BTreeMap::from([("busy".to_owned(), 2), ("timeout".to_owned(), 1)]));
        assert_eq!(all.latencies().percentile(100), Duration::from_millis(3));
    }

    #[test]
    fn failures_do_not_count_as_done() {
        let mut tally = tally([1; 10]);
        tally.failed("busy".to_owned());
        assert_eq!(tally.per_second(Duration::from_secs(2)), 5.0);
        assert_eq!(tally.latencies().to_json(), json!({"p50": 1.0, "p90": 1.0, "p99": 1.0, "p999": 1.0, "max": 1.0}));
    }
}
