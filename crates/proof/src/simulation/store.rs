//! A store in memory, under the contract of `countersign_core::ports` as the real one keeps it on PostgreSQL: a command
//! takes its rows' locks, judges what is committed then, and its writes become true at once with the commit, or not at
//! all. Between the two anything may happen on other nodes, and the node may die. With one node it is SQLite: whoever
//! writes is alone.
//!
//! Never decides what the rules in `core` decide; what the real store's statements require (the conditional write of each
//! change) is written here a second time, and [`Sabotage`] takes single conditions away, to show that their loss is seen.
//! To add a command: its variant, its rows in [`Store::rows`], its arm in [`Store::run`].

mod challenges;
mod devices;
mod endings;
mod enrollments;
mod queues;
mod sabotage;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) use self::{challenges::recorded, queues::LEASE_SECONDS, sabotage::Sabotage};
use countersign_core::{
    actor::Stamp,
    ports::{
        challenges::{
            CloseChallenge, CloseOutcome, CreateChallenge, CreateOutcome, DecideChallenge, DecideOutcome, EnterCode,
            EnterCodeOutcome,
        },
        devices::{ChangeDeviceStatus, RotateKeys, RotateKeysOutcome},
        enrollments::{ClaimOutcome, ClaimTicket, ConfirmEnrollment, ConfirmOutcome},
        leases::TakeLease,
        notifications::{ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification},
    },
};
use countersign_proto::{
    ids::{ApiClientId, ChallengeId, CommandId, DeviceId, EnrollmentId, EventId, NotificationId, UserId},
    jose::Thumbprint,
    timestamp::Timestamp,
    vocabulary::DeviceStatus,
};

use super::tables::{Tables, Text, View, Writes};

/// What a node asks of the store.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Create(Box<CreateChallenge>, Arc<Text>),
    Decide(Box<DecideChallenge>),
    Close(CloseChallenge),
    Code(Box<EnterCode>),
    Status(Box<ChangeDeviceStatus>),
    Rotate(Box<RotateKeys>),
    Unlock(Stamp, UserId),
    Erase(Stamp, UserId),
    Invite(Box<Invitation>),
    Claim(Box<ClaimTicket>),
    Confirm(Box<ConfirmEnrollment>),
    ExpireEnrollment(Stamp, EnrollmentId),
    Lease(TakeLease),
    ClaimPushes(ClaimNotifications),
    FinishPush(Box<FinishNotification>),
    ExpirePushes(Timestamp),
    ClaimMessages { lease: CommandId, now: Timestamp },
    FinishMessage(FinishMessage),
}

/// A new enrollment of somebody who is known.
#[derive(Debug, Clone)]
pub(crate) struct Invitation {
    pub(crate) stamp: Stamp,
    pub(crate) id: EnrollmentId,
    pub(crate) user: UserId,
    pub(crate) ticket: countersign_core::digest::Digest,
    pub(crate) expires_at: Timestamp,
}

/// A message that a worker sends.
#[derive(Debug, Clone)]
pub(crate) struct LeasedMessage {
    pub(crate) id: EventId,
    pub(crate) is_urgent: bool,
    pub(crate) queued_at: Timestamp,
    pub(crate) tries: u32,
    pub(crate) lease: CommandId,
}

/// What came of sending it. `again_at`: when it did not arrive and is not given up.
#[derive(Debug, Clone)]
pub(crate) struct FinishMessage {
    pub(crate) leased: LeasedMessage,
    pub(crate) was_delivered: bool,
    pub(crate) again_at: Option<Timestamp>,
}

/// What came of changing a device's status.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatusOutcome {
    Changed(Vec<ChallengeId>),
    Already(DeviceStatus),
    Impossible(DeviceStatus),
    StaleKey,
    NotFound,
}

/// What the store answers.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Created(CreateOutcome),
    Decided(DecideOutcome),
    Closed(CloseOutcome),
    Code(EnterCodeOutcome),
    Status(StatusOutcome),
    Rotated(RotateKeysOutcome),
    Claimed(ClaimOutcome),
    Confirmed(ConfirmOutcome),
    Leased(bool),
    Pushes(Vec<LeasedNotification>),
    Finished(FinishOutcome),
    Messages(Vec<LeasedMessage>),
    Done(bool),
    /// Nobody knows what happened.
    Unavailable,
}

/// What is locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Database,
    User(UserId),
    Device(DeviceId),
    Challenge(ChallengeId),
    Key(Thumbprint),
    Idempotency(ApiClientId, String),
    Enrollment(EnrollmentId),
    Notification(NotificationId),
    Message(EventId),
    Lease(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Alone,
}

#[derive(Debug)]
enum Held {
    Shared(BTreeSet<u64>),
    Alone(u64),
}

/// A transaction that has judged, and is not committed.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) node: usize,
    pub(crate) command: Command,
    pub(crate) outcome: Outcome,
    /// `None`: it is rolled back.
    pub(crate) writes: Option<Writes>,
    rows: Vec<Row>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) tables: Tables,
    pub(crate) sabotage: Option<Sabotage>,
    /// SQLite: one writer at a time.
    is_single: bool,
    held: BTreeMap<Row, Held>,
    open: BTreeMap<u64, Open>,
    next: u64,
}

impl Store {
    pub(crate) fn new(is_single: bool, sabotage: Option<Sabotage>) -> Self {
        Self { tables: Tables::default(), sabotage, is_single, held: BTreeMap::new(), open: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn is_sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    /// BEGIN, up to before the COMMIT; the command back if somebody holds one of its rows: it waits.
    pub(crate) fn begin(&mut self, node: usize, command: Command) -> Result<u64, Box<Command>> {
        let rows = if self.is_single { vec![(Row::Database, Mode::Alone)] } else { self.rows(&command) };
        if !rows.iter().all(|(row, mode)| self.is_free(row, *mode)) {
            return Err(Box::new(command));
        }
        let number = self.next;
        self.next += 1;
        for (row, mode) in &rows {
            match (self.held.get_mut(row), mode) {
                (Some(Held::Shared(holders)), Mode::Shared) => {
                    holders.insert(number);
                }
                (_, Mode::Shared) => {
                    self.held.insert(row.clone(), Held::Shared(BTreeSet::from([number])));
                }
                (_, Mode::Alone) => {
                    self.held.insert(row.clone(), Held::Alone(number));
                }
            }
        }
        let mut view = View::new(&self.tables);
        let (commits, outcome) = self.run(&mut view, &command);
        let writes = commits.then_some(view.writes);
        let rows = rows.into_iter().map(|(row, _)| row).collect();
        self.open.insert(number, Open { node, command, outcome, writes, rows });
        Ok(number)
    }

    /// Ends a transaction: its locks are free. Whoever calls this applies its writes at once, or never.
    pub(crate) fn end(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        for row in &open.rows {
            let is_free = match self.held.get_mut(row) {
                Some(Held::Alone(holder)) => *holder == number,
                Some(Held::Shared(holders)) => {
                    holders.remove(&number);
                    holders.is_empty()
                }
                None => false,
            };
            if is_free {
                self.held.remove(row);
            }
        }
        Some(open)
    }

    /// What a transaction has found, and does not tell before its commit.
    pub(crate) fn outcome(&self, number: u64) -> Option<&Outcome> {
        self.open.get(&number).map(|open| &open.outcome)
    }

    /// The node is gone, and with it its connections: nothing of their transactions stays.
    pub(crate) fn drop_node(&mut self, node: usize) {
        let lost: Vec<u64> =
            self.open.iter().filter(|(_, open)| open.node == node).map(|(number, _)| *number).collect();
        for number in lost {
            self.end(number);
        }
    }

    fn is_free(&self, row: &Row, mode: Mode) -> bool {
        match self.held.get(row) {
            None => true,
            Some(Held::Shared(_)) => mode == Mode::Shared,
            Some(Held::Alone(_)) => false,
        }
    }

    /// The rows that a command locks before it judges.
    fn rows(&self, command: &Command) -> Vec<(Row, Mode)> {
        use Mode::{Alone, Shared};
        let mut rows = match command {
            Command::Create(create, _) => {
                let key = create.idempotency.as_ref();
                let key = key.map(|key| (Row::Idempotency(create.facts.client_id, key.key.clone()), Alone));
                [(Row::User(create.facts.user.id), Alone)].into_iter().chain(key).collect()
            }
            Command::Decide(decide) => {
                let mut rows = vec![(Row::Challenge(decide.challenge_id), Alone)];
                if !self.is_sabotaged(Sabotage::NoLocks) {
                    rows.extend([(Row::User(decide.user_id), Alone), (Row::Device(decide.device_id), Shared)]);
                    rows.extend(self.pending(decide.user_id));
                }
                rows
            }
            Command::Close(close) => {
                vec![(Row::User(close.user_id), Alone), (Row::Challenge(close.challenge_id), Alone)]
            }
            Command::Code(code) => vec![
                (Row::User(code.user_id), Alone),
                (Row::Device(code.device_id), Shared),
                (Row::Challenge(code.challenge_id), Alone),
            ],
            Command::Status(change) => self.device_alone(change.device_id, !self.is_sabotaged(Sabotage::NoLocks)),
            Command::Rotate(rotate) => self.device_alone(rotate.device_id, false),
            Command::Unlock(_, user) => vec![(Row::User(*user), Alone)],
            Command::Erase(_, user) => {
                let devices = self.tables.devices.iter().filter(|(_, device)| device.user == *user);
                let devices = devices.map(|(id, _)| (Row::Device(*id), Alone));
                [(Row::User(*user), Alone)].into_iter().chain(devices).chain(self.pending(*user)).collect()
            }
            Command::Invite(invitation) => vec![(Row::User(invitation.user), Alone)],
            Command::Claim(claim) => vec![
                (Row::User(claim.user_id), Alone),
                (Row::Enrollment(claim.enrollment_id), Alone),
                (Row::Key(claim.device_key.thumbprint.clone()), Alone),
            ],
            Command::Confirm(confirm) => self.enrollment_alone(confirm.id),
            Command::ExpireEnrollment(_, id) => self.enrollment_alone(*id),
            Command::Lease(take) => vec![(Row::Lease(take.name), Alone)],
            Command::ClaimPushes(claim) => self.free_pushes(claim),
            Command::FinishPush(finish) => {
                let device = (Row::Device(finish.leased.device_id), Alone);
                vec![device, (Row::Notification(finish.leased.id), Alone)]
            }
            Command::ExpirePushes(now) => self.expired_pushes(*now),
            Command::ClaimMessages { now, .. } => self.free_messages(*now),
            Command::FinishMessage(finish) => vec![(Row::Message(finish.leased.id), Alone)],
        };
        rows.extend(self.pushes_about(&rows));
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        rows.dedup_by(|one, other| one.0 == other.0);
        rows
    }

    /// The pushes about locked challenges: a challenge that ends takes them back.
    fn pushes_about(&self, rows: &[(Row, Mode)]) -> Vec<(Row, Mode)> {
        let is_locked = |id: ChallengeId| rows.iter().any(|(row, _)| *row == Row::Challenge(id));
        let about = self.tables.notifications.iter().filter(|(_, push)| push.challenge.is_some_and(is_locked));
        about.map(|(id, _)| (Row::Notification(*id), Mode::Alone)).collect()
    }

    fn pending(&self, user: UserId) -> Vec<(Row, Mode)> {
        let pending = View::new(&self.tables).pending_of(user);
        pending.into_iter().map(|id| (Row::Challenge(id), Mode::Alone)).collect()
    }

    /// A device that is about to change, its user, and if `all` what only waits for it.
    fn device_alone(&self, id: DeviceId, all: bool) -> Vec<(Row, Mode)> {
        let mut rows = vec![(Row::Device(id), Mode::Alone)];
        if let Some(device) = self.tables.devices.get(&id) {
            rows.push((Row::User(device.user), Mode::Alone));
            if all {
                rows.extend(self.pending(device.user));
            }
        }
        rows
    }

    fn enrollment_alone(&self, id: EnrollmentId) -> Vec<(Row, Mode)> {
        let mut rows = vec![(Row::Enrollment(id), Mode::Alone)];
        if let Some(enrollment) = self.tables.enrollments.get(&id) {
            rows.push((Row::User(enrollment.user), Mode::Alone));
            rows.extend(enrollment.device.map(|device| (Row::Device(device), Mode::Alone)));
        }
        rows
    }

    /// Judges a command; whether what it wrote stays, and what its caller is told.
    fn run(&self, view: &mut View<'_>, command: &Command) -> (bool, Outcome) {
        match command {
            Command::Create(command, text) => self.create(view, command, text),
            Command::Decide(command) => self.decide(view, command),
            Command::Close(command) => self.close(view, command),
            Command::Code(command) => self.code(view, command),
            Command::Status(command) => self.status(view, command),
            Command::Rotate(command) => self.rotate(view, command),
            Command::Unlock(stamp, user) => self.unlock(view, stamp, *user),
            Command::Erase(stamp, user) => self.erase(view, stamp, *user),
            Command::Invite(command) => self.invite(view, command),
            Command::Claim(command) => self.claim(view, command),
            Command::Confirm(command) => self.confirm(view, command),
            Command::ExpireEnrollment(stamp, id) => self.expire_enrollment(view, stamp, *id),
            Command::Lease(command) => self.lease(view, command),
            Command::ClaimPushes(command) => self.claim_pushes(view, command),
            Command::FinishPush(command) => self.finish_push(view, command),
            Command::ExpirePushes(now) => self.expire_pushes(view, *now),
            Command::ClaimMessages { lease, now } => self.claim_messages(view, *lease, *now),
            Command::FinishMessage(command) => self.finish_message(view, command),
        }
    }
}

impl Command {
    /// Whether it knows its own traces when it is run again after a COMMIT that nobody answered. As the real store says.
    pub(crate) fn finds_itself(&self) -> bool {
        matches!(
            self,
            Self::Create(..)
                | Self::Decide(_)
                | Self::Close(_)
                | Self::Code(_)
                | Self::Rotate(_)
                | Self::Lease(_)
                | Self::FinishPush(_)
                | Self::ClaimPushes(_)
                | Self::ClaimMessages { .. }
                | Self::FinishMessage(_)
        )
    }
}
