//! What must be true of the rows: after each commit of the counters, at the end of everything.

use std::collections::BTreeMap;

use countersign_core::event::EventKind;
use countersign_proto::{
    ids::{DeviceId, UserId},
    vocabulary::{ChallengeStatus, DeviceStatus},
};

use super::Oracle;
use crate::simulation::tables::{MessageStatus, Tables};

impl Oracle {
    /// After a commit that touched these users.
    pub(crate) fn counters(&mut self, step: u64, tables: &Tables, users: &[UserId]) {
        for id in users {
            let (Some(user), Some(person)) = (tables.users.get(id), self.people.get(id)) else { continue };
            let is_pending = |status| status == ChallengeStatus::Pending;
            let own = tables.challenges.values().filter(|challenge| challenge.text.facts.user.id == *id);
            let pending = own.filter(|challenge| is_pending(challenge.status)).count();
            let devices = tables.devices.values().filter(|device| device.user == *id);
            let devices = devices.filter(|device| device.status != DeviceStatus::Revoked).count();
            let found = (user.failures, user.locked_until, user.pushes.since_approval);
            let expected = (person.failures, person.locked_until, person.since_approval);
            self.must(step, found == expected, || format!("{id} counts {found:?}, seen were {expected:?}"));
            let counted = (user.pushes.pending as usize, user.device_count as usize);
            let there = (pending, devices);
            self.must(step, counted == there, || {
                format!("{id} counts {counted:?} challenges and devices of {there:?}")
            });
        }
    }

    /// After a device stopped being active: nothing waits for it alone.
    pub(crate) fn barrier(
        &mut self,
        step: u64,
        tables: &Tables,
        device: DeviceId,
        at: countersign_proto::timestamp::Timestamp,
    ) {
        let is_active =
            |id: &DeviceId| self.registrations.get(id).is_some_and(|row| row.status == DeviceStatus::Active);
        if is_active(&device) {
            return;
        }
        let waits = tables.challenges.iter().find(|(id, challenge)| {
            let addressed = || tables.deliveries.keys().filter(|(challenge, _)| challenge == *id);
            challenge.status == ChallengeStatus::Pending
                && challenge.text.facts.expires_at > at
                && addressed().any(|(_, addressed)| *addressed == device)
                && !addressed().any(|(_, addressed)| is_active(addressed))
        });
        let waits = waits.map(|(id, _)| *id);
        self.must(step, waits.is_none(), || format!("{waits:?} still waits for {device}"));
    }

    /// At the end of everything: each challenge has one end, each end its event, each event its message, told at least
    /// once; what was acknowledged is there.
    pub(crate) fn finally(&mut self, step: u64, tables: &Tables) {
        let mut ends: BTreeMap<_, Vec<EventKind>> = BTreeMap::new();
        for event in tables.events.values() {
            let is_end = matches!(
                event.kind,
                EventKind::ChallengeApproved
                    | EventKind::ChallengeDenied
                    | EventKind::ChallengeExpired
                    | EventKind::ChallengeCancelled
            );
            if let Some(id) = event.subjects.challenge_id.filter(|_| is_end) {
                ends.entry(id).or_default().push(event.kind);
            }
            let message = tables.messages.get(&event.id);
            let is_own = message.is_some_and(|message| message.tenant == event.tenant_id);
            self.must(step, is_own, || format!("event {} has no message of its tenant", event.id));
        }
        for (id, challenge) in &tables.challenges {
            let kind = match challenge.status {
                ChallengeStatus::Pending => None,
                ChallengeStatus::Approved => Some(EventKind::ChallengeApproved),
                ChallengeStatus::Denied => Some(EventKind::ChallengeDenied),
                ChallengeStatus::Expired => Some(EventKind::ChallengeExpired),
                ChallengeStatus::Cancelled => Some(EventKind::ChallengeCancelled),
            };
            let kinds = ends.remove(id).unwrap_or_default();
            let is_one = kind.is_some_and(|kind| kinds == [kind]);
            self.must(step, is_one, || format!("{id} is {:?} and its events are {kinds:?}", challenge.status));
            let told = self.told.get(id).copied();
            let same = told.is_none_or(|told| (told.status, told.reason) == (challenge.status, challenge.reason));
            self.must(step, same, || format!("{id} was said to be {told:?} and is {:?}", challenge.status));
        }
        for (id, message) in &tables.messages {
            let is_told = match message.status {
                MessageStatus::Pending => false,
                MessageStatus::Delivered => self.arrived.contains(id),
                // Given up after a week, by a clock that jumped.
                MessageStatus::Failed => message.tries > 0,
            };
            self.must(step, is_told, || format!("message {id} is {:?} and did not arrive", message.status));
        }
        for (place, (id, _)) in self.idempotency.clone() {
            let is_there = tables.challenges.contains_key(&id);
            self.must(step, is_there, || format!("{id} of key {} is gone", place.1));
        }
    }
}
