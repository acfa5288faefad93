//! What a commit may do.

use countersign_core::ports::{
    challenges::{
        Close, CloseChallenge, CreateChallenge, CreateOutcome, DecideChallenge, DecideOutcome, EnterCode,
        EnterCodeOutcome, TypedCode,
    },
    devices::RotateKeysOutcome,
    enrollments::{ClaimOutcome, ConfirmOutcome},
    leases::{FAR_AHEAD_MILLIS, TakeLease},
    notifications::{FinishOutcome, NotificationKind, NotificationVerdict},
};
use countersign_proto::{
    ids::{DeviceId, UserId},
    jose::sha256,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, Decision, DeviceStatus, UserVerification, VerificationMode},
};

use super::{Oracle, Registration};
use crate::simulation::{
    node::Vault,
    store::{Command, Open, Outcome, StatusOutcome},
    tables::{Challenge, Tables, Writes},
};
use countersign_core::device::StatusChange;

/// Wrong codes that end an enrollment (protocol 4.4).
const WRONG_CODES: u32 = 5;
/// Pushes that a window of ten minutes is judged by, and its length (protocol 9).
const REMEMBERED: usize = 20;
const WINDOW_SECONDS: i64 = 600;
/// Wrong numbers in a row after which only a person unlocks (protocol 9).
const ENDLESS: u32 = 100;

impl Oracle {
    /// A transaction commits at this step; `before` is what it finds.
    pub(crate) fn commits(&mut self, step: u64, before: &Tables, open: &Open, vault: &Vault) {
        let Some(writes) = &open.writes else { return };
        self.once(step, &open.command);
        for (id, after) in &writes.challenges {
            if let Some(was) = before.challenges.get(id).filter(|was| was.status != ChallengeStatus::Pending) {
                let same = (was.status, was.reason, was.decided_at, was.device, &was.response)
                    == (after.status, after.reason, after.decided_at, after.device, &after.response);
                self.must(step, same, || format!("{id} was {:?} and becomes {:?}", was.status, after.status));
            }
        }
        match (&open.command, &open.outcome) {
            (Command::Create(command, _), Outcome::Created(CreateOutcome::Created(_))) => {
                self.created(step, command, writes);
            }
            (Command::Decide(command), Outcome::Decided(DecideOutcome::Won { .. })) => {
                if let Some(challenge) = before.challenges.get(&command.challenge_id) {
                    self.decided(step, command, challenge, vault);
                }
            }
            (Command::Close(command), _) => self.closed(step, command, before),
            (Command::Code(command), Outcome::Code(outcome)) => self.code(step, command, *outcome, before),
            (Command::Unlock(_, user), _) => {
                self.changes(*user, |person| (person.failures, person.locked_until) = (0, None))
            }
            (Command::Erase(_, user), Outcome::Done(true)) => {
                self.changes(*user, |person| person.is_erased = true);
                for device in self.registrations.values_mut().filter(|device| device.user == *user) {
                    device.status = DeviceStatus::Revoked;
                }
            }
            (Command::Lease(command), Outcome::Leased(true)) => self.leases(step, command),
            _ => self.device_commits(step, open, before),
        }
    }

    /// One command, one effect, however often it is run.
    fn once(&mut self, step: u64, command: &Command) {
        let id = match command {
            Command::Create(command, _) => command.stamp.command_id,
            Command::Decide(command) => command.stamp.command_id,
            Command::Close(command) => command.stamp.command_id,
            Command::Code(command) => command.stamp.command_id,
            Command::Rotate(command) => command.stamp.command_id,
            _ => return,
        };
        let is_new = self.commands.insert(id);
        self.must(step, is_new, || format!("command {id} takes effect twice"));
    }

    fn changes(&mut self, user: UserId, change: impl FnOnce(&mut super::Person)) {
        change(self.people.entry(user).or_default());
    }

    fn created(&mut self, step: u64, command: &CreateChallenge, writes: &Writes) {
        let (facts, at) = (&command.facts, command.stamp.at);
        self.numbers.insert(facts.id, command.number.clone());
        if let Some(key) = &command.idempotency {
            let place = (facts.client_id, key.key.clone());
            let live = self.idempotency.get(&place).filter(|(_, until)| at < *until).copied();
            self.must(step, live.is_none(), || format!("key {} makes {} after {live:?}", key.key, facts.id));
            self.idempotency.insert(place, (facts.id, at.plus_seconds(24 * 3_600)));
        }
        let rings = writes.notifications.values().flatten().any(|push| push.kind == NotificationKind::Challenge);
        let budget = facts.policy.pushes_per_user;
        let person = self.people.entry(facts.user.id).or_default();
        let is_erased = person.is_erased;
        if rings {
            let near = |rung: &&Timestamp| {
                rung.millis_since(at).max(at.millis_since(**rung)) < 1_000 * WINDOW_SECONDS.unsigned_abs()
            };
            let recent = person.rung.iter().rev().take(REMEMBERED).filter(near).count();
            person.rung.push(at);
            person.since_approval += 1;
            let is_within = recent < budget.per_10_minutes as usize && person.since_approval <= budget.since_approval;
            self.must(step, is_within, || format!("{} rings beyond the budget", facts.id));
        }
        self.must(step, !is_erased, || format!("{} is made for somebody who is erased", facts.id));
    }

    fn decided(&mut self, step: u64, command: &DecideChallenge, challenge: &Challenge, vault: &Vault) {
        let (id, at) = (command.challenge_id, command.stamp.at);
        self.decisions += 1;
        let facts = &challenge.text.facts;
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: &'static str| wrong.extend((!holds).then_some(what));
        must(challenge.status == ChallengeStatus::Pending, "was decided before");
        must(at < facts.expires_at, "is decided at or after its end");
        let (status, _) = command.end();
        let Some((key, claims)) = vault.responses.get(&command.response) else {
            return self.violated(step, format!("{id} is decided by what nobody signed"));
        };
        must(*key == command.key && claims.sub == id.to_string(), "is decided by another's response");
        must(claims.challenge_sha256 == sha256(&facts.jws), "is decided by who saw another text");
        let says = if status == ChallengeStatus::Denied { command.verdict.says_approve() } else { true };
        must((claims.decision == Decision::Approve) == says, "becomes what was not said");
        must(self.is_signer(command, challenge), "is decided by a key that is no active device's of its user");
        let shown = self.numbers.get(&id).cloned().flatten();
        let is_due = matches!(facts.policy.mode, VerificationMode::Enter | VerificationMode::Choose);
        let is_right = claims.number == shown && shown.is_some() == is_due;
        let is_counted = command.verdict == countersign_core::verify::Verdict::WrongNumber;
        must(status != ChallengeStatus::Approved || is_right, "is approved with a wrong number");
        must(!is_counted || !is_right, "is denied with the right number");
        must(
            status != ChallengeStatus::Approved || facts.policy.mode != VerificationMode::Display,
            "is approved unseen",
        );
        let person = self.people.entry(command.user_id).or_default();
        let is_locked = person.locked_until.is_some_and(|until| until > at);
        must(!command.verdict.says_approve() || !is_locked, "is answered by somebody who is locked");
        must(!person.is_erased, "is answered by somebody who is erased");
        if is_counted {
            fail(person, command.wrong_numbers_before_lock, at.plus_seconds(command.lock_seconds));
        } else if status == ChallengeStatus::Approved {
            person.since_approval = 0;
            self.approvals += 1;
            if facts.policy.mode == VerificationMode::Enter {
                (person.failures, person.locked_until) = (0, None);
            }
        }
        if let Some(code) = &command.code {
            self.codes.insert(id, (code.code.clone(), command.device_id));
        }
        self.violations.extend(wrong.into_iter().map(|what| (step, format!("{id} {what}"))));
    }

    /// Whether the command's key is an active device's of the challenge's user, asked, and able to check the person where
    /// that is due.
    fn is_signer(&self, command: &DecideChallenge, challenge: &Challenge) -> bool {
        let (facts, signed) = (&challenge.text.facts, &challenge.text.signed);
        let Some(device) = self.registrations.get(&command.device_id) else { return false };
        let is_uv = device.uv_key.as_ref() == Some(&command.key);
        let must_check = facts.policy.user_verification == UserVerification::Required && command.verdict.says_approve();
        device.status == DeviceStatus::Active
            && device.binding == Some(command.binding.id)
            && (device.key == command.key || is_uv)
            && (is_uv || !must_check)
            && device.user == facts.user.id
            && device.tenant == facts.tenant_id
            && signed.aud.contains(&command.device_id.to_string())
    }

    fn closed(&mut self, step: u64, command: &CloseChallenge, before: &Tables) {
        let Some(challenge) = before.challenges.get(&command.challenge_id) else { return };
        let is_over = command.stamp.at >= challenge.text.facts.expires_at;
        let is_expiry = command.how == Close::Expire;
        self.must(step, is_over == is_expiry, || {
            format!("{} is closed by {:?} at the wrong time", command.challenge_id, command.how)
        });
    }

    fn code(&mut self, step: u64, command: &EnterCode, outcome: EnterCodeOutcome, before: &Tables) {
        let (id, at) = (command.challenge_id, command.stamp.at);
        let ends = before.challenges.get(&id).map(|challenge| challenge.text.facts.expires_at);
        let device = self.codes.get(&id).and_then(|(_, device)| self.registrations.get(device));
        let is_shown = device.is_some_and(|device| device.status == DeviceStatus::Active);
        let shown = self.codes.get(&id).map(|(code, _)| code.clone());
        let person = self.people.entry(command.user_id).or_default();
        let is_locked = person.locked_until.is_some_and(|until| until > at);
        let mut is_right = true;
        match (&command.typed, outcome) {
            (TypedCode::Right { entered_seal }, EnterCodeOutcome::Approved) => {
                is_right = shown.as_ref() == Some(entered_seal);
                (person.failures, person.locked_until, person.since_approval) = (0, None, 0);
                self.approvals += 1;
            }
            _ => fail(person, command.wrong_numbers_before_lock, at.plus_seconds(command.lock_seconds)),
        }
        self.must(step, is_right && is_shown, || format!("{id} is approved by a code that no active device shows"));
        self.must(step, ends.is_some_and(|ends| at < ends), || format!("{id} takes a code after its end"));
        self.must(step, !is_locked, || format!("{id} takes a code of somebody who is locked"));
    }

    fn leases(&mut self, step: u64, command: &TakeLease) {
        let other = self.sweeper.filter(|(holder, until)| {
            let is_far = until.as_millis() > command.until.as_millis().saturating_add(FAR_AHEAD_MILLIS);
            *holder != command.holder && *until > command.now && !is_far
        });
        self.must(step, other.is_none(), || "a lease is taken from its holder".to_owned());
        self.sweeper = Some((command.holder, command.until));
    }

    fn device_commits(&mut self, step: u64, open: &Open, before: &Tables) {
        match (&open.command, &open.outcome) {
            (Command::Status(command), Outcome::Status(StatusOutcome::Changed(_))) => {
                let to = match command.change {
                    StatusChange::Suspend => DeviceStatus::Suspended,
                    StatusChange::Resume => DeviceStatus::Active,
                    StatusChange::Revoke(_) => DeviceStatus::Revoked,
                };
                let was = self.registrations.get(&command.device_id).map(|device| device.status);
                self.must(step, was != Some(DeviceStatus::Revoked), || "a revoked device comes back".to_owned());
                self.becomes(command.device_id, |device| device.status = to);
            }
            (Command::Rotate(command), Outcome::Rotated(RotateKeysOutcome::Rotated)) => {
                let device = self.registrations.get(&command.device_id);
                let may =
                    device.is_some_and(|device| device.status == DeviceStatus::Active && device.key == command.key);
                self.must(step, may, || format!("{} changes keys by another's wish", command.device_id));
                self.becomes(command.device_id, |device| {
                    device.binding = Some(command.binding.id);
                    if let Some(key) = &command.device_key {
                        device.key = key.thumbprint.clone();
                    }
                });
            }
            (Command::Claim(command), Outcome::Claimed(ClaimOutcome::Claimed)) => {
                let is_first = self.claimed.insert(command.enrollment_id, command.device_id).is_none();
                self.must(step, is_first, || format!("ticket {} makes a second device", command.enrollment_id));
                let registration = Registration {
                    tenant: command.stamp.tenant_id,
                    user: command.user_id,
                    status: DeviceStatus::PendingConfirmation,
                    key: command.device_key.thumbprint.clone(),
                    uv_key: None,
                    binding: None,
                };
                self.has(command.device_id, registration);
            }
            (Command::Confirm(command), Outcome::Confirmed(outcome)) => match outcome {
                ConfirmOutcome::Completed => {
                    let code = before.enrollments.get(&command.id).and_then(|row| row.code.clone());
                    self.must(step, code.as_ref() == Some(&command.code), || format!("{} by a wrong code", command.id));
                    self.becomes(command.device_id, |device| {
                        device.status = DeviceStatus::Active;
                        device.binding = Some(command.binding.id);
                    });
                }
                ConfirmOutcome::WrongCode { attempts_left } => {
                    let count = self.wrong_codes.entry(command.id).or_default();
                    *count += 1;
                    let is_counted = WRONG_CODES.checked_sub(*count) == Some(*attempts_left);
                    self.must(step, is_counted, || format!("{} forgets a wrong code", command.id));
                }
                _ => {}
            },
            _ => self.queue_commits(step, open),
        }
    }

    fn becomes(&mut self, id: DeviceId, change: impl FnOnce(&mut Registration)) {
        if let Some(device) = self.registrations.get_mut(&id) {
            change(device);
        }
    }

    fn queue_commits(&mut self, step: u64, open: &Open) {
        match (&open.command, &open.outcome) {
            (Command::ClaimPushes(_), Outcome::Pushes(leased)) => {
                for push in leased {
                    let device = self.registrations.get(&push.device_id);
                    let is_active = device.is_some_and(|device| device.status == DeviceStatus::Active);
                    self.must(step, is_active, || format!("{} is rung and is not active", push.device_id));
                    self.push_leases.insert(push.id, push.lease);
                }
            }
            (Command::FinishPush(command), Outcome::Finished(FinishOutcome::Stored)) => {
                let holds = self.push_leases.get(&command.leased.id) == Some(&command.leased.lease);
                self.must(step, holds, || format!("push {} is finished by a stale lease", command.leased.id));
                if !matches!(command.verdict, NotificationVerdict::RetryAt(..)) {
                    self.push_leases.remove(&command.leased.id);
                }
            }
            (Command::ClaimMessages { .. }, Outcome::Messages(leased)) => {
                self.message_leases.extend(leased.iter().map(|message| (message.id, message.lease)));
            }
            (Command::FinishMessage(command), Outcome::Finished(FinishOutcome::Stored)) => {
                let holds = self.message_leases.remove(&command.leased.id) == Some(command.leased.lease);
                self.must(step, holds, || format!("message {} is finished by a stale lease", command.leased.id));
            }
            _ => {}
        }
    }
}

fn fail(person: &mut super::Person, limit: u32, locked_until: Timestamp) {
    person.failures += 1;
    if person.failures >= ENDLESS {
        person.locked_until = Some(Timestamp::NEVER);
    } else if person.failures >= limit {
        person.locked_until = Some(locked_until);
    }
}
