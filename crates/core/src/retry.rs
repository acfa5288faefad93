//! When a push that failed for now is tried again (protocol 8.5).
//!
//! Exponential with full jitter, so that devices whose provider was away do not all come back at once; never before
//! the provider asked for, never at or after the end of what the push is worth.

use countersign_proto::timestamp::Timestamp;

use crate::entropy::Entropy;

/// The longest pause before the first repeat, in milliseconds; it doubles with each further attempt.
const BASE_MILLIS: i64 = 1_000;
/// The longest pause while a push is young: a phone whose provider is back rings within this time.
const CAP_MILLIS: i64 = 15_000;
/// Later the pause may be this part of its age: a notice that is worth sending for an hour is not tried 240 times.
const PART_OF_AGE: i64 = 8;

/// A push that failed for now.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    /// How often it had failed before.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// Not worth sending from then on.
    pub expires_at: Timestamp,
    /// What the provider asked for, in milliseconds from now: the pause is that and a jittered one on top.
    pub retry_after_millis: Option<i64>,
}

/// When to try again. `None`: it would be too late, the push is dropped.
pub fn next_attempt(failed: Failed, now: Timestamp, entropy: &dyn Entropy) -> Option<Timestamp> {
    let Failed { attempts, queued_at, expires_at, retry_after_millis } = failed;
    let age = i64::try_from(now.millis_since(queued_at)).unwrap_or(i64::MAX);
    let cap = CAP_MILLIS.max(age / PART_OF_AGE);
    let bound = BASE_MILLIS.saturating_mul(1_i64.checked_shl(attempts.min(20)).unwrap_or(i64::MAX)).min(cap);
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

    /// A push that has just been queued, and failed at once.
    const FIRST: Failed = Failed { attempts: 0, queued_at: NOW, expires_at: FAR, retry_after_millis: None };

    /// The same 64 bits each time.
    struct Drawn(u64);

    impl Entropy for Drawn {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0.to_be_bytes());
        }
    }

    fn pause(attempts: u32, retry_after_millis: Option<i64>, drawn: u64) -> i64 {
        let due = next_attempt(Failed { attempts, retry_after_millis, ..FIRST }, NOW, &Drawn(drawn)).unwrap();
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
        let expires_at = NOW.plus_seconds(30);
        let next = |retry_after_millis, drawn| {
            let failed = Failed { expires_at, retry_after_millis: Some(retry_after_millis), ..FIRST };
            next_attempt(failed, NOW, &Drawn(drawn))
        };
        assert_eq!(next(30_000, 0), None);
        assert_eq!(next(29_999, 0), None);
        assert!(next(29_998, 0).is_some());
        assert_eq!(next(i64::MAX, 7), None);
    }

    #[test]
    fn an_old_push_is_tried_less_and_less_often() {
        let longest = |age_seconds: i64| {
            let failed = Failed { attempts: 40, queued_at: NOW.plus_seconds(-age_seconds), ..FIRST };
            let bound = u64::try_from((age_seconds * 125).max(15_000)).unwrap();
            let due = next_attempt(failed, NOW, &Drawn(bound - 1)).unwrap();
            due.as_millis() - NOW.as_millis()
        };
        assert_eq!(longest(120), 15_000, "a challenge at its end");
        assert_eq!(longest(2_400), 300_000, "a notice after forty minutes");
    }
}
