//! What follows when a challenge ends: the user's counters, its pushes, its event; and what a device or a person that is
//! gone leaves behind.

use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects},
    limits::{DENIAL_PAUSES_SECONDS, FAILURES_UNTIL_ENDLESS_LOCK},
    webhook::is_urgent,
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeliveryState, DeviceStatus, EnrollmentStatus},
};

use super::{Outcome, Sabotage, Store};
use crate::simulation::tables::{Message, MessageStatus, View};

/// What happens to a user's counters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Effect {
    /// Nothing else.
    Released,
    /// The person approved; a right number or code proves it.
    Approval { is_proven: bool },
    /// The person denied.
    Denial,
    /// A wrong number or code: the `limit`th in a row locks.
    Failure { limit: u32, locked_until: Timestamp },
}

/// How a challenge ends: the event says the same.
pub(super) type End = (ChallengeStatus, Option<ChallengeReason>, EventKind);

impl Store {
    /// Writes an event, and queues its message.
    #[expect(clippy::unused_self, reason = "called like its neighbours")]
    pub(super) fn tell(&self, view: &mut View<'_>, event: Event) {
        let message = Message {
            tenant: event.tenant_id,
            is_urgent: is_urgent(event.kind),
            status: MessageStatus::Pending,
            queued_at: event.at,
            due_at: event.at,
            tries: 0,
            lease: None,
        };
        view.writes.messages.insert(event.id, message);
        view.writes.events.push(event);
    }

    /// Moves a user's counters, as `settle_users` does.
    pub(super) fn settle(&self, view: &mut View<'_>, stamp: &Stamp, user: UserId, ended: u32, effect: Effect) {
        let ended = if self.is_sabotaged(Sabotage::PendingNotReleased) { 0 } else { ended };
        let keeps_failures = self.is_sabotaged(Sabotage::CounterRolledBack);
        view.change_user(user, |user| {
            user.pushes.pending = user.pushes.pending.saturating_sub(ended);
            match effect {
                Effect::Released => {}
                Effect::Approval { is_proven } => {
                    user.pushes.since_approval = 0;
                    user.denials = 0;
                    if is_proven {
                        user.failures = 0;
                        user.locked_until = None;
                    }
                }
                Effect::Denial => {
                    let [second, third, further] = DENIAL_PAUSES_SECONDS;
                    let pause = match user.denials {
                        0 => None,
                        1 => Some(second),
                        2 => Some(third),
                        _ => Some(further),
                    };
                    user.denials = user.denials.saturating_add(1);
                    let until = pause.map(|seconds| stamp.at.plus_seconds(seconds));
                    user.pushes.stopped_until = user.pushes.stopped_until.max(until);
                }
                Effect::Failure { .. } if keeps_failures => {}
                Effect::Failure { limit, locked_until } => {
                    user.failures = user.failures.saturating_add(1);
                    if user.failures >= FAILURES_UNTIL_ENDLESS_LOCK {
                        user.locked_until = Some(Timestamp::NEVER);
                    } else if user.failures >= limit {
                        user.locked_until = Some(locked_until);
                    }
                }
            }
        });
    }

    /// Ends a challenge without looking whether it may; pushes and event with it, not the counters.
    pub(super) fn end_challenge(&self, view: &mut View<'_>, stamp: &Stamp, id: ChallengeId, end: End, at: Timestamp) {
        let (status, reason, kind) = end;
        let mut subjects = Subjects { challenge_id: Some(id), ..Subjects::default() };
        view.change_challenge(id, |challenge| {
            challenge.status = status;
            challenge.reason = reason;
            challenge.decided_at = Some(at);
            challenge.decision = stamp.command_id;
            challenge.number = None;
            if status != ChallengeStatus::Approved {
                challenge.code = None;
            }
            subjects.user_id = Some(challenge.text.facts.user.id);
        });
        self.tell(view, Event::new(stamp, kind, subjects));
        self.withdraw(view, stamp, id);
    }

    /// Takes back the pushes that nobody is sending.
    #[expect(clippy::unused_self, reason = "called like its neighbours")]
    pub(super) fn withdraw(&self, view: &mut View<'_>, stamp: &Stamp, id: ChallengeId) {
        let is_idle = |lease: Option<(_, Timestamp)>| lease.is_none_or(|(_, until)| until <= stamp.at);
        let about =
            view.base.notifications.iter().filter(|(_, push)| push.challenge == Some(id) && is_idle(push.lease));
        let unsent: Vec<_> = about.map(|(id, push)| (*id, push.device)).collect();
        for (push, device) in unsent {
            view.writes.notifications.insert(push, None);
            view.writes.deliveries.insert((id, device), DeliveryState::Withdrawn);
        }
    }

    /// `not_me`: the user's other pending challenges end, and pushes stop for a while. Returns how many ended.
    pub(super) fn end_reported(&self, view: &mut View<'_>, stamp: &Stamp, user: UserId, quiet_seconds: i64) -> u32 {
        let in_time =
            |id: &ChallengeId| view.challenge(*id).is_some_and(|challenge| challenge.text.facts.expires_at > stamp.at);
        let others: Vec<_> = view.pending_of(user).into_iter().filter(in_time).collect();
        let end = (ChallengeStatus::Cancelled, Some(ChallengeReason::Reported), EventKind::ChallengeCancelled);
        for id in &others {
            self.end_challenge(view, stamp, *id, end, stamp.at.floor_to_second());
        }
        view.change_user(user, |user| {
            let until = Some(stamp.at.plus_seconds(quiet_seconds));
            user.pushes.stopped_until = user.pushes.stopped_until.max(until);
            user.pushes.is_reported = true;
        });
        u32::try_from(others.len()).unwrap_or(u32::MAX)
    }

    /// The barrier's second half: what was addressed to this device and to no other active one ends, and what only it
    /// can complete.
    pub(super) fn cancel_challenges_of(
        &self,
        view: &mut View<'_>,
        stamp: &Stamp,
        (user, device): (UserId, DeviceId),
        reason: ChallengeReason,
    ) -> Vec<ChallengeId> {
        if self.is_sabotaged(Sabotage::NothingCancelled) {
            return Vec::new();
        }
        let is_orphan = |id: &ChallengeId| {
            let Some(challenge) = view.challenge(*id) else { return false };
            let addressed = || view.base.deliveries.keys().filter(|(challenge, _)| challenge == id);
            let is_active = |id: DeviceId| view.device(id).is_some_and(|row| row.status == DeviceStatus::Active);
            challenge.text.facts.expires_at > stamp.at
                && addressed().any(|(_, addressed)| *addressed == device)
                && (challenge.device == Some(device) || !addressed().any(|(_, device)| is_active(*device)))
        };
        let orphans: Vec<_> = view.pending_of(user).into_iter().filter(is_orphan).collect();
        let end = (ChallengeStatus::Cancelled, Some(reason), EventKind::ChallengeCancelled);
        for id in &orphans {
            self.end_challenge(view, stamp, *id, end, stamp.at.floor_to_second());
        }
        let ended = u32::try_from(orphans.len()).unwrap_or(u32::MAX);
        self.settle(view, stamp, user, ended, Effect::Released);
        orphans
    }

    pub(super) fn unlock(&self, view: &mut View<'_>, stamp: &Stamp, id: UserId) -> (bool, Outcome) {
        let Some(user) = view.user_of(stamp.tenant_id, id).cloned() else { return (false, Outcome::Done(false)) };
        if user.failures == 0 && user.locked_until.is_none() {
            return (false, Outcome::Done(true));
        }
        view.change_user(id, |user| {
            user.failures = 0;
            user.locked_until = None;
        });
        let subjects = Subjects { user_id: Some(id), ..Subjects::default() };
        self.tell(view, Event::new(stamp, EventKind::UserUnlocked, subjects));
        (true, Outcome::Done(true))
    }

    /// Erasure's first half: everything of the person ends, in one transaction.
    pub(super) fn erase(&self, view: &mut View<'_>, stamp: &Stamp, id: UserId) -> (bool, Outcome) {
        let user = view.user_of(stamp.tenant_id, id).filter(|user| !user.is_erased);
        if user.is_none() {
            return (false, Outcome::Done(false));
        }
        let devices = view.base.devices.iter().filter(|(_, device)| device.user == id);
        let devices: Vec<_> = devices.map(|(id, _)| *id).collect();
        let mut gone = 0;
        for device in devices {
            let was_there = view.device(device).is_some_and(|device| device.status != DeviceStatus::Revoked);
            gone += u32::from(was_there);
            view.change_device(device, |device| device.status = DeviceStatus::Revoked);
            self.forget_pushes(view, device);
        }
        let pending = view.pending_of(id);
        let end = (ChallengeStatus::Cancelled, Some(ChallengeReason::UserErased), EventKind::ChallengeCancelled);
        for challenge in &pending {
            self.end_challenge(view, stamp, *challenge, end, stamp.at.floor_to_second());
        }
        self.settle(view, stamp, id, u32::try_from(pending.len()).unwrap_or(u32::MAX), Effect::Released);
        view.change_user(id, |user| {
            user.is_erased = true;
            user.devices_version += 1;
            user.device_count = user.device_count.saturating_sub(gone);
        });
        let is_open = |status| matches!(status, EnrollmentStatus::Pending | EnrollmentStatus::Claimed);
        let open = view.base.enrollments.iter().filter(|(_, row)| row.user == id && is_open(row.status));
        for enrollment in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            view.change_enrollment(enrollment, |enrollment| enrollment.status = EnrollmentStatus::Cancelled);
        }
        let subjects = Subjects { user_id: Some(id), ..Subjects::default() };
        self.tell(view, Event::new(stamp, EventKind::UserErased, subjects));
        (true, Outcome::Done(true))
    }
}
