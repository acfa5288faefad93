//! Tenants: each row is an isolated organisation and its policy.
//!
//! Nobody is moved between tenants and no tenant is ever deleted here.

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind, Subjects},
    policy::Policy,
    ports::{
        StoreError,
        tenants::{CreateTenant, CreateTenantOutcome, Tenant, Tenants},
    },
};
use countersign_proto::ids::TenantId;

use super::{Columns, Database, Outcome, Plain, Row, Tx, query};
use crate::failure::Failure;

#[async_trait]
impl Tenants for Database {
    async fn create_tenant(&self, command: CreateTenant) -> Result<CreateTenantOutcome, StoreError> {
        self.write(command).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let all = "-- tenants
            SELECT id, slug, name, policy, created_at FROM tenants ORDER BY created_at, id";
        self.fetch_all(query(all)).await?.iter().map(tenant).collect()
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let by_id = "-- tenant
            SELECT id, slug, name, policy, created_at FROM tenants WHERE id = $1";
        self.fetch_optional(query(by_id).bind(id.as_uuid())).await?.as_ref().map(tenant).transpose()
    }

    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let by_slug = "-- tenant_by_slug
            SELECT id, slug, name, policy, created_at FROM tenants WHERE slug = $1";
        self.fetch_optional(query(by_slug).bind(slug)).await?.as_ref().map(tenant).transpose()
    }

    async fn set_policy(&self, stamp: countersign_core::actor::Stamp, policy: Policy) -> Result<bool, StoreError> {
        self.write(SetPolicy { policy: to_json(&policy)?, stamp }).await
    }
}

#[async_trait]
impl Plain for CreateTenant {
    type Reply = CreateTenantOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<CreateTenantOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let insert = "-- create_tenant
            INSERT INTO tenants (id, slug, name, policy, created_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (slug) DO NOTHING";
        let insert = query(insert)
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(&self.slug)
            .bind(&self.name)
            .bind(to_json(&Policy::default())?)
            .bind(self.stamp.at.as_millis());
        if tx.execute(insert).await? == 0 {
            return Ok(Outcome::Rollback(CreateTenantOutcome::SlugTaken));
        }
        tx.insert_events(vec![Event::new(&self.stamp, EventKind::TenantCreated, Subjects::default())]).await?;
        Ok(Outcome::Commit(CreateTenantOutcome::Created))
    }
}

/// Replaces a tenant's policy.
struct SetPolicy {
    stamp: countersign_core::actor::Stamp,
    policy: String,
}

#[async_trait]
impl Plain for SetPolicy {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let update = "-- set_policy
            UPDATE tenants SET policy = $2 WHERE id = $1";
        let update = query(update).bind(self.stamp.tenant_id.as_uuid()).bind(&self.policy);
        Ok(Outcome::Commit(tx.execute(update).await? == 1))
    }
}

fn tenant(row: &Row) -> Result<Tenant, StoreError> {
    let columns = Columns::new("tenants", row);
    Ok(Tenant {
        id: columns.id("id")?,
        slug: columns.text("slug")?,
        name: columns.text("name")?,
        policy: columns.json("policy")?,
        created_at: columns.time("created_at")?,
    })
}

fn to_json(policy: &Policy) -> Result<String, StoreError> {
    serde_json::to_string(policy).map_err(|error| StoreError::Unavailable(format!("no JSON for a policy: {error}")))
}
