//! What workers lease: pushes, messages to webhooks, and the right to sweep.

use countersign_core::{
    challenge::status_at,
    ports::{
        leases::{FAR_AHEAD_MILLIS, TakeLease},
        notifications::{
            ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification, NotificationKind,
            NotificationVerdict,
        },
    },
};
use countersign_proto::{
    ids::{CommandId, EventId, NotificationId},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, DeliveryState, DeviceStatus},
};

use super::{FinishMessage, LeasedMessage, Mode, Outcome, Row, Sabotage, Store};
use crate::simulation::tables::{LeaseRow, MessageStatus, Notification, Tables, View};

/// How long a worker has a message or a push.
pub(crate) const LEASE_SECONDS: i64 = 10;
/// Taken at once.
const PORTION: usize = 4;

/// Each worker meets the same ones until they are leased: those due first.
fn due_pushes(tables: &Tables, now: Timestamp) -> Vec<NotificationId> {
    let mut due: Vec<_> = tables.notifications.iter().filter(|(_, push)| push.due_at <= now).collect();
    due.sort_by_key(|(id, push)| (push.due_at, **id));
    due.into_iter().map(|(id, _)| *id).collect()
}

fn due_messages(tables: &Tables, now: Timestamp) -> Vec<EventId> {
    let is_due = |status, due_at: Timestamp| status == MessageStatus::Pending && due_at <= now;
    let mut due: Vec<_> = tables.messages.iter().filter(|(_, row)| is_due(row.status, row.due_at)).collect();
    due.sort_by_key(|(id, message)| (!message.is_urgent, message.due_at, **id));
    due.into_iter().map(|(id, _)| *id).collect()
}

impl Store {
    fn is_sendable(&self, push: &Notification, now: Timestamp) -> bool {
        let device = self.tables.devices.get(&push.device);
        let is_active = |status| status == DeviceStatus::Active || self.is_sabotaged(Sabotage::RevokedRung);
        push.expires_at > now && device.is_some_and(|device| is_active(device.status) && !device.is_token_gone)
    }

    /// `SKIP LOCKED`: whoever suspends or revokes the device holds its row, and is skipped.
    pub(super) fn free_pushes(&self, claim: &ClaimNotifications) -> Vec<(Row, Mode)> {
        let row = |id: NotificationId| {
            let push = self.tables.notifications.get(&id).filter(|push| self.is_sendable(push, claim.now))?;
            let rows = [(Row::Notification(id), Mode::Alone), (Row::Device(push.device), Mode::Shared)];
            rows.iter().all(|(row, mode)| self.is_free(row, *mode)).then_some(rows)
        };
        due_pushes(&self.tables, claim.now).into_iter().filter_map(row).take(PORTION).flatten().collect()
    }

    pub(super) fn free_messages(&self, now: Timestamp) -> Vec<(Row, Mode)> {
        let is_free = |id: &EventId| self.is_free(&Row::Message(*id), Mode::Alone);
        let free = due_messages(&self.tables, now).into_iter().filter(is_free).take(PORTION);
        free.map(|id| (Row::Message(id), Mode::Alone)).collect()
    }

    pub(super) fn expired_pushes(&self, now: Timestamp) -> Vec<(Row, Mode)> {
        let row = |id: NotificationId| (Row::Notification(id), Mode::Alone);
        let expired = self.tables.notifications.iter().filter(|(_, push)| push.expires_at <= now);
        let free = expired.map(|(id, _)| row(*id)).filter(|(row, mode)| self.is_free(row, *mode));
        free.take(PORTION).collect()
    }

    pub(super) fn claim_pushes(&self, view: &mut View<'_>, command: &ClaimNotifications) -> (bool, Outcome) {
        let until = command.now.plus_seconds(command.lease_seconds);
        let mut leased = Vec::new();
        for (row, _) in self.held_or(command) {
            let Row::Notification(id) = row else { continue };
            let Some(push) = view.notification(id).cloned() else { continue };
            if self.is_over(view, &push, command.now) {
                view.writes.notifications.insert(id, None);
                if let Some(challenge) = push.challenge {
                    view.writes.deliveries.insert((challenge, push.device), DeliveryState::Withdrawn);
                }
                continue;
            }
            leased.push(LeasedNotification {
                id,
                tenant_id: push.tenant,
                kind: push.kind,
                device_id: push.device,
                challenge_id: push.challenge,
                push: PushBinding::None,
                push_updated_at: push.due_at,
                was_undeliverable: false,
                attempts: push.attempts,
                expires_at: push.expires_at,
                lease: command.lease,
                leased_until: until,
            });
            let attempts = push.attempts + 1;
            let push = Notification { lease: Some((command.lease, until)), due_at: until, attempts, ..push };
            view.writes.notifications.insert(id, Some(push));
        }
        (true, Outcome::Pushes(leased))
    }

    /// Where a transaction is alone in the database it locks no rows: what it takes is chosen here.
    fn held_or(&self, command: &ClaimNotifications) -> Vec<(Row, Mode)> {
        let row = |id: NotificationId| {
            let push = self.tables.notifications.get(&id).filter(|push| self.is_sendable(push, command.now));
            push.map(|_| (Row::Notification(id), Mode::Alone))
        };
        let mine = |row: &(Row, Mode)| self.is_single || self.is_mine(&row.0);
        due_pushes(&self.tables, command.now).into_iter().filter_map(row).filter(mine).take(PORTION).collect()
    }

    /// The transaction that judges now is the latest.
    fn is_mine(&self, row: &Row) -> bool {
        let latest = self.next.saturating_sub(1);
        matches!(self.held.get(row), Some(super::Held::Alone(holder)) if *holder == latest)
    }

    /// Whether it would ring for a challenge that has ended.
    #[expect(clippy::unused_self, reason = "called like its neighbours")]
    fn is_over(&self, view: &View<'_>, push: &Notification, now: Timestamp) -> bool {
        if push.kind != NotificationKind::Challenge {
            return false;
        }
        let challenge = push.challenge.and_then(|id| view.challenge(id));
        let status = challenge.map(|row| status_at(row.status, row.text.facts.expires_at, now));
        status != Some(ChallengeStatus::Pending)
    }

    pub(super) fn finish_push(&self, view: &mut View<'_>, command: &FinishNotification) -> (bool, Outcome) {
        let leased = &command.leased;
        let push = view.notification(leased.id).cloned();
        let stands = |push: &Notification| {
            self.is_sabotaged(Sabotage::StaleLease) || push.lease.map(|(lease, _)| lease) == Some(leased.lease)
        };
        let Some(push) = push.filter(stands) else { return (false, Outcome::Finished(FinishOutcome::StaleLease)) };
        let (state, again_at) = match &command.verdict {
            NotificationVerdict::Delivered => (DeliveryState::Delivered, None),
            NotificationVerdict::RetryAt(at, _) => (DeliveryState::Retrying, Some(*at)),
            NotificationVerdict::PutBack(at) => (DeliveryState::Queued, Some(*at)),
            NotificationVerdict::TokenGone(_) => (DeliveryState::TokenGone, None),
            NotificationVerdict::Undeliverable(_) | NotificationVerdict::Rejected(_) => (DeliveryState::Rejected, None),
            NotificationVerdict::Expired(_) => (DeliveryState::Expired, None),
        };
        if matches!(command.verdict, NotificationVerdict::TokenGone(_)) {
            view.change_device(leased.device_id, |device| device.is_token_gone = true);
        }
        let again = again_at.map(|due_at| Notification { lease: None, due_at, ..push });
        view.writes.notifications.insert(leased.id, again);
        if let Some(challenge) = leased.challenge_id {
            view.writes.deliveries.insert((challenge, leased.device_id), state);
        }
        (true, Outcome::Finished(FinishOutcome::Stored))
    }

    pub(super) fn expire_pushes(&self, view: &mut View<'_>, now: Timestamp) -> (bool, Outcome) {
        let expired = self.tables.notifications.iter().filter(|(_, push)| push.expires_at <= now);
        let expired = expired.filter(|(id, _)| self.is_single || self.is_mine(&Row::Notification(**id)));
        for (id, push) in expired {
            view.writes.notifications.insert(*id, None);
            if let Some(challenge) = push.challenge {
                view.writes.deliveries.insert((challenge, push.device), DeliveryState::Expired);
            }
        }
        (true, Outcome::Done(true))
    }

    pub(super) fn claim_messages(&self, view: &mut View<'_>, lease: CommandId, now: Timestamp) -> (bool, Outcome) {
        let mine = |id: &EventId| self.is_single || self.is_mine(&Row::Message(*id));
        let due: Vec<_> = due_messages(&self.tables, now).into_iter().filter(mine).take(PORTION).collect();
        let mut leased = Vec::new();
        for id in due {
            let Some(mut message) = self.tables.messages.get(&id).cloned() else { continue };
            message.tries += 1;
            message.lease = Some(lease);
            message.due_at = now.plus_seconds(LEASE_SECONDS);
            let (is_urgent, queued_at, tries) = (message.is_urgent, message.queued_at, message.tries);
            leased.push(LeasedMessage { id, is_urgent, queued_at, tries, lease });
            view.writes.messages.insert(id, message);
        }
        (true, Outcome::Messages(leased))
    }

    pub(super) fn finish_message(&self, view: &mut View<'_>, command: &FinishMessage) -> (bool, Outcome) {
        let stale = (false, Outcome::Finished(FinishOutcome::StaleLease));
        let Some(mut message) = self.tables.messages.get(&command.leased.id).cloned() else { return stale };
        if message.lease != Some(command.leased.lease) && !self.is_sabotaged(Sabotage::StaleLease) {
            return stale;
        }
        message.lease = None;
        match (command.was_delivered, command.again_at) {
            (true, _) => message.status = MessageStatus::Delivered,
            (false, Some(at)) => message.due_at = at,
            (false, None) => message.status = MessageStatus::Failed,
        }
        view.writes.messages.insert(command.leased.id, message);
        (true, Outcome::Finished(FinishOutcome::Stored))
    }

    pub(super) fn lease(&self, view: &mut View<'_>, command: &TakeLease) -> (bool, Outcome) {
        let far = command.until.plus_millis(FAR_AHEAD_MILLIS);
        let is_free = view.base.leases.get(command.name).is_none_or(|row| {
            row.holder == command.holder
                || row.until <= command.now
                || row.until > far
                || self.is_sabotaged(Sabotage::LeaseStolen)
        });
        if is_free {
            let row = LeaseRow { holder: command.holder, until: command.until };
            view.writes.leases.insert(command.name, Some(row));
        }
        (is_free, Outcome::Leased(is_free))
    }
}
