//! Judges what came of a seed, by a bookkeeping of its own: of what was committed, of what was told, of what arrived.
//!
//! Knows the promises, not how the store or `core` keep them: it never calls either. To add a promise: what it must
//! remember here, the check in [`commits`](self) (what a commit may do), `told` (what a reply may say) or `settled` (what
//! must be true of the rows), and a [`Sabotage`](super::store::Sabotage) that it catches.

mod commits;
mod settled;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use countersign_proto::{
    ids::{
        ApiClientId, BindingId, ChallengeId, CommandId, DeviceId, EnrollmentId, EventId, NotificationId, TenantId,
        UserId,
    },
    jose::Thumbprint,
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeviceStatus},
};

/// A person, as the commits have left them.
#[derive(Debug, Default)]
pub(crate) struct Person {
    failures: u32,
    locked_until: Option<Timestamp>,
    since_approval: u32,
    /// The latest times at which the person was rung, in the order in which that happened.
    rung: Vec<Timestamp>,
    is_erased: bool,
}

/// A device, as the commits have left it.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) status: DeviceStatus,
    /// The keys that may sign, the second one if it checks the person.
    pub(crate) key: Thumbprint,
    pub(crate) uv_key: Option<Thumbprint>,
    pub(crate) binding: Option<BindingId>,
}

/// What somebody was told of a challenge, and at which step.
#[derive(Debug, Clone, Copy)]
struct Told {
    status: ChallengeStatus,
    reason: Option<ChallengeReason>,
    step: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    people: BTreeMap<UserId, Person>,
    registrations: BTreeMap<DeviceId, Registration>,
    /// The number that a caller was to show.
    numbers: BTreeMap<ChallengeId, Option<String>>,
    /// The code that a device was shown, and by which response.
    codes: BTreeMap<ChallengeId, (String, DeviceId)>,
    told: BTreeMap<ChallengeId, Told>,
    idempotency: BTreeMap<(ApiClientId, String), (ChallengeId, Timestamp)>,
    /// The latest lease of what is sent.
    push_leases: BTreeMap<NotificationId, CommandId>,
    message_leases: BTreeMap<EventId, CommandId>,
    sweeper: Option<(countersign_core::ports::leases::HolderId, Timestamp)>,
    claimed: BTreeMap<EnrollmentId, DeviceId>,
    wrong_codes: BTreeMap<EnrollmentId, u32>,
    commands: BTreeSet<CommandId>,
    arrived: BTreeSet<EventId>,
    /// What was found, with the step.
    pub(crate) violations: Vec<(u64, String)>,
    pub(crate) decisions: u64,
    pub(crate) approvals: u64,
}

impl Oracle {
    /// Notes somebody who was there before the first step.
    pub(crate) fn knows(&mut self, user: UserId) {
        self.people.insert(user, Person::default());
    }

    /// Notes a device that was active before the first step.
    pub(crate) fn has(&mut self, id: DeviceId, registration: Registration) {
        self.registrations.insert(id, registration);
    }

    /// A message has reached its webhook.
    pub(crate) fn arrived(&mut self, id: EventId) {
        self.arrived.insert(id);
    }

    fn violated(&mut self, step: u64, what: impl Into<String>) {
        self.violations.push((step, what.into()));
    }

    /// Says what is broken if it is not so.
    fn must(&mut self, step: u64, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(step, what());
        }
    }
}
