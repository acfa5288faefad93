//! Webhooks: which events an address is told of, and when it is told again (protocol 13).
//!
//! Pure: no clock, no network, no secret. A message is told at least once, under an id that never changes; the schedule
//! lasts a week. To add a group of events: nothing, groups are the words before the full stop of the kinds.

mod schedule;

use std::{collections::BTreeSet, fmt, str::FromStr};

use countersign_proto::{ids::WebhookSecretId, timestamp::Timestamp};
use serde::{Deserialize, Serialize};

pub use self::schedule::{Failed, next_attempt, not_tried_until};
use crate::event::EventKind;

/// Webhooks of one organisation.
pub const MAX_WEBHOOKS: u32 = 10;
/// Characters of a URL.
pub const MAX_URL_CHARACTERS: usize = 2_048;
/// Characters of a description.
pub const MAX_DESCRIPTION_CHARACTERS: usize = 256;
/// How long a secret that was replaced may go on signing.
pub const MAX_OVERLAP_SECONDS: i64 = 7 * DAY;
/// How long it does if nobody says.
pub const USUAL_OVERLAP_SECONDS: i64 = DAY;
/// For how long a message is tried, at least.
pub const TRIED_SECONDS: i64 = 7 * DAY;
/// An address at which everything has failed for so long is disabled.
pub const FAILING_SECONDS: i64 = 7 * DAY;
/// An address at which everything has failed for so long is served with the others that fail: one bad answer is none.
pub const FAILING_AFTER_SECONDS: i64 = 60;
/// How long a message that arrived is kept, so that it can be sent again.
pub const DELIVERED_KEPT_SECONDS: i64 = 7 * DAY;
/// How long one that did not.
pub const FAILED_KEPT_SECONDS: i64 = 30 * DAY;
/// How long one that waits for a disabled address: from when it was queued.
pub const WAITING_KEPT_SECONDS: i64 = 60 * DAY;
/// Attempts of a message that are shown: the latest.
pub const SHOWN_ATTEMPTS: usize = 40;
/// The word for all events.
pub const ALL_EVENTS: &str = "*";
/// The type of the message that an administrator asks for, to try an address out. No event of the log.
pub const TEST_KIND: &str = "webhook.test";

const DAY: i64 = 24 * 60 * 60;

/// The events that an address wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter(BTreeSet<String>);

/// A word that is neither a kind of event, nor a group like `challenge.*`, nor `*`; or no word at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be kinds of events, groups like `challenge.*`, or `*`; at least one")]
pub struct UnknownEvent;

impl EventFilter {
    /// All events, also those of kinds that a later version adds.
    pub fn all() -> Self {
        Self(BTreeSet::from([ALL_EVENTS.to_owned()]))
    }

    /// Of these words. The same word twice is one; beside `*` every other is idle.
    ///
    /// # Errors
    /// [`UnknownEvent`].
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, UnknownEvent> {
        let words: BTreeSet<String> = words.into_iter().map(str::to_owned).collect();
        let is_known = |word: &String| {
            word == ALL_EVENTS || EventKind::ALL.iter().any(|kind| kind.as_str() == word || group(*kind) == *word)
        };
        if words.is_empty() || !words.iter().all(is_known) {
            return Err(UnknownEvent);
        }
        Ok(if words.contains(ALL_EVENTS) { Self::all() } else { Self(words) })
    }

    /// The words, in the order of the alphabet.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether it is told of this kind.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.0.contains(ALL_EVENTS) || self.0.contains(kind.as_str()) || self.0.contains(&group(kind))
    }
}

/// The words with a blank before, between and behind them: so a statement finds one in the text.
impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, " {word}"))?;
        f.write_str(" ")
    }
}

impl FromStr for EventFilter {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::parse(text.split_whitespace())
    }
}

/// `challenge.*` of `challenge.approved`.
pub fn group(kind: EventKind) -> String {
    let word = kind.as_str();
    format!("{}.*", word.split('.').next().unwrap_or(word))
}

/// Whether somebody waits for it: it is tried again within seconds.
pub const fn is_urgent(kind: EventKind) -> bool {
    is_decision(kind) || matches!(kind, EventKind::ChallengeCodeShown)
}

/// Whether it is the end of a challenge: the message then has the challenge, with what proves the end.
pub const fn is_decision(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::ChallengeApproved
            | EventKind::ChallengeDenied
            | EventKind::ChallengeExpired
            | EventKind::ChallengeCancelled
    )
}

/// Whether an address is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookStatus {
    /// Of all that it wants.
    Enabled,
    /// Of nothing. What was queued before waits.
    Disabled(DisabledReason),
}

/// Why an address is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisabledReason {
    /// An administrator said so.
    Client,
    /// It answered 410.
    Gone,
    /// Everything failed for [`FAILING_SECONDS`].
    Failing,
}

impl DisabledReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Client, Self::Gone, Self::Failing];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// A secret that another one has replaced, and that still signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// What it is derived from.
    pub id: WebhookSecretId,
    /// Its end.
    pub until: Timestamp,
}

/// The secrets that sign beside the one that takes the place of `replaced` at `now`: that one until `until` (`None`: no
/// other signs any more), and the oldest that signs still. So nobody who asks again, because a reply was lost, takes
/// from receivers the secret that they have.
pub fn previous_secrets(
    before: &[PreviousSecret],
    replaced: WebhookSecretId,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Vec<PreviousSecret> {
    // Whole seconds: as it is stored, so that what was sealed is what is read.
    let Some(until) = until.map(Timestamp::floor_to_second) else { return Vec::new() };
    let oldest = before.iter().find(|secret| now < secret.until).copied();
    oldest.into_iter().chain([PreviousSecret { id: replaced, until }]).collect()
}

/// What has become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// It waits, or is on its way.
    Pending,
    /// The address took it.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One attempt to tell an address of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1, 2, 3 …
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration_millis: u64,
    /// What the address answered, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Our word for what went wrong, if something did. Never anything of the receiver's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The attempts with one more, the oldest left out beyond [`SHOWN_ATTEMPTS`].
pub fn with_attempt(mut attempts: Vec<Attempt>, attempt: Attempt) -> Vec<Attempt> {
    attempts.push(attempt);
    let surplus = attempts.len().saturating_sub(SHOWN_ATTEMPTS);
    attempts.drain(..surplus);
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_kinds_groups_and_everything() {
        let some = EventFilter::parse(["challenge.*", "device.revoked", "device.revoked"]).unwrap();
        assert_eq!(some.to_string(), " challenge.* device.revoked ");
        assert_eq!(some.to_string().parse(), Ok(some.clone()));
        assert!(some.wants(EventKind::ChallengeApproved) && some.wants(EventKind::DeviceRevoked));
        assert!(!some.wants(EventKind::DeviceAdded) && !some.wants(EventKind::ApiKeyAdded));
        let all = EventFilter::parse(["device.added", "*"]).unwrap();
        assert_eq!(all, EventFilter::all());
        assert!(EventKind::ALL.into_iter().all(|kind| all.wants(kind)));
    }

    #[test]
    fn a_filter_refuses_what_no_event_is_called() {
        for words in [vec![], vec![""], vec!["challenge"], vec!["chal*"], vec!["challenge.won"], vec!["*", "x"]] {
            assert_eq!(EventFilter::parse(words.clone()), Err(UnknownEvent), "{words:?}");
        }
        assert!(EventFilter::parse([TEST_KIND]).is_err(), "whoever asks for one gets it");
    }

    #[test]
    fn a_rotation_that_is_repeated_keeps_the_secret_that_receivers_have() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let id =
            |number: u128| -> WebhookSecretId { format!("01890a5d-ac96-774b-bcce-{number:012x}").parse().unwrap() };
        let day = |from: Timestamp| Some(from.plus_seconds(DAY));
        let ids = |secrets: &[PreviousSecret]| secrets.iter().map(|secret| secret.id).collect::<Vec<_>>();
        let once = previous_secrets(&[], id(1), day(now), now);
        assert_eq!(once, [PreviousSecret { id: id(1), until: now.plus_seconds(DAY) }]);
        let later = now.plus_millis(60_999);
        let twice = previous_secrets(&once, id(2), day(later), later);
        assert_eq!(ids(&twice), [id(1), id(2)]);
        let stored = serde_json::to_string(&twice).unwrap();
        assert_eq!(serde_json::from_str::<Vec<PreviousSecret>>(&stored).unwrap(), twice);
        assert_eq!(ids(&previous_secrets(&twice, id(3), day(later), later)), [id(1), id(3)], "two at most");
        let after = now.plus_seconds(DAY);
        assert_eq!(ids(&previous_secrets(&twice, id(3), day(after), after)), [id(2), id(3)], "none past its end");
        assert_eq!(previous_secrets(&twice, id(3), None, later), [], "one that has leaked ends with all others");
    }

    #[test]
    fn of_many_attempts_the_latest_are_kept() {
        let attempt = |number| Attempt {
            number,
            at: Timestamp::from_seconds(0),
            duration_millis: 0,
            status_code: None,
            error: None,
        };
        let attempts = (1..=100).fold(Vec::new(), |attempts, number| with_attempt(attempts, attempt(number)));
        assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), (61..=100).collect::<Vec<_>>());
    }
}
