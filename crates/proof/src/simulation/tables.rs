//! The rows of the simulated database, and a transaction's own view of them.
//!
//! Plain data in ordered maps: two runs of a seed meet rows in the same order. What is written is kept apart until the
//! commit, whole rows at a time, so that a transaction which judged what it did not lock loses updates here as it would
//! on a real database. To add a table: a map in [`Tables`], its map in [`Writes`], its line in [`Tables::apply`].

use std::{collections::BTreeMap, sync::Arc};

use countersign_core::{
    challenge::ChallengeFacts,
    device::{KeyRole, StoredBinding},
    digest::Digest,
    event::Event,
    ports::{challenges::DisplayedCode, leases::HolderId, notifications::NotificationKind, users::UserName},
    push::budget::PushCounters,
};
use countersign_proto::{
    ids::{ApiClientId, ChallengeId, CommandId, DeviceId, EnrollmentId, EventId, NotificationId, TenantId, UserId},
    jose::{Thumbprint, claims::ChallengeClaims},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeliveryState, DeviceStatus, EnrollmentStatus},
};

/// A user with the counters that guard them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    pub(crate) tenant: TenantId,
    pub(crate) name: UserName,
    pub(crate) devices_version: i64,
    pub(crate) device_count: u32,
    pub(crate) failures: u32,
    pub(crate) denials: u32,
    pub(crate) locked_until: Option<Timestamp>,
    pub(crate) pushes: PushCounters,
    pub(crate) is_erased: bool,
}

/// A device with its current keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Device {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) status: DeviceStatus,
    pub(crate) key: Thumbprint,
    pub(crate) uv_key: Option<Thumbprint>,
    pub(crate) binding: Option<StoredBinding>,
    pub(crate) keys_changed_at: Option<Timestamp>,
    pub(crate) is_token_gone: bool,
}

/// What was signed, and what the row says: neither ever changes.
#[derive(Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) facts: ChallengeFacts,
    pub(crate) signed: ChallengeClaims,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Challenge {
    pub(crate) text: Arc<Text>,
    pub(crate) status: ChallengeStatus,
    pub(crate) reason: Option<ChallengeReason>,
    pub(crate) decided_at: Option<Timestamp>,
    pub(crate) device: Option<DeviceId>,
    pub(crate) response: Option<String>,
    pub(crate) binding: Option<StoredBinding>,
    pub(crate) code: Option<DisplayedCode>,
    pub(crate) entered_seal: Option<String>,
    pub(crate) wrong_codes: u32,
    /// The command that last won the row.
    pub(crate) decision: CommandId,
    pub(crate) number: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdempotencyKey {
    pub(crate) body: Digest,
    pub(crate) challenge: ChallengeId,
    pub(crate) expires_at: Timestamp,
    pub(crate) decision: CommandId,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Enrollment {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) ticket: Digest,
    pub(crate) status: EnrollmentStatus,
    pub(crate) expires_at: Timestamp,
    pub(crate) device: Option<DeviceId>,
    pub(crate) key: Option<Thumbprint>,
    pub(crate) code: Option<String>,
    pub(crate) wrong_codes: u32,
}

/// A push that waits, or is being sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notification {
    pub(crate) tenant: TenantId,
    pub(crate) kind: NotificationKind,
    pub(crate) device: DeviceId,
    pub(crate) challenge: Option<ChallengeId>,
    pub(crate) due_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) lease: Option<(CommandId, Timestamp)>,
}

/// What has become of a message to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageStatus {
    Pending,
    Delivered,
    Failed,
}

/// An event on its way to its tenant's webhook.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) tenant: TenantId,
    pub(crate) is_urgent: bool,
    pub(crate) status: MessageStatus,
    pub(crate) queued_at: Timestamp,
    pub(crate) due_at: Timestamp,
    pub(crate) tries: u32,
    pub(crate) lease: Option<CommandId>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LeaseRow {
    pub(crate) holder: HolderId,
    pub(crate) until: Timestamp,
}

/// All that is durable: no crash of a node touches it.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) users: BTreeMap<UserId, User>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    /// Every key that was ever registered.
    pub(crate) keys: BTreeMap<Thumbprint, (DeviceId, KeyRole)>,
    pub(crate) challenges: BTreeMap<ChallengeId, Challenge>,
    /// One for each addressed device.
    pub(crate) deliveries: BTreeMap<(ChallengeId, DeviceId), DeliveryState>,
    pub(crate) idempotency: BTreeMap<(ApiClientId, String), IdempotencyKey>,
    pub(crate) enrollments: BTreeMap<EnrollmentId, Enrollment>,
    pub(crate) notifications: BTreeMap<NotificationId, Notification>,
    pub(crate) messages: BTreeMap<EventId, Message>,
    pub(crate) events: BTreeMap<EventId, Event>,
    /// First replies to artefacts, by the digest of their bytes.
    pub(crate) replies: BTreeMap<[u8; 32], String>,
    pub(crate) leases: BTreeMap<&'static str, LeaseRow>,
}

/// What one transaction has written. `None`: deleted.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) users: BTreeMap<UserId, User>,
    pub(crate) devices: BTreeMap<DeviceId, Option<Device>>,
    pub(crate) keys: BTreeMap<Thumbprint, (DeviceId, KeyRole)>,
    pub(crate) challenges: BTreeMap<ChallengeId, Challenge>,
    /// One for each addressed device.
    pub(crate) deliveries: BTreeMap<(ChallengeId, DeviceId), DeliveryState>,
    pub(crate) idempotency: BTreeMap<(ApiClientId, String), Option<IdempotencyKey>>,
    pub(crate) enrollments: BTreeMap<EnrollmentId, Enrollment>,
    pub(crate) notifications: BTreeMap<NotificationId, Option<Notification>>,
    pub(crate) messages: BTreeMap<EventId, Message>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: BTreeMap<[u8; 32], String>,
    pub(crate) leases: BTreeMap<&'static str, Option<LeaseRow>>,
}

fn merge<K: Ord, V>(into: &mut BTreeMap<K, V>, writes: BTreeMap<K, Option<V>>) {
    for (key, value) in writes {
        match value {
            Some(value) => {
                into.insert(key, value);
            }
            None => {
                into.remove(&key);
            }
        }
    }
}

impl Tables {
    /// COMMIT.
    pub(crate) fn apply(&mut self, writes: Writes) {
        self.users.extend(writes.users);
        merge(&mut self.devices, writes.devices);
        self.keys.extend(writes.keys);
        self.challenges.extend(writes.challenges);
        self.deliveries.extend(writes.deliveries);
        merge(&mut self.idempotency, writes.idempotency);
        self.enrollments.extend(writes.enrollments);
        merge(&mut self.notifications, writes.notifications);
        self.messages.extend(writes.messages);
        // A command that is run again writes the same row.
        for event in writes.events {
            self.events.entry(event.id).or_insert(event);
        }
        self.replies.extend(writes.replies);
        merge(&mut self.leases, writes.leases);
    }
}

/// A transaction's view: what it wrote itself, else what was committed when it looks.
pub(crate) struct View<'t> {
    pub(crate) base: &'t Tables,
    pub(crate) writes: Writes,
}

impl<'t> View<'t> {
    pub(crate) fn new(base: &'t Tables) -> Self {
        Self { base, writes: Writes::default() }
    }

    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.writes.users.get(&id).or_else(|| self.base.users.get(&id))
    }

    /// The user, if of this tenant: no statement crosses tenants.
    pub(crate) fn user_of(&self, tenant: TenantId, id: UserId) -> Option<&User> {
        self.user(id).filter(|user| user.tenant == tenant)
    }

    pub(crate) fn device(&self, id: DeviceId) -> Option<&Device> {
        match self.writes.devices.get(&id) {
            Some(written) => written.as_ref(),
            None => self.base.devices.get(&id),
        }
    }

    pub(crate) fn challenge(&self, id: ChallengeId) -> Option<&Challenge> {
        self.writes.challenges.get(&id).or_else(|| self.base.challenges.get(&id))
    }

    pub(crate) fn enrollment(&self, id: EnrollmentId) -> Option<&Enrollment> {
        self.writes.enrollments.get(&id).or_else(|| self.base.enrollments.get(&id))
    }

    pub(crate) fn notification(&self, id: NotificationId) -> Option<&Notification> {
        match self.writes.notifications.get(&id) {
            Some(written) => written.as_ref(),
            None => self.base.notifications.get(&id),
        }
    }

    /// Changes a user's row; nothing if there is none.
    pub(crate) fn change_user(&mut self, id: UserId, change: impl FnOnce(&mut User)) {
        if let Some(mut user) = self.user(id).cloned() {
            change(&mut user);
            self.writes.users.insert(id, user);
        }
    }

    pub(crate) fn change_challenge(&mut self, id: ChallengeId, change: impl FnOnce(&mut Challenge)) {
        if let Some(mut challenge) = self.challenge(id).cloned() {
            change(&mut challenge);
            self.writes.challenges.insert(id, challenge);
        }
    }

    pub(crate) fn change_device(&mut self, id: DeviceId, change: impl FnOnce(&mut Device)) {
        if let Some(mut device) = self.device(id).cloned() {
            change(&mut device);
            self.writes.devices.insert(id, Some(device));
        }
    }

    pub(crate) fn change_enrollment(&mut self, id: EnrollmentId, change: impl FnOnce(&mut Enrollment)) {
        if let Some(mut enrollment) = self.enrollment(id).cloned() {
            change(&mut enrollment);
            self.writes.enrollments.insert(id, enrollment);
        }
    }

    /// The user's pending challenges, in the order of their ids.
    pub(crate) fn pending_of(&self, user: UserId) -> Vec<ChallengeId> {
        let is_pending = |id: &ChallengeId| {
            self.challenge(*id).is_some_and(|challenge| {
                challenge.text.facts.user.id == user && challenge.status == ChallengeStatus::Pending
            })
        };
        self.base.challenges.keys().copied().filter(is_pending).collect()
    }
}
