//! After the storm: nobody calls, nothing fails, clocks are right, and everything must settle.

use countersign_proto::{
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, EnrollmentStatus},
};

use super::{Happening, World};
use crate::simulation::tables::MessageStatus;

/// Rounds of the calm: more than any backlog needs.
const ROUNDS: usize = 400;

impl World<'_> {
    /// No more faults and no more calls: what is there must settle, as time goes on.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        for (_, happening) in std::mem::take(&mut self.queue) {
            if let Happening::Goes(..) | Happening::Begins(..) | Happening::Commits(..) | Happening::Follows { .. } =
                happening
            {
                self.queue_at(0, happening);
            }
        }
        for node in &mut self.nodes {
            (node.is_up, node.offset, node.drift) = (true, 0, 0);
        }
        for _ in 0..ROUNDS {
            while let Some(((time, _), happening)) = self.queue.pop_first() {
                self.time = self.time.max(time);
                self.tally.steps += 1;
                self.happens(happening);
            }
            if !self.oracle.violations.is_empty() || self.is_settled() {
                break;
            }
            self.time = self.next_due().max(self.time + 1);
            for work in 0..3 {
                self.queue_at(0, Happening::Works(0, work));
            }
        }
        if self.oracle.violations.is_empty() {
            self.oracle.finally(self.tally.steps, &self.store.tables);
        }
    }

    fn is_settled(&self) -> bool {
        let tables = &self.store.tables;
        let is_open = |status| matches!(status, EnrollmentStatus::Pending | EnrollmentStatus::Claimed);
        tables.messages.values().all(|message| message.status != MessageStatus::Pending)
            && tables.challenges.values().all(|challenge| challenge.status != ChallengeStatus::Pending)
            && tables.enrollments.values().all(|enrollment| !is_open(enrollment.status))
            && tables.notifications.is_empty()
    }

    /// The earliest time at which something is due that is not yet.
    fn next_due(&self) -> i64 {
        let tables = &self.store.tables;
        let messages =
            tables.messages.values().filter(|row| row.status == MessageStatus::Pending).map(|row| row.due_at);
        let waiting = tables.challenges.values().filter(|row| row.status == ChallengeStatus::Pending);
        let challenges = waiting.map(|row| row.text.facts.expires_at);
        let pushes = tables.notifications.values().flat_map(|row| [row.due_at, row.expires_at]);
        let enrollments = tables.enrollments.values().map(|row| row.expires_at);
        let all = messages.chain(challenges).chain(pushes).chain(enrollments);
        all.map(Timestamp::as_millis).filter(|at| *at > self.time).min().unwrap_or(self.time + 1_000)
    }
}
