//! When a message that did not arrive is sent again.
//!
//! Whoever waits for a decision is told at once: 0, 1, 2, 5 and 10 s after it. From then on, and for all else, the
//! pauses grow from five minutes to a day, with jitter, for a week: an address that was down comes back to everything.

use countersign_proto::timestamp::Timestamp;

use super::{DAY, TRIED_SECONDS};
use crate::entropy::Entropy;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// After each failure of what somebody waits for: it is sent 0, 1, 2, 5 and 10 s after it happened.
const URGENT_SECONDS: [i64; 4] = [1, 1, 3, 5];
/// After the first failure of anything else.
const USUAL_SECONDS: [i64; 1] = [5];
/// Then; the last one again and again.
const PATIENT_SECONDS: [i64; 9] =
    [5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 16 * HOUR, DAY];
/// A patient pause is longer by up to this part of itself, so that not everything comes back at once.
const JITTER: i64 = 5;

/// A message that did not arrive.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    /// Whether somebody waits for it.
    pub is_urgent: bool,
    /// How often it was tried since it was queued, this time included.
    pub tries: u32,
    /// When it was queued, or sent again by somebody's wish.
    pub queued_at: Timestamp,
    /// What the address asked for (`Retry-After`), in milliseconds from now; at most a day is granted.
    pub retry_after_millis: Option<i64>,
}

/// When to try again. `None`: never.
pub fn next_attempt(failed: Failed, now: Timestamp, entropy: &dyn Entropy) -> Option<Timestamp> {
    if now >= failed.queued_at.plus_seconds(TRIED_SECONDS) {
        return None;
    }
    let hasty: &[i64] = if failed.is_urgent { &URGENT_SECONDS } else { &USUAL_SECONDS };
    let done = usize::try_from(failed.tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = match hasty.get(done) {
        Some(seconds) => seconds.saturating_mul(1_000),
        None => {
            let number = done.saturating_sub(hasty.len());
            let seconds = PATIENT_SECONDS.get(number).or(PATIENT_SECONDS.last()).copied().unwrap_or(DAY);
            let millis = seconds.saturating_mul(1_000);
            millis.saturating_add(uniform(millis / JITTER, entropy))
        }
    };
    let asked = failed.retry_after_millis.unwrap_or(0).clamp(0, DAY * 1_000);
    Some(now.plus_millis(pause.max(asked)))
}

/// When to try what was not tried, because this server was short of something: one to two seconds later.
pub fn not_tried_until(now: Timestamp, entropy: &dyn Entropy) -> Timestamp {
    now.plus_millis(1_000 + uniform(1_000, entropy))
}

/// A number in `0..=bound`. The bias of the remainder of 64 random bits is far below what jitter needs.
fn uniform(bound: i64, entropy: &dyn Entropy) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    let drawn = u64::from_be_bytes(bytes) % bound.max(0).unsigned_abs().saturating_add(1);
    i64::try_from(drawn).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// The same 64 bits each time.
    struct Drawn(u64);

    impl Entropy for Drawn {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0.to_be_bytes());
        }
    }

    /// Seconds after the event at which a message is sent whose address refuses at once, the first at 0.
    fn times(is_urgent: bool, drawn: u64) -> Vec<i64> {
        let (mut now, mut times) = (NOW, vec![0]);
        for tries in 1.. {
            let failed = Failed { is_urgent, tries, queued_at: NOW, retry_after_millis: None };
            let Some(next) = next_attempt(failed, now, &Drawn(drawn)) else { break };
            now = next;
            times.push((now.as_millis() - NOW.as_millis()) / 1_000);
        }
        times
    }

    #[test]
    fn what_somebody_waits_for_is_sent_at_0_1_2_5_and_10_seconds_then_patiently() {
        let times = times(true, 0);
        assert_eq!(times[..7], [0, 1, 2, 5, 10, 310, 910]);
    }

    #[test]
    fn everything_else_is_sent_at_0_and_5_seconds_then_patiently() {
        let times = times(false, 0);
        assert_eq!(times[..4], [0, 5, 305, 905]);
    }

    #[test]
    fn no_message_is_given_up_before_a_week_and_none_is_tried_for_long_after() {
        for (is_urgent, drawn) in [(true, 0), (false, 0), (true, u64::MAX), (false, 17_280_000)] {
            let times = times(is_urgent, drawn);
            let last = *times.last().unwrap();
            assert!((TRIED_SECONDS..TRIED_SECONDS + 2 * DAY).contains(&last), "{times:?}");
            assert!(times.len() < 25, "{times:?}");
            assert!(times.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= DAY + DAY / JITTER));
        }
    }

    #[test]
    fn a_pause_is_longer_by_up_to_a_fifth_and_never_shorter() {
        let pause = |drawn| {
            let failed = Failed { is_urgent: false, tries: 2, queued_at: NOW, retry_after_millis: None };
            next_attempt(failed, NOW, &Drawn(drawn)).unwrap().as_millis() - NOW.as_millis()
        };
        assert_eq!((pause(0), pause(60_000), pause(60_001)), (300_000, 360_000, 300_000));
    }

    #[test]
    fn an_address_that_asks_for_time_gets_it_up_to_a_day() {
        let pause = |asked| {
            let failed = Failed { is_urgent: true, tries: 1, queued_at: NOW, retry_after_millis: Some(asked) };
            next_attempt(failed, NOW, &Drawn(0)).unwrap().as_millis() - NOW.as_millis()
        };
        assert_eq!((pause(-5), pause(500), pause(30_000), pause(i64::MAX)), (1_000, 1_000, 30_000, 86_400_000));
    }
}
