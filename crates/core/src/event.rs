//! The append-only log: one row per change, written in the transaction of the change.
//!
//! A row is audit entry, webhook source and notice source at once. Its body holds ids, digests and fixed words
//! only, so that erasing a person never touches the log.
//! To add a kind: a variant of [`EventKind`] with its word, and the place that writes it.

use countersign_proto::{
    ids::{ApiClientId, ChallengeId, CommandId, DeviceId, EnrollmentId, EventId, Id, TenantId, UserId},
    timestamp::Timestamp,
};
use serde_json::{Map, Value};

use crate::{actor::Stamp, digest::Digest, entropy::id_from_parts};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is its word")]
pub enum EventKind {
    TenantCreated,
    TenantChanged,
    TenantDisabled,
    TenantEnabled,
    PolicyChanged,
    ApiClientCreated,
    ApiClientChanged,
    ApiClientRevoked,
    ApiKeyAdded,
    ApiKeyRevoked,
    UserCreated,
    UserChanged,
    UserLocked,
    UserUnlocked,
    UserReported,
    UserReportCleared,
    UserExported,
    UserErased,
    EnrollmentCreated,
    EnrollmentOverridden,
    EnrollmentClaimed,
    EnrollmentCompleted,
    EnrollmentCancelled,
    EnrollmentExpired,
    EnrollmentContested,
    DeviceAdded,
    DeviceConfirmed,
    DeviceRenamed,
    DeviceSuspended,
    DeviceResumed,
    DeviceRevoked,
    DeviceDeregistered,
    DeviceKeyChanged,
    DeviceDisputed,
    DevicePushTested,
    ChallengeCreated,
    ChallengeCodeShown,
    ChallengeApproved,
    ChallengeDenied,
    ChallengeExpired,
    ChallengeCancelled,
    ChallengeReported,
    WebhookCreated,
    WebhookChanged,
    WebhookDisabled,
    WebhookSecretRotated,
    WebhookDeleted,
    DatabaseRestored,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 48] = [
        Self::TenantCreated,
        Self::TenantChanged,
        Self::TenantDisabled,
        Self::TenantEnabled,
        Self::PolicyChanged,
        Self::ApiClientCreated,
        Self::ApiClientChanged,
        Self::ApiClientRevoked,
        Self::ApiKeyAdded,
        Self::ApiKeyRevoked,
        Self::UserCreated,
        Self::UserChanged,
        Self::UserLocked,
        Self::UserUnlocked,
        Self::UserReported,
        Self::UserReportCleared,
        Self::UserExported,
        Self::UserErased,
        Self::EnrollmentCreated,
        Self::EnrollmentOverridden,
        Self::EnrollmentClaimed,
        Self::EnrollmentCompleted,
        Self::EnrollmentCancelled,
        Self::EnrollmentExpired,
        Self::EnrollmentContested,
        Self::DeviceAdded,
        Self::DeviceConfirmed,
        Self::DeviceRenamed,
        Self::DeviceSuspended,
        Self::DeviceResumed,
        Self::DeviceRevoked,
        Self::DeviceDeregistered,
        Self::DeviceKeyChanged,
        Self::DeviceDisputed,
        Self::DevicePushTested,
        Self::ChallengeCreated,
        Self::ChallengeCodeShown,
        Self::ChallengeApproved,
        Self::ChallengeDenied,
        Self::ChallengeExpired,
        Self::ChallengeCancelled,
        Self::ChallengeReported,
        Self::WebhookCreated,
        Self::WebhookChanged,
        Self::WebhookDisabled,
        Self::WebhookSecretRotated,
        Self::WebhookDeleted,
        Self::DatabaseRestored,
    ];

    /// Kinds that a user's devices are told of (protocol 5.1), and rung for (8.7): all but the one concerned.
    pub const NOTICES: [Self; 7] = [
        Self::DeviceAdded,
        Self::DeviceSuspended,
        Self::DeviceRevoked,
        Self::DeviceDeregistered,
        Self::DeviceKeyChanged,
        Self::EnrollmentContested,
        Self::UserLocked,
    ];

    /// Notices to which "that was not me" suspends the device concerned.
    pub const DISPUTABLE: [Self; 2] = [Self::DeviceAdded, Self::DeviceKeyChanged];

    /// Whether a notice of it is for each of the user's devices, also the one that brought it about: it is about the
    /// person, not about a registration.
    pub const fn concerns_every_device(self) -> bool {
        matches!(self, Self::UserLocked)
    }

    /// The word in the log and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantCreated => "tenant.created",
            Self::TenantChanged => "tenant.changed",
            Self::TenantDisabled => "tenant.disabled",
            Self::TenantEnabled => "tenant.enabled",
            Self::PolicyChanged => "policy.changed",
            Self::ApiClientCreated => "api_client.created",
            Self::ApiClientChanged => "api_client.changed",
            Self::ApiClientRevoked => "api_client.revoked",
            Self::ApiKeyAdded => "api_client.key_added",
            Self::ApiKeyRevoked => "api_client.key_revoked",
            Self::UserCreated => "user.created",
            Self::UserChanged => "user.changed",
            Self::UserLocked => "user.locked",
            Self::UserUnlocked => "user.unlocked",
            Self::UserReported => "user.reported",
            Self::UserReportCleared => "user.report_cleared",
            Self::UserExported => "user.exported",
            Self::UserErased => "user.erased",
            Self::EnrollmentCreated => "enrollment.created",
            Self::EnrollmentOverridden => "enrollment.overridden",
            Self::EnrollmentClaimed => "enrollment.claimed",
            Self::EnrollmentCompleted => "enrollment.completed",
            Self::EnrollmentCancelled => "enrollment.cancelled",
            Self::EnrollmentExpired => "enrollment.expired",
            Self::EnrollmentContested => "enrollment.contested",
            Self::DeviceAdded => "device.added",
            Self::DeviceConfirmed => "device.confirmed",
            Self::DeviceRenamed => "device.renamed",
            Self::DeviceSuspended => "device.suspended",
            Self::DeviceResumed => "device.resumed",
            Self::DeviceRevoked => "device.revoked",
            Self::DeviceDeregistered => "device.deregistered",
            Self::DeviceKeyChanged => "device.key_changed",
            Self::DeviceDisputed => "device.disputed",
            Self::DevicePushTested => "device.push_tested",
            Self::ChallengeCreated => "challenge.created",
            Self::ChallengeCodeShown => "challenge.code_shown",
            Self::ChallengeApproved => "challenge.approved",
            Self::ChallengeDenied => "challenge.denied",
            Self::ChallengeExpired => "challenge.expired",
            Self::ChallengeCancelled => "challenge.cancelled",
            Self::ChallengeReported => "challenge.reported",
            Self::WebhookCreated => "webhook.created",
            Self::WebhookChanged => "webhook.changed",
            Self::WebhookDisabled => "webhook.disabled",
            Self::WebhookSecretRotated => "webhook.secret_rotated",
            Self::WebhookDeleted => "webhook.deleted",
            Self::DatabaseRestored => "database.restored",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subjects {
    /// The user.
    pub user_id: Option<UserId>,
    /// The device.
    pub device_id: Option<DeviceId>,
    /// The challenge.
    pub challenge_id: Option<ChallengeId>,
    /// The enrollment.
    pub enrollment_id: Option<EnrollmentId>,
    /// The API client.
    pub api_client_id: Option<ApiClientId>,
}

/// One row of the log, before it has its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Derived from the command: a command that is run again writes the same row, not a second one.
    pub id: EventId,
    /// The organisation.
    pub tenant_id: TenantId,
    /// What happened.
    pub kind: EventKind,
    /// `api_client`, `device`, `operator`, `system`.
    pub actor_kind: &'static str,
    /// The API client's or device's id.
    pub actor_id: Option<String>,
    /// What it is about.
    pub subjects: Subjects,
    /// The request that caused it.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
    /// Ids, digests and fixed words.
    pub body: Map<String, Value>,
}

impl Event {
    /// The row that `stamp`'s command writes about `subjects`.
    pub fn new(stamp: &Stamp, kind: EventKind, subjects: Subjects) -> Self {
        let subject = format!("{}{subjects:?}", kind.as_str());
        Self {
            id: derived_id(stamp.at, stamp.command_id, &subject),
            tenant_id: stamp.tenant_id,
            kind,
            actor_kind: stamp.actor.kind(),
            actor_id: stamp.actor.id(),
            subjects,
            request_id: stamp.request_id.clone(),
            at: stamp.at,
            body: Map::new(),
        }
    }

    /// The same with one more particular. Never pass a name, text, number, token or key.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }
}

/// An id that follows from the command and what it is for, for rows that a transaction discovers it must
/// write: no randomness inside a transaction, and a retried command writes the same rows.
pub fn derived_id<K>(at: Timestamp, command_id: CommandId, purpose: &str) -> Id<K> {
    let mut seed = command_id.as_uuid().as_bytes().to_vec();
    seed.extend_from_slice(purpose.as_bytes());
    let mut random = [0; 10];
    for (to, from) in random.iter_mut().zip(Digest::of(seed).0) {
        *to = from;
    }
    id_from_parts(at, &random)
}
