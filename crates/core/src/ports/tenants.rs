//! Tenants.

use async_trait::async_trait;
use countersign_proto::{ids::TenantId, timestamp::Timestamp};

use super::StoreError;
use crate::{actor::Stamp, policy::Policy};

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
    /// Replaces the tenant's policy; `false` if there is no such tenant.
    async fn set_policy(&self, stamp: Stamp, policy: Policy) -> Result<bool, StoreError>;
}
