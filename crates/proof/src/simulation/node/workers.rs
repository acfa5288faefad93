//! What a node does by itself: sweeping under a lease, pushing, telling webhooks. Each may stall or die with a lease in its
//! hands.

use countersign_core::{
    ports::{
        leases::TakeLease,
        notifications::{ClaimNotifications, FinishNotification, LeasedNotification, NotificationVerdict},
    },
    retry, webhook,
};
use countersign_proto::vocabulary::{ChallengeStatus, EnrollmentStatus, PushChannel};

use super::{Context, Job, Next, Stage};
use crate::simulation::store::{Command, FinishMessage, LEASE_SECONDS, LeasedMessage, Outcome};

/// How long the right to sweep holds.
const SWEEP_SECONDS: i64 = 4;

impl Context<'_> {
    pub(super) fn sweep(&mut self, job: &mut Job, outcome: Option<Outcome>) -> Next {
        match (std::mem::take(&mut job.stage), outcome) {
            (Stage::Start, None) => {
                let (holder, now, until) = (self.node.holder, self.now, self.now.plus_seconds(SWEEP_SECONDS));
                Next::Write(Command::Lease(TakeLease { name: "sweep", holder, now, until }))
            }
            (_, Some(Outcome::Leased(false))) => Next::Stop,
            (_, Some(Outcome::Leased(true))) => self.swept(job, self.due()),
            (Stage::Sweeping(left), _) => self.swept(job, left),
            _ => Next::Stop,
        }
    }

    #[expect(clippy::unused_self, reason = "called like its neighbours")]
    fn swept(&self, job: &mut Job, mut left: Vec<Command>) -> Next {
        let next = left.pop();
        job.stage = Stage::Sweeping(left);
        next.map_or(Next::Stop, Next::Write)
    }

    /// All that is due by this node's clock.
    fn due(&self) -> Vec<Command> {
        let (tables, now) = (&self.store.tables, self.now);
        let early = self.store.is_sabotaged(crate::simulation::store::Sabotage::EarlyExpiry);
        let is_due = |end| early || end <= now;
        let challenges = tables.challenges.values().filter(|row| row.status == ChallengeStatus::Pending);
        let challenges = challenges.map(|row| &row.text.facts).filter(|facts| is_due(facts.expires_at));
        let close = challenges.map(|facts| self.expiry(facts.tenant_id, facts.user.id, facts.id));
        let is_open = |status| matches!(status, EnrollmentStatus::Pending | EnrollmentStatus::Claimed);
        let enrollments = tables.enrollments.iter().filter(|(_, row)| is_open(row.status) && row.expires_at <= now);
        let expire = enrollments.map(|(id, row)| {
            let stamp = self.stamp(countersign_core::actor::Actor::System, row.tenant, now);
            Command::ExpireEnrollment(stamp, *id)
        });
        let pushes = tables.notifications.values().any(|push| push.expires_at <= now);
        close.chain(expire).chain(pushes.then_some(Command::ExpirePushes(now))).collect()
    }

    pub(super) fn push(&mut self, job: &mut Job, outcome: Option<Outcome>) -> Next {
        let claim = |context: &Self| {
            let channel = PushChannel::Fcm;
            let (lease, now) = (context.id(), context.now);
            let lease_seconds = LEASE_SECONDS;
            Next::Write(Command::ClaimPushes(ClaimNotifications { channel, lease, now, lease_seconds, limit: 4 }))
        };
        match (std::mem::take(&mut job.stage), outcome) {
            (Stage::Start, None) if self.store.tables.notifications.is_empty() => Next::Stop,
            (Stage::Start, None) => claim(self),
            (_, Some(Outcome::Pushes(leased))) => {
                job.stage = Stage::Pushing(leased);
                // The provider takes its time, perhaps more than the lease.
                Next::Later(self.pause())
            }
            (Stage::Pushing(mut leased), _) => match leased.pop() {
                Some(next) => {
                    job.stage = Stage::Pushing(leased);
                    let finish = self.verdict(next);
                    Next::Write(Command::FinishPush(Box::new(finish)))
                }
                None => Next::Stop,
            },
            _ => Next::Stop,
        }
    }

    fn verdict(&mut self, leased: LeasedNotification) -> FinishNotification {
        let thrown = if self.is_calm { 0 } else { self.dice.below(100) };
        let failed = retry::Failed {
            attempts: leased.attempts,
            queued_at: leased.id.made_at(),
            expires_at: leased.expires_at,
            retry_after_millis: None,
        };
        let verdict = match thrown {
            0..70 => NotificationVerdict::Delivered,
            70..90 => match retry::next_attempt(failed, self.now, self.entropy) {
                Some(at) => NotificationVerdict::RetryAt(at, String::new()),
                None => NotificationVerdict::Expired(None),
            },
            90..94 => NotificationVerdict::PutBack(self.now.plus_seconds(1)),
            94..97 => NotificationVerdict::Rejected(String::new()),
            _ => NotificationVerdict::TokenGone(String::new()),
        };
        FinishNotification { leased, verdict, at: self.now }
    }

    pub(super) fn tell(&mut self, job: &mut Job, outcome: Option<Outcome>) -> Next {
        match (std::mem::take(&mut job.stage), outcome) {
            (Stage::Start, None) => {
                let (lease, now) = (self.id(), self.now);
                Next::Write(Command::ClaimMessages { lease, now })
            }
            (_, Some(Outcome::Messages(leased))) if leased.is_empty() => Next::Stop,
            (_, Some(Outcome::Messages(leased))) => {
                job.stage = Stage::Telling(leased);
                Next::Later(self.pause())
            }
            (Stage::Telling(mut leased), _) => match leased.pop() {
                Some(next) => {
                    job.stage = Stage::Telling(leased);
                    self.told_webhook(next)
                }
                None => Next::Stop,
            },
            _ => Next::Stop,
        }
    }

    /// The message is sent; it may have arrived although nobody hears so.
    fn told_webhook(&mut self, leased: LeasedMessage) -> Next {
        let thrown = if self.is_calm { 0 } else { self.dice.below(100) };
        let failed = webhook::Failed {
            is_urgent: leased.is_urgent,
            tries: leased.tries,
            queued_at: leased.queued_at,
            retry_after_millis: None,
        };
        let id = leased.id;
        let was_delivered = thrown < 75;
        let again_at = if was_delivered { None } else { webhook::next_attempt(failed, self.now, self.entropy) };
        let finish = Command::FinishMessage(FinishMessage { leased, was_delivered, again_at });
        if thrown < 85 { Next::Arrived(id, finish) } else { Next::Write(finish) }
    }

    /// Mostly short, now and then longer than a lease.
    fn pause(&mut self) -> i64 {
        if self.is_calm {
            return 1;
        }
        let longest = if self.dice.percent(8) { 25_000 } else { 400 };
        i64::try_from(self.dice.below(longest)).unwrap_or(0)
    }
}
