//! How long what has ended is kept.

use countersign_core::limits::REPLAY_SECONDS;
use serde::Deserialize;

use super::{ConfigError, invalid};

/// How long what has ended is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days from the creation of a challenge; 0: for ever.
    pub challenge_days: u32,
    /// Days from the creation of an enrollment; 0: for ever.
    pub enrollment_days: u32,
}

// Whoever promises replays for longer has to keep for longer.
const _: () = assert!(REPLAY_SECONDS < (Retention::LEAST_DAYS as i64) * 24 * 60 * 60);

impl Retention {
    /// Longer than anything in the past that a caller may ask to be repeated: a day and what lives at most minutes.
    pub const LEAST_DAYS: u32 = 2;
    /// A hundred years.
    pub const MOST_DAYS: u32 = 36_500;

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let days = [("challenge_days", self.challenge_days), ("enrollment_days", self.enrollment_days)];
        for (name, days) in days {
            if days != 0 && !(Self::LEAST_DAYS..=Self::MOST_DAYS).contains(&days) {
                return Err(invalid(format!(
                    "retention.{name} must be 0 (keep for ever) or {} to {}: first replies are promised for 24 hours",
                    Self::LEAST_DAYS,
                    Self::MOST_DAYS
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_before_its_promised_time() {
        let check = |challenge_days, enrollment_days| Retention { challenge_days, enrollment_days }.check();
        for days in [0, 2, 90, 36_500] {
            assert!(check(days, days).is_ok(), "{days}");
        }
        let message = check(1, 90).map_err(|error| error.to_string());
        assert_eq!(
            message.err().as_deref(),
            Some(
                "configuration: retention.challenge_days must be 0 (keep for ever) or 2 to 36500: first replies are \
                 promised for 24 hours"
            )
        );
        assert!(check(90, 36_501).is_err());
        assert!(check(90, 1).is_err());
    }
}
