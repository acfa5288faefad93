//! Creating, deciding and closing challenges: the conditional writes of the real store's statements of these names.

use std::sync::Arc;

use countersign_core::{
    actor::Actor,
    challenge::status_at,
    event::{Event, EventKind, Subjects, derived_id},
    limits::{MAX_PENDING_PER_USER, MAX_WRONG_CODES},
    ports::{
        challenges::{
            Close, CloseChallenge, CloseOutcome, CreateChallenge, CreateOutcome, Created, DecideChallenge,
            DecideOutcome, EnterCode, EnterCodeOutcome, RecordedResponse, StoredCreation, TypedCode,
        },
        notifications::NotificationKind,
    },
    push,
    verify::Verdict,
};
use countersign_proto::vocabulary::{ChallengeReason, ChallengeStatus, DeliveryState, DeviceStatus};

use super::{Outcome, Sabotage, Store, endings::Effect};
use crate::simulation::tables::{Challenge, IdempotencyKey, Notification, Text, View};

impl Store {
    pub(super) fn create(&self, view: &mut View<'_>, command: &CreateChallenge, text: &Arc<Text>) -> (bool, Outcome) {
        let (stamp, facts) = (&command.stamp, &command.facts);
        if let Some(key) = &command.idempotency {
            let place = (facts.client_id, key.key.clone());
            let live = view.base.idempotency.get(&place).filter(|known| known.expires_at > stamp.at);
            if let Some(known) = live.filter(|_| !self.is_sabotaged(Sabotage::KeyTakenOver)) {
                if known.decision != stamp.command_id {
                    let challenge = view.challenge(known.challenge);
                    let is_pending = |challenge: &&Challenge| {
                        let ends = challenge.text.facts.expires_at;
                        status_at(challenge.status, ends, stamp.at) == ChallengeStatus::Pending
                    };
                    let number = challenge.filter(is_pending).and_then(|challenge| challenge.number.clone());
                    let stored = StoredCreation { body: known.body, reply: known.challenge.to_string(), number };
                    return (false, Outcome::Created(CreateOutcome::Stored(stored)));
                }
            } else {
                let row = IdempotencyKey {
                    body: key.body,
                    challenge: facts.id,
                    expires_at: key.expires_at,
                    decision: stamp.command_id,
                };
                view.writes.idempotency.insert(place, Some(row));
            }
        }
        let Some(user) = view.user_of(stamp.tenant_id, facts.user.id).cloned() else {
            return (false, Outcome::Created(CreateOutcome::DevicesChanged));
        };
        if view.challenge(facts.id).is_some() && !self.is_sabotaged(Sabotage::BlindRepeat) {
            // This command was committed before, and only the answer was lost.
            let standing = user.pushes.standing(&facts.policy, stamp.at);
            return (false, Outcome::Created(CreateOutcome::Created(Created { suppressed: None, standing })));
        }
        if user.devices_version != command.devices_version || user.is_erased {
            return (false, Outcome::Created(CreateOutcome::DevicesChanged));
        }
        if user.pushes.pending >= MAX_PENDING_PER_USER {
            let standing = user.pushes.standing(&facts.policy, stamp.at);
            return (false, Outcome::Created(CreateOutcome::TooManyPending(standing)));
        }
        let created = self.insert(view, command, Arc::clone(text));
        (true, Outcome::Created(CreateOutcome::Created(created)))
    }

    /// Challenge, counters, deliveries, pushes, event.
    fn insert(&self, view: &mut View<'_>, command: &CreateChallenge, text: Arc<Text>) -> Created {
        let (stamp, facts) = (&command.stamp, &command.facts);
        let challenge = Challenge {
            text,
            status: ChallengeStatus::Pending,
            reason: None,
            decided_at: None,
            device: None,
            response: None,
            binding: None,
            code: None,
            entered_seal: None,
            wrong_codes: 0,
            decision: stamp.command_id,
            number: command.number.clone(),
        };
        view.writes.challenges.insert(facts.id, challenge);
        let mut pushes = view.user(facts.user.id).map(|user| user.pushes.clone()).unwrap_or_default();
        pushes.pending = pushes.pending.saturating_add(1);
        let mut suppressed = None;
        if command.deliveries.iter().any(|delivery| delivery.state == DeliveryState::Queued) {
            suppressed = pushes.judge(&facts.policy, stamp.at);
            if suppressed.is_none() && !self.is_sabotaged(Sabotage::PushesNotCounted) {
                pushes = pushes.rang(stamp.at);
            }
        }
        let standing = pushes.standing(&facts.policy, stamp.at);
        view.change_user(facts.user.id, |user| user.pushes = pushes);
        for delivery in &command.deliveries {
            let state = if suppressed.is_some() { push::suppressed(delivery.state) } else { delivery.state };
            view.writes.deliveries.insert((facts.id, delivery.device_id), state);
            if state == DeliveryState::Queued {
                let id = derived_id(stamp.at, stamp.command_id, &format!("challenge {}", delivery.device_id));
                let row = Notification {
                    tenant: stamp.tenant_id,
                    kind: NotificationKind::Challenge,
                    device: delivery.device_id,
                    challenge: Some(facts.id),
                    due_at: stamp.at,
                    expires_at: facts.expires_at,
                    attempts: 0,
                    lease: None,
                };
                view.writes.notifications.insert(id, Some(row));
            }
        }
        let subjects = Subjects { user_id: Some(facts.user.id), challenge_id: Some(facts.id), ..Subjects::default() };
        self.tell(view, Event::new(stamp, EventKind::ChallengeCreated, subjects));
        Created { suppressed, standing }
    }

    pub(super) fn decide(&self, view: &mut View<'_>, command: &DecideChallenge) -> (bool, Outcome) {
        if !self.may_decide(view, command) {
            return (false, Outcome::Decided(self.lost(view, command)));
        }
        let (stamp, (status, reason)) = (&command.stamp, command.end());
        view.change_challenge(command.challenge_id, |challenge| {
            challenge.status = status;
            challenge.reason = reason;
            challenge.decided_at = (status != ChallengeStatus::Pending).then(|| stamp.at.floor_to_second());
            challenge.device = Some(command.device_id);
            challenge.response = Some(command.response.clone());
            challenge.binding = Some(command.binding.clone());
            challenge.decision = stamp.command_id;
            challenge.number = None;
            challenge.code = command.code.clone();
        });
        let is_report = reason == Some(ChallengeReason::NotMe);
        let others = if is_report {
            self.end_reported(view, stamp, command.user_id, command.quiet_seconds_after_report)
        } else {
            0
        };
        let is_shown = command.verdict == Verdict::ShowCode;
        let effect = match command.verdict {
            Verdict::Approve { with_number } => Effect::Approval { is_proven: with_number },
            Verdict::ShowCode => Effect::Released,
            Verdict::Deny(_) => Effect::Denial,
            Verdict::WrongNumber => Effect::Failure {
                limit: command.wrong_numbers_before_lock,
                locked_until: stamp.at.plus_seconds(command.lock_seconds),
            },
        };
        self.settle(view, stamp, command.user_id, others + u32::from(!is_shown), effect);
        let kind = match status {
            ChallengeStatus::Approved => EventKind::ChallengeApproved,
            ChallengeStatus::Pending => EventKind::ChallengeCodeShown,
            _ => EventKind::ChallengeDenied,
        };
        let subjects = Subjects {
            user_id: Some(command.user_id),
            device_id: Some(command.device_id),
            challenge_id: Some(command.challenge_id),
            ..Subjects::default()
        };
        self.tell(view, Event::new(stamp, kind, subjects));
        if !is_shown {
            self.withdraw(view, stamp, command.challenge_id);
        }
        let locked_until = view.user(command.user_id).and_then(|user| user.locked_until);
        let is_wrong = command.verdict == Verdict::WrongNumber;
        let locked_until = locked_until.filter(|until| is_wrong && *until > stamp.at);
        (true, Outcome::Decided(DecideOutcome::Won { locked_until }))
    }

    /// Step 11: the one conditional write.
    fn may_decide(&self, view: &View<'_>, command: &DecideChallenge) -> bool {
        let (stamp, now) = (&command.stamp, command.stamp.at);
        let Some(challenge) = view.challenge(command.challenge_id) else { return false };
        let Some(user) = view.user_of(stamp.tenant_id, command.user_id) else { return false };
        let Some(device) = view.device(command.device_id) else { return false };
        let facts = &challenge.text.facts;
        let is_open = challenge.status == ChallengeStatus::Pending || self.is_sabotaged(Sabotage::StatusUnchecked);
        let is_in_time = facts.expires_at > now || self.is_sabotaged(Sabotage::ExpiryUnchecked);
        let is_first = command.verdict != Verdict::ShowCode || challenge.response.is_none();
        let is_locked = command.verdict.says_approve() && user.locked_until.is_some_and(|until| until > now);
        let is_active = device.status == DeviceStatus::Active || self.is_sabotaged(Sabotage::DeviceUnchecked);
        let has_key = device.key == command.key || device.uv_key.as_ref() == Some(&command.key);
        let is_bound = device.binding.as_ref().map(|binding| binding.id) == Some(command.binding.id) && has_key;
        let is_own = facts.tenant_id == stamp.tenant_id
            && facts.user.id == command.user_id
            && device.tenant == stamp.tenant_id
            && device.user == command.user_id
            && view.base.deliveries.contains_key(&(command.challenge_id, command.device_id));
        is_own
            && is_open
            && is_in_time
            && is_first
            && is_active
            && (is_bound || self.is_sabotaged(Sabotage::BindingUnchecked))
            && (!is_locked || self.is_sabotaged(Sabotage::LockUnchecked))
    }

    /// What a command that changed nothing is told, in the protocol's order.
    fn lost(&self, view: &View<'_>, command: &DecideChallenge) -> DecideOutcome {
        let now = command.stamp.at;
        let challenge = view.challenge(command.challenge_id);
        let challenge = challenge.filter(|challenge| challenge.text.facts.user.id == command.user_id);
        let locked = view.user(command.user_id).and_then(|user| user.locked_until).filter(|until| *until > now);
        if let Some(challenge) = challenge {
            if challenge.decision == command.stamp.command_id && !self.is_sabotaged(Sabotage::BlindRepeat) {
                let is_wrong = command.verdict == Verdict::WrongNumber;
                return DecideOutcome::Won { locked_until: locked.filter(|_| is_wrong) };
            }
            if challenge.response.as_ref() == Some(&command.response) {
                return DecideOutcome::Repeat(recorded(challenge));
            }
        }
        let Some(device) = view.device(command.device_id) else { return DecideOutcome::StaleKey };
        if device.status != DeviceStatus::Active {
            return DecideOutcome::DeviceNotActive(device.status);
        }
        let is_current = device.key == command.key || device.uv_key.as_ref() == Some(&command.key);
        if !is_current || device.binding.as_ref().map(|binding| binding.id) != Some(command.binding.id) {
            return DecideOutcome::StaleKey;
        }
        let Some(challenge) = challenge else { return DecideOutcome::NotFound };
        match status_at(challenge.status, challenge.text.facts.expires_at, now) {
            ChallengeStatus::Pending => {}
            closed => return DecideOutcome::Closed(closed),
        }
        match locked.filter(|_| command.verdict.says_approve()) {
            Some(until) => DecideOutcome::Locked(until),
            None if command.verdict == Verdict::ShowCode && challenge.response.is_some() => DecideOutcome::AwaitingCode,
            None => DecideOutcome::NotFound,
        }
    }

    pub(super) fn close(&self, view: &mut View<'_>, command: &CloseChallenge) -> (bool, Outcome) {
        let (stamp, now) = (&command.stamp, command.stamp.at);
        let client = match stamp.actor {
            Actor::ApiClient { client_id, .. } => Some(client_id),
            Actor::Device(_) | Actor::Operator | Actor::System => None,
        };
        let found = view.challenge(command.challenge_id);
        let found = found.filter(|challenge| challenge.text.facts.tenant_id == stamp.tenant_id);
        let Some(challenge) = found.cloned() else { return (false, Outcome::Closed(CloseOutcome::NotFound)) };
        let facts = &challenge.text.facts;
        let is_expiry = command.how == Close::Expire;
        let is_own = command.how != Close::CancelByClient || Some(facts.client_id) == client;
        let is_due = (facts.expires_at <= now) == is_expiry || (is_expiry && self.is_sabotaged(Sabotage::EarlyExpiry));
        if challenge.status != ChallengeStatus::Pending || !is_own || !is_due {
            let outcome = if challenge.decision == stamp.command_id {
                CloseOutcome::Closed
            } else if is_own {
                match status_at(challenge.status, facts.expires_at, now) {
                    ChallengeStatus::Pending => CloseOutcome::NotDue,
                    closed => CloseOutcome::AlreadyClosed(closed),
                }
            } else {
                CloseOutcome::NotFound
            };
            return (false, Outcome::Closed(outcome));
        }
        let (status, reason, kind, at) = if is_expiry {
            (ChallengeStatus::Expired, None, EventKind::ChallengeExpired, facts.expires_at)
        } else {
            let reason = Some(ChallengeReason::Client);
            (ChallengeStatus::Cancelled, reason, EventKind::ChallengeCancelled, now.floor_to_second())
        };
        self.end_challenge(view, stamp, command.challenge_id, (status, reason, kind), at);
        self.settle(view, stamp, command.user_id, 1, Effect::Released);
        (true, Outcome::Closed(CloseOutcome::Closed))
    }

    pub(super) fn code(&self, view: &mut View<'_>, command: &EnterCode) -> (bool, Outcome) {
        let stamp = &command.stamp;
        if let Some(outcome) = self.code_obstacle(view, command) {
            return (false, Outcome::Code(outcome));
        }
        let (effect, outcome, end) = match &command.typed {
            TypedCode::Right { .. } => {
                let end = Some((ChallengeStatus::Approved, None, EventKind::ChallengeApproved));
                (Effect::Approval { is_proven: true }, EnterCodeOutcome::Approved, end)
            }
            TypedCode::Wrong => {
                let wrong_codes = view.challenge(command.challenge_id).map_or(0, |challenge| challenge.wrong_codes) + 1;
                let attempts_left = MAX_WRONG_CODES.saturating_sub(wrong_codes);
                let locked_until = stamp.at.plus_seconds(command.lock_seconds);
                let end = (ChallengeStatus::Denied, Some(ChallengeReason::WrongCode), EventKind::ChallengeDenied);
                let effect = Effect::Failure { limit: command.wrong_numbers_before_lock, locked_until };
                (effect, EnterCodeOutcome::Wrong { attempts_left }, (attempts_left == 0).then_some(end))
            }
        };
        view.change_challenge(command.challenge_id, |challenge| {
            challenge.decision = stamp.command_id;
            match &command.typed {
                TypedCode::Right { entered_seal } => challenge.entered_seal = Some(entered_seal.clone()),
                TypedCode::Wrong => challenge.wrong_codes += 1,
            }
        });
        if let Some(end) = end {
            self.end_challenge(view, stamp, command.challenge_id, end, stamp.at.floor_to_second());
        }
        self.settle(view, stamp, command.user_id, u32::from(end.is_some()), effect);
        (true, Outcome::Code(outcome))
    }

    /// Why a code is not judged.
    fn code_obstacle(&self, view: &View<'_>, command: &EnterCode) -> Option<EnterCodeOutcome> {
        let now = command.stamp.at;
        let Some(challenge) = view.challenge(command.challenge_id) else { return Some(EnterCodeOutcome::NotFound) };
        if challenge.decision == command.stamp.command_id && !self.is_sabotaged(Sabotage::BlindRepeat) {
            let attempts_left = MAX_WRONG_CODES.saturating_sub(challenge.wrong_codes);
            return Some(match command.typed {
                TypedCode::Right { .. } => EnterCodeOutcome::Approved,
                TypedCode::Wrong => EnterCodeOutcome::Wrong { attempts_left },
            });
        }
        match status_at(challenge.status, challenge.text.facts.expires_at, now) {
            ChallengeStatus::Pending => {}
            closed => return Some(EnterCodeOutcome::Closed(closed)),
        }
        let is_shown = challenge.response.as_ref() == Some(&command.response)
            && challenge.code.as_ref().map(|code| &code.seal) == Some(&command.seal);
        if !is_shown {
            return Some(EnterCodeOutcome::NotFound);
        }
        let locked = view.user(command.user_id).and_then(|user| user.locked_until).filter(|until| *until > now);
        if let Some(until) = locked {
            return Some(EnterCodeOutcome::Locked(until));
        }
        let device = view.device(command.device_id);
        let stands =
            device.is_some_and(|device| device.status == DeviceStatus::Active && device.binding == challenge.binding);
        (!stands).then_some(EnterCodeOutcome::DeviceChanged)
    }
}

/// The response that decided a challenge, or was shown its code.
pub(crate) fn recorded(challenge: &Challenge) -> RecordedResponse {
    RecordedResponse {
        tenant_id: challenge.text.facts.tenant_id,
        response: challenge.response.clone().unwrap_or_default(),
        status: challenge.status,
        reason: challenge.reason,
        decided_at: challenge.decided_at.unwrap_or(challenge.text.facts.expires_at),
        code: challenge.code.clone(),
    }
}
