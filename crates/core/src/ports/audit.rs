//! The audit: the tree over the events, and what an auditor compares with them.
//!
//! The store keeps hashes and signed heads and judges none of them: who reads them compares them with a signature. To
//! add a table that is compared with the log: its rows here, its comparison in the server's `audit/live.rs`.

use async_trait::async_trait;
use countersign_proto::{
    audit::TileId,
    evidence::Evidence,
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId, TenantId, UserId},
    jose::Thumbprint,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, DeviceStatus, EnrollmentStatus},
};

use super::{StoreError, events::EventRecord};
use crate::{actor::Stamp, device::StoredBinding, event::EventKind};

/// The head of an organisation's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The last position that was given to an event.
    pub positioned: i64,
    /// How many events the checkpoint is over; 0 if there is none yet.
    pub size: u64,
    /// The signed checkpoint.
    pub checkpoint: Option<String>,
    /// When it was signed.
    pub sealed_at: Option<Timestamp>,
}

/// A tile as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTile {
    /// Which.
    pub id: TileId,
    /// Its hashes, 32 bytes each, one after the other.
    pub hashes: Vec<u8>,
}

/// Moves the head of a tree. Of two that start from the same size one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealAudit {
    /// Whose.
    pub tenant_id: TenantId,
    /// The size that was found.
    pub old_size: u64,
    /// The new one: not above what has a position.
    pub size: u64,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// When.
    pub sealed_at: Timestamp,
    /// The tiles that have changed.
    pub tiles: Vec<StoredTile>,
}

/// Which events an auditor asks for; all of what is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// What happened.
    pub kind: Option<EventKind>,
    /// The actor's id, as events show it.
    pub actor_id: Option<String>,
    /// The user concerned.
    pub user_id: Option<UserId>,
    /// The device concerned.
    pub device_id: Option<DeviceId>,
    /// The challenge concerned.
    pub challenge_id: Option<ChallengeId>,
    /// The API client concerned.
    pub api_client_id: Option<ApiClientId>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// A portion of the log: found events are few, so what is bounded is how many are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPortion {
    /// Positions above this one.
    pub after: i64,
    /// And not above this one.
    pub through: i64,
    /// Entries at most.
    pub limit: u32,
}

/// What is kept of a challenge that has ended, or has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDecision {
    /// The challenge.
    pub id: ChallengeId,
    /// What the row says.
    pub status: ChallengeStatus,
    /// When its person was erased.
    pub erased_at: Option<Timestamp>,
    /// What proves it.
    pub evidence: Option<Evidence>,
}

/// A device, as an auditor compares it with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedDevice {
    /// Its id.
    pub id: DeviceId,
    /// Whose, by our id.
    pub user_id: UserId,
    /// The tenant's id of that user, now.
    pub external_id: String,
    /// Whether the person was erased.
    pub is_erased: bool,
    /// How many wrong numbers and codes in a row are counted of that user: fewer than none cannot be read.
    pub failures: u32,
    /// Its standing.
    pub status: DeviceStatus,
    /// Its current keys.
    pub key_thumbprint: Thumbprint,
    /// The second.
    pub uv_thumbprint: Option<Thumbprint>,
    /// The server's statement about them.
    pub binding: Option<StoredBinding>,
}

/// A key that a device has or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedKey {
    /// Under which it is found.
    pub thumbprint: String,
    /// Whose device, says the row.
    pub tenant_id: TenantId,
    /// The device.
    pub device_id: DeviceId,
    /// Its role, as [`KeyRole::as_str`](crate::device::KeyRole::as_str) says it, or whatever the row says.
    pub role: String,
    /// Uncompressed SEC1.
    pub public_key: Vec<u8>,
}

/// What an organisation asks for, as an auditor compares it with the log. Texts are verbatim: the log has their digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedTenant {
    /// The policy in force, JSON.
    pub policy: String,
    /// Its version.
    pub policy_version: u32,
    /// Whether callers have to sign: beside the policy, for whoever does not read it.
    pub is_proof_required: bool,
    /// What it sets for itself, JSON.
    pub settings: String,
    /// Whether nobody may act for it.
    pub is_disabled: bool,
    /// The last position given to one of its events.
    pub event_head: i64,
    /// The same, as the head of its tree has it.
    pub positioned: i64,
}

/// A policy that was in force, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedPolicy {
    /// Its version.
    pub version: u32,
    /// JSON, verbatim.
    pub policy: String,
}

/// An invitation, as an auditor compares it with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedEnrollment {
    /// Its id.
    pub id: EnrollmentId,
    /// Whose.
    pub user_id: UserId,
    /// Its standing.
    pub status: EnrollmentStatus,
    /// The challenge by which a device agreed.
    pub approval_id: Option<ChallengeId>,
    /// Whether an administrator let it be made without one.
    pub is_overridden: bool,
}

/// A log that is shorter than it was, or another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRestored {
    /// Who accepts it: the operator.
    pub stamp: Stamp,
    /// The size of the last checkpoint that left the machine.
    pub lost_size: u64,
    /// Its root, base64.
    pub lost_root: String,
    /// The size of the log that is there.
    pub size: u64,
}

/// The audit.
#[async_trait]
pub trait Audit: Send + Sync {
    /// The head; `None` if no event has a position yet.
    async fn audit_head(&self, tenant_id: TenantId) -> Result<Option<AuditHead>, StoreError>;
    /// Tenants above `after` with positioned events that no checkpoint is over, in order, at most `limit`.
    async fn unsealed_tenants(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>, StoreError>;
    /// Tenants above `after` that have a log, in order, at most `limit`.
    async fn tenants_with_logs(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>, StoreError>;
    /// Those of these tiles that there are.
    async fn audit_tiles(&self, tenant_id: TenantId, ids: &[TileId]) -> Result<Vec<StoredTile>, StoreError>;
    /// Moves the head; `false` if somebody else was faster.
    async fn seal_audit(&self, command: SealAudit) -> Result<bool, StoreError>;
    /// The events of a portion that the filter lets through, oldest first.
    async fn audit_events(
        &self,
        tenant_id: TenantId,
        filter: AuditFilter,
        portion: AuditPortion,
    ) -> Result<Vec<EventRecord>, StoreError>;
    /// What is kept of these challenges of the tenant.
    async fn kept_decisions(&self, tenant_id: TenantId, ids: &[ChallengeId]) -> Result<Vec<KeptDecision>, StoreError>;
    /// Devices above `after`, in order, at most `limit`.
    async fn audited_devices(
        &self,
        tenant_id: TenantId,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<AuditedDevice>, StoreError>;
    /// All keys of these devices, whatever organisation they say.
    async fn audited_keys(&self, ids: &[DeviceId]) -> Result<Vec<AuditedKey>, StoreError>;
    /// What the organisation asks for; `None` if there is no such tenant.
    async fn audited_tenant(&self, tenant_id: TenantId) -> Result<Option<AuditedTenant>, StoreError>;
    /// Policies above version `after`, in order, at most `limit`: those that were written down.
    async fn audited_policies(
        &self,
        tenant_id: TenantId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<AuditedPolicy>, StoreError>;
    /// Enrollments above `after`, in order, at most `limit`.
    async fn audited_enrollments(
        &self,
        tenant_id: TenantId,
        after: Option<EnrollmentId>,
        limit: u32,
    ) -> Result<Vec<AuditedEnrollment>, StoreError>;
    /// Writes down that the database is an older one, `database.restored`.
    async fn record_restored(&self, command: RecordRestored) -> Result<(), StoreError>;
}
