//! Decisions whose evidence is gone: what has to be true of them all the same.
//!
//! Without it nothing proves a decision, so little is believed: that it happened in its challenge's life, that it was
//! written down when it happened, and that there is a reason for its evidence to be gone. Whoever slips one in that
//! looks old is found by its place in the log; one that looks new has to have evidence.

use std::collections::HashMap;

use super::export::Absence;
use crate::{api::events::Event, ids::UserId, timestamp::Timestamp};

/// A challenge lives at most so long.
const LONGEST_LIFE_SECONDS: i64 = 600;
/// How far the clocks of two nodes may be off.
const SKEW_SECONDS: i64 = 60;
/// How much later than others of its time an event may be written down.
const LATE_SECONDS: i64 = 300;

/// What the log says of those that went.
#[derive(Default)]
pub(super) struct Absences {
    /// Older challenges may have been deleted.
    kept_since: Option<Timestamp>,
    /// The newest time so far.
    newest: Option<Timestamp>,
    /// The last decision of each person whose evidence is said to be erased.
    said_erased: HashMap<UserId, (u64, Timestamp)>,
    /// Where and when a person was erased.
    erased: HashMap<UserId, (u64, Timestamp)>,
}

impl Absences {
    pub(super) fn new(kept_since: Option<Timestamp>) -> Self {
        Self { kept_since, ..Self::default() }
    }

    /// Whether a decision may be without its evidence; else why not. Before [`Self::follow`] of the same event.
    pub(super) fn judge(&mut self, event: &Event, absence: Absence) -> Result<(), &'static str> {
        let made_at = event.challenge_id.ok_or("it names no challenge")?.made_at();
        let at = event.created_at;
        let is_its_time = at >= made_at.plus_seconds(-SKEW_SECONDS)
            && at <= made_at.plus_seconds(LONGEST_LIFE_SECONDS + SKEW_SECONDS);
        if !is_its_time {
            return Err("its time is not its challenge's");
        }
        if self.newest.is_some_and(|newest| at.plus_seconds(LATE_SECONDS) < newest) {
            return Err("it is older than what was written down before it");
        }
        match absence {
            Absence::Deleted if self.kept_since.is_some_and(|since| made_at < since) => Ok(()),
            Absence::Deleted => Err("it is not old enough to be deleted"),
            Absence::Erased => {
                let user = event.user_id.ok_or("it names no person")?;
                self.said_erased.insert(user, (event.position, at));
                Ok(())
            }
            Absence::Missing => Err("it should be there"),
        }
    }

    pub(super) fn follow(&mut self, event: &Event) {
        self.newest = self.newest.max(Some(event.created_at));
        if event.kind == "user.erased"
            && let Some(user) = event.user_id
        {
            self.erased.entry(user).or_insert((event.position, event.created_at));
        }
    }

    /// Decisions that are said to be erased of people of whom the log does not say so afterwards.
    pub(super) fn unfounded(&self) -> Vec<(u64, UserId)> {
        let is_unfounded = |user: &UserId, (position, at): (u64, Timestamp)| {
            // Of the same moment, on two nodes, either may be written down first.
            !self
                .erased
                .get(user)
                .is_some_and(|(place, time)| *place > position || time.plus_seconds(SKEW_SECONDS) >= at)
        };
        let said = self.said_erased.iter().filter(|(user, said)| is_unfounded(user, **said));
        said.map(|(user, (position, _))| (*position, *user)).collect()
    }
}
