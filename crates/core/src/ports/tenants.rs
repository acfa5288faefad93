//! Tenants.

use async_trait::async_trait;
use countersign_proto::{ids::TenantId, timestamp::Timestamp};

use super::StoreError;
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
}
