//! Tenants.

use std::fmt;

use async_trait::async_trait;
use countersign_proto::{
    ids::{EnrollmentId, TenantId},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{PageRequest, StoreError, challenges::DueChallenge};
use crate::{
    actor::Stamp,
    policy::{Policy, changed_members},
};

/// An isolated organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Our id.
    pub id: TenantId,
    /// What operators type.
    pub slug: String,
    /// What people see.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes a tenant. Its id is `stamp.tenant_id`. Event: `tenant.created`.
#[derive(Debug, Clone)]
pub struct CreateTenant {
    /// Who, where, when.
    pub stamp: Stamp,
    /// 1–63 of a-z, 0-9 and `-`.
    pub slug: String,
    /// 1–128 characters.
    pub name: String,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateTenantOutcome {
    /// It exists now.
    Created,
    /// Another tenant has the slug.
    SlugTaken,
}

/// Puts another policy in force, for the challenges that are made from now on. Event: `policy.changed`.
#[derive(Debug, Clone)]
pub struct SetPolicy {
    /// Who, where, when.
    pub stamp: Stamp,
    /// The version of the policy that it was made from: if another is in force, somebody else was faster.
    pub expected_version: u32,
    /// The policy; its `version` is one more.
    pub policy: Policy,
    /// The names of the members that differ.
    pub changed: Vec<String>,
}

impl SetPolicy {
    /// Puts `policy` in the place of `before`. Its `version` is not looked at.
    pub fn new(stamp: Stamp, before: &Policy, policy: Policy) -> Self {
        let changed = changed_members(before, &policy);
        let policy = Policy { version: before.version.saturating_add(1), ..policy };
        Self { stamp, expected_version: before.version, policy, changed }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetPolicyOutcome {
    /// It is in force.
    Set,
    /// Another version was: nothing has changed.
    Conflict {
        /// The one that is in force.
        version: u32,
    },
    /// There is no such tenant.
    NotFound,
}

/// What an operator allows an organisation only so many of. Each is a counter column beside its limit, moved by the
/// conditional write of each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// People, without the erased.
    Users,
    /// Clients that are not revoked.
    ApiClients,
    /// Webhooks that are not deleted.
    Webhooks,
}

impl Quota {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Users, Self::ApiClients, Self::Webhooks];

    /// The word in problems and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::ApiClients => "api_clients",
            Self::Webhooks => "webhooks",
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long an organisation keeps what has ended, in days from its creation. Absent: as long as the server does, which is
/// also the longest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRetention {
    /// Challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_days: Option<u32>,
    /// Enrollments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_days: Option<u32>,
}

impl TenantRetention {
    /// Whether nothing differs from the server's.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an organisation sets for itself, beside its policy. Kept as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSettings {
    /// How long what has ended is kept.
    #[serde(default, skip_serializing_if = "TenantRetention::is_empty")]
    pub retention: TenantRetention,
}

/// How much of something an organisation has, and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of what.
    pub quota: Quota,
    /// How many there are.
    pub count: u32,
    /// How many there may be; `None`: as many as they like.
    pub limit: Option<u32>,
}

/// A tenant with what its administrators and operators may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDetails {
    /// The tenant.
    pub tenant: Tenant,
    /// What it sets for itself.
    pub settings: TenantSettings,
    /// One more with each change of name or settings.
    pub settings_version: u32,
    /// Since when it is disabled.
    pub disabled_at: Option<Timestamp>,
    /// One entry for each quota.
    pub usage: Vec<Usage>,
}

/// Changes what an organisation sets for itself. Of two changes at once each is applied, one after the other. Event:
/// `tenant.changed`, with the names of what differs.
#[derive(Debug, Clone)]
pub struct ChangeTenant {
    /// Who, where, when.
    pub stamp: Stamp,
    /// What people see from now on, 1–128 characters.
    pub name: Option<String>,
    /// Takes the place of the whole retention.
    pub retention: Option<TenantRetention>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeTenantOutcome {
    /// It is so now, perhaps as before.
    Changed(Box<TenantDetails>),
    /// There is no such tenant.
    NotFound,
}

/// Sets limits, for operators only. What is above its limit already stays. Event: `tenant.changed`.
#[derive(Debug, Clone)]
pub struct SetQuotas {
    /// Who, where, when.
    pub stamp: Stamp,
    /// `None`: as many as they like. A quota that is not named stays.
    pub limits: Vec<(Quota, Option<u32>)>,
}

/// What came of disabling or enabling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchTenantOutcome {
    /// It is so now. Event: `tenant.disabled|enabled`.
    Switched,
    /// It was so before.
    Already,
    /// There is no such tenant.
    NotFound,
}

/// Tenants.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// Makes a tenant.
    async fn create_tenant(&self, command: CreateTenant) -> Result<CreateTenantOutcome, StoreError>;
    /// All tenants, oldest first.
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError>;
    /// By id.
    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError>;
    /// By slug.
    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError>;
    /// Puts another policy in force, if nobody else has meanwhile. Both versions stay readable.
    async fn set_policy(&self, command: SetPolicy) -> Result<SetPolicyOutcome, StoreError>;
    /// A policy that was in force, or is: `None` if the tenant never had that version.
    async fn policy_version(&self, tenant_id: TenantId, version: u32) -> Result<Option<Policy>, StoreError>;
    /// By id, with settings and quotas.
    async fn tenant_details(&self, id: TenantId) -> Result<Option<TenantDetails>, StoreError>;
    /// Changes name or settings.
    async fn change_tenant(&self, command: ChangeTenant) -> Result<ChangeTenantOutcome, StoreError>;
    /// Sets limits.
    async fn set_quotas(&self, command: SetQuotas) -> Result<ChangeTenantOutcome, StoreError>;
    /// Disables the stamp's tenant: once this has returned, nothing by its API clients or devices commits on any node and
    /// none of its pushes is leased. What waits is ended afterwards, by whoever asks for [`Self::pending_of_tenant`].
    async fn disable_tenant(&self, stamp: Stamp) -> Result<SwitchTenantOutcome, StoreError>;
    /// Enables it again. Revives nothing.
    async fn enable_tenant(&self, stamp: Stamp) -> Result<SwitchTenantOutcome, StoreError>;
    /// The tenant's pending challenges whose time is not up at `now`, at most `limit`.
    async fn pending_of_tenant(
        &self,
        id: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueChallenge>, StoreError>;
    /// The tenant's open enrollments whose time is not up at `now`, at most `limit`.
    async fn open_enrollments_of_tenant(
        &self,
        id: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<EnrollmentId>, StoreError>;
    /// Tenants whose settings differ from the server's, by descending id, in pages.
    async fn tenants_with_settings(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Vec<(TenantId, TenantSettings)>, StoreError>;
}
