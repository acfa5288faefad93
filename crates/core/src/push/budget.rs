//! How often a user is rung (protocol 9): whether a new challenge rings, or is found by pulling only.
//!
//! Decided from columns of the user's row by whoever holds that row, so that no race of nodes passes a limit by one.
//! Limits stop pushes, never sign-ins: nothing here refuses a challenge. Nothing here counts rows.
//! To add a limit: its word in [`Suppression`], what it is judged by in [`PushCounters`], its place in
//! [`PushCounters::judge`].

use std::str::FromStr;

use countersign_proto::timestamp::Timestamp;

use crate::{limits::MAX_PENDING_PER_USER, policy::EffectivePolicy};

/// What `per_10_minutes` of a budget means.
pub const WINDOW_SECONDS: i64 = 600;
/// Pushes remembered of a user: as many as the largest budget asks for.
const REMEMBERED: usize = 20;

/// Why a challenge rings nobody although its caller wished so: `last_error` of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppression {
    /// Pushes have stopped for a while after a report of fraud.
    Reported,
    /// Pushes have stopped for a while after several denials in a row.
    Denials,
    /// More challenges of the user wait than `max_pending_per_user` says.
    PendingLimit,
    /// `pushes_per_user.per_10_minutes` is spent.
    PushBudget,
    /// `pushes_per_user.since_approval` is spent.
    ApprovalBudget,
}

impl Suppression {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Reported, Self::Denials, Self::PendingLimit, Self::PushBudget, Self::ApprovalBudget];

    /// The word on the wire, in the database and in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Denials => "denials",
            Self::PendingLimit => "pending-limit",
            Self::PushBudget => "push-budget",
            Self::ApprovalBudget => "push-budget-since-approval",
        }
    }
}

impl FromStr for Suppression {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word).ok_or(())
    }
}

/// When a user was last rung for a challenge, in the order in which that happened, as the database has it: unix
/// milliseconds between blanks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentPushes(Vec<Timestamp>);

impl RecentPushes {
    /// Those that count at `now`. One further ahead than the window is long was written under a clock that was wrong: it
    /// must not silence the user until then.
    fn within(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let (from, to) = (now.plus_seconds(-WINDOW_SECONDS), now.plus_seconds(WINDOW_SECONDS));
        self.0.iter().copied().filter(move |at| *at > from && *at < to)
    }

    /// With one more, and of all of them the latest. None is forgotten for its time: what does not count by the clock of
    /// this node still does by the clock of another, which would else ring as often again.
    #[must_use]
    pub fn with(&self, now: Timestamp) -> Self {
        let mut all: Vec<_> = self.0.iter().copied().chain([now]).collect();
        Self(all.split_off(all.len().saturating_sub(REMEMBERED)))
    }

    /// As the database has it.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|at| at.as_millis().to_string()).collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for RecentPushes {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_whitespace().map(|at| at.parse().map(Timestamp::from_millis)).collect::<Result<_, _>>().map(Self)
    }
}

/// A user's counters, read under the user's lock; the new challenge is among the pending ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushCounters {
    /// Pending challenges.
    pub pending: u32,
    /// When the user was rung.
    pub recent: RecentPushes,
    /// How often since the user last approved.
    pub since_approval: u32,
    /// Nobody is rung until then.
    pub stopped_until: Option<Timestamp>,
    /// Whether a report of fraud stands.
    pub is_reported: bool,
}

/// What is left of a user's limits after a creation, for the caller's `RateLimit` (protocol 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Challenges that would still ring now, as far as reports and budget go.
    pub pushes_left: u32,
    /// Seconds until there is one more; absent if time alone brings none, or none is missing.
    pub next_push_in_seconds: Option<i64>,
    /// Challenges that may still be made while none ends.
    pub pending_left: u32,
}

impl PushCounters {
    /// Why a challenge at `now` rings nobody; `None`: it rings.
    pub fn judge(&self, policy: &EffectivePolicy, now: Timestamp) -> Option<Suppression> {
        let budget = policy.pushes_per_user;
        if self.is_stopped(now) {
            let reason = if self.is_reported { Suppression::Reported } else { Suppression::Denials };
            return Some(reason);
        }
        if self.pending > policy.max_pending_per_user {
            return Some(Suppression::PendingLimit);
        }
        if self.rung(now) >= budget.per_10_minutes {
            return Some(Suppression::PushBudget);
        }
        (self.since_approval >= budget.since_approval).then_some(Suppression::ApprovalBudget)
    }

    /// After a challenge at `now` that rings.
    #[must_use]
    pub fn rang(self, now: Timestamp) -> Self {
        Self { recent: self.recent.with(now), since_approval: self.since_approval.saturating_add(1), ..self }
    }

    /// What is left.
    pub fn standing(&self, policy: &EffectivePolicy, now: Timestamp) -> Standing {
        let budget = policy.pushes_per_user;
        let pending_left = MAX_PENDING_PER_USER.saturating_sub(self.pending);
        if let Some(until) = self.stopped_until.filter(|_| self.is_stopped(now)) {
            let seconds = i64::try_from(until.millis_since(now).div_ceil(1_000)).unwrap_or(i64::MAX);
            return Standing { pushes_left: 0, next_push_in_seconds: Some(seconds), pending_left };
        }
        let in_window = budget.per_10_minutes.saturating_sub(self.rung(now));
        let until_approval = budget.since_approval.saturating_sub(self.since_approval);
        // The oldest one that counts makes room when its ten minutes are over; an approval alone renews the other.
        let oldest = self.recent.within(now).min().filter(|_| in_window < until_approval);
        let next_push_in_seconds = oldest.map(|at| {
            let millis = at.plus_seconds(WINDOW_SECONDS).millis_since(now);
            i64::try_from(millis.div_ceil(1_000)).unwrap_or(i64::MAX)
        });
        Standing { pushes_left: in_window.min(until_approval), next_push_in_seconds, pending_left }
    }

    fn is_stopped(&self, now: Timestamp) -> bool {
        self.stopped_until.is_some_and(|until| until > now)
    }

    fn rung(&self, now: Timestamp) -> u32 {
        u32::try_from(self.recent.within(now).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PolicyRequest, PushBudget, effective};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn policy() -> EffectivePolicy {
        effective(&Policy::default(), &PolicyRequest::default()).unwrap()
    }

    /// Rings whenever that is allowed, at these seconds; what became of each.
    fn ring_at(seconds: impl IntoIterator<Item = i64>) -> Vec<Option<Suppression>> {
        let (policy, mut counters) = (policy(), PushCounters::default());
        let ring = |seconds| {
            let now = NOW.plus_seconds(seconds);
            // Through the database and back.
            let text = counters.recent.to_text();
            let outcome = counters.judge(&policy, now);
            counters = PushCounters { recent: text.parse().unwrap(), ..counters.clone() };
            if outcome.is_none() {
                counters = counters.clone().rang(now);
            }
            outcome
        };
        seconds.into_iter().map(ring).collect()
    }

    #[test]
    fn no_ten_minutes_see_more_pushes_than_the_budget_and_each_makes_room_after_its_own() {
        let rings = ring_at([0, 10, 20, 30, 40, 41, 599, 600, 601, 609, 610]);
        let spent = Some(Suppression::PushBudget);
        let expected = [None, None, None, None, None, spent, spent, None, spent, spent, None];
        assert_eq!(rings, expected);
    }

    #[test]
    fn ten_pushes_without_an_approval_are_the_last() {
        let rings = ring_at((0..20).map(|number| number * 200));
        assert!(rings[..10].iter().all(Option::is_none));
        assert!(rings[10..].iter().all(|outcome| *outcome == Some(Suppression::ApprovalBudget)), "{rings:?}");
    }

    #[test]
    fn whatever_else_is_left_a_report_or_denials_stop_all_pushes_until_their_time_is_over() {
        let stopped = |is_reported| PushCounters {
            stopped_until: Some(NOW.plus_seconds(1)),
            is_reported,
            ..PushCounters::default()
        };
        assert_eq!(stopped(true).judge(&policy(), NOW), Some(Suppression::Reported));
        assert_eq!(stopped(false).judge(&policy(), NOW), Some(Suppression::Denials));
        assert_eq!(stopped(true).judge(&policy(), NOW.plus_seconds(1)), None);
        let standing = stopped(true).standing(&policy(), NOW);
        assert_eq!((standing.pushes_left, standing.next_push_in_seconds), (0, Some(1)));
    }

    #[test]
    fn the_challenge_beyond_the_pending_limit_rings_nobody() {
        let with = |pending| PushCounters { pending, ..PushCounters::default() };
        assert_eq!(with(3).judge(&policy(), NOW), None);
        assert_eq!(with(4).judge(&policy(), NOW), Some(Suppression::PendingLimit));
    }

    #[test]
    fn a_budget_of_nothing_rings_nobody() {
        for budget in
            [PushBudget { per_10_minutes: 0, since_approval: 9 }, PushBudget { per_10_minutes: 9, since_approval: 0 }]
        {
            let policy = EffectivePolicy { pushes_per_user: budget, ..policy() };
            assert!(PushCounters::default().judge(&policy, NOW).is_some());
            assert_eq!(PushCounters::default().standing(&policy, NOW).pushes_left, 0);
        }
    }

    #[test]
    fn what_is_left_is_told_with_the_time_until_there_is_more() {
        let fresh = PushCounters { pending: 1, ..PushCounters::default() };
        let standing = fresh.standing(&policy(), NOW);
        assert_eq!(standing, Standing { pushes_left: 5, next_push_in_seconds: None, pending_left: 19 });
        let rung = fresh.rang(NOW).rang(NOW.plus_seconds(100));
        let standing = rung.standing(&policy(), NOW.plus_seconds(200));
        assert_eq!(standing, Standing { pushes_left: 3, next_push_in_seconds: Some(400), pending_left: 19 });
        let waits_for_an_approval = PushCounters { since_approval: 10, ..rung };
        let standing = waits_for_an_approval.standing(&policy(), NOW.plus_seconds(200));
        assert_eq!((standing.pushes_left, standing.next_push_in_seconds), (0, None));
    }

    #[test]
    fn a_clock_that_was_wrong_once_silences_nobody_for_long() {
        let ahead = |seconds: i64| RecentPushes(vec![NOW.plus_seconds(seconds); 5]);
        let with = |recent| PushCounters { recent, ..PushCounters::default() };
        assert_eq!(with(ahead(599)).judge(&policy(), NOW), Some(Suppression::PushBudget));
        assert_eq!(with(ahead(600)).judge(&policy(), NOW), None);
    }

    #[test]
    fn a_node_whose_clock_is_wrong_makes_no_other_forget_what_it_has_rung() {
        let policy = policy();
        let mut counters = PushCounters::default();
        for _ in 0..policy.pushes_per_user.per_10_minutes {
            assert_eq!(counters.judge(&policy, NOW), None);
            counters = counters.rang(NOW);
        }
        for seconds in [-3_600, 3_600, -365 * 86_400] {
            counters = counters.rang(NOW.plus_seconds(seconds));
            assert_eq!(counters.judge(&policy, NOW), Some(Suppression::PushBudget), "after {seconds}");
        }
    }

    #[test]
    fn no_more_is_remembered_than_the_largest_budget_asks_for() {
        let mut recent = RecentPushes::default();
        for _ in 0..50 {
            recent = recent.with(NOW);
        }
        assert_eq!(recent.0.len(), REMEMBERED);
        assert!("17 x".parse::<RecentPushes>().is_err());
        assert_eq!("".parse(), Ok(RecentPushes::default()));
    }

    #[test]
    fn each_reason_reads_back_from_its_word() {
        for reason in Suppression::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
    }
}
