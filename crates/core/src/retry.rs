//! When a push that failed for now is tried again (protocol 8.5).
//!
//! Exponential with full jitter, so that devices whose provider was away do not all come back at once; never before
//! the provider asked for, never at or after the end of what the push is worth.

use countersign_proto::timestamp::Timestamp;

use crate::entropy::Entropy;

/// The longest pause before the first repeat, in milliseconds; it doubles with each further attempt.
const BASE_MILLIS: i64 = 1_000;
/// The longest pause of all: a phone whose provider is back rings within this time.
const CAP_MILLIS: i64 = 15_000;

/// When to try again after `attempts` earlier failures and this one. `retry_after_millis` is what the provider asked
/// for: the pause is that and a jittered one on top. `None`: it would be too late, the push is dropped.
pub fn next_attempt(
    now: Timestamp,
    attempts: u32,
    retry_after_millis: Option<i64>,
    expires_at: Timestamp,
    entropy: &dyn Entropy,
) -> Option<Timestamp> {
    let bound = BASE_MILLIS.saturating_mul(1_i64.checked_shl(attempts.min(20)).unwrap_or(i64::MAX)).min(CAP_MILLIS);
    let pause = retry_after_millis.unwrap_or(0).max(0).saturating_add(1 + uniform(bound, entropy));
    let due = Timestamp::from_millis(now.as_millis().saturating_add(pause));
    (due < expires_at).then_some(due)
}

/// A number in `0..bound`. The bias of the remainder of 64 random bits is far below what jitter needs.
fn uniform(bound: i64, entropy: &dyn Entropy) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    let drawn = u64::from_be_bytes(bytes) % bound.max(1).unsigned_abs();
    i64::try_from(drawn).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const FAR: Timestamp = Timestamp::from_seconds(1_900_000_000);

    /// The same 64 bits each time.
    struct Drawn(u64);

    impl Entropy for Drawn {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0.to_be_bytes());
        }
    }

    fn pause(attempts: u32, retry_after_millis: Option<i64>, drawn: u64) -> i64 {
        let due = next_attempt(NOW, attempts, retry_after_millis, FAR, &Drawn(drawn)).unwrap();
        due.as_millis() - NOW.as_millis()
    }

    #[test]
    fn the_whole_span_is_used_and_doubles_up_to_the_cap() {
        for (attempts, bound) in [(0, 1_000), (1, 2_000), (2, 4_000), (3, 8_000), (4, 15_000), (40, 15_000)] {
            assert_eq!(pause(attempts, None, 0), 1, "from nothing");
            assert_eq!(pause(attempts, None, bound - 1), i64::try_from(bound).unwrap(), "to the bound");
            assert_eq!(pause(attempts, None, bound), 1, "and no further");
        }
    }

    #[test]
    fn a_provider_that_asks_for_time_gets_it_and_the_jitter_comes_on_top() {
        assert!(pause(0, Some(30_000), 0) > 30_000);
        assert_eq!(pause(0, Some(30_000), 999), 31_000);
        assert!(pause(0, Some(-5), 0) > 0, "an answer from the past is none");
    }

    #[test]
    fn nothing_is_due_at_or_after_its_end() {
        let end = NOW.plus_seconds(30);
        assert_eq!(next_attempt(NOW, 0, Some(30_000), end, &Drawn(0)), None);
        assert_eq!(next_attempt(NOW, 0, Some(29_999), end, &Drawn(0)), None);
        assert!(next_attempt(NOW, 0, Some(29_998), end, &Drawn(0)).is_some());
        assert_eq!(next_attempt(NOW, 0, Some(i64::MAX), end, &Drawn(7)), None);
    }
}
