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

use serde_json::{Value, json};

use super::{
    Columns, Database, Outcome, Plain, Row, Tx, dialect, query,
    reader::{self, Lookup, NUMBER},
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

/// See the module.
pub(super) struct Statements {
    by_id: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            by_id: Statement::new(format!(
                "-- tenant
                SELECT id, r_number, slug, name, policy, created_at
                FROM {ids} CROSS JOIN tenants WHERE id = r_id",
                ids = dialect::row_source(1, TenantById::COLUMNS),
            )),
        }
    }
}

/// A tenant by its id.
pub(super) struct TenantById;

impl Lookup for TenantById {
    type Key = TenantId;
    type Found = Tenant;

    const COLUMNS: &'static rows::Columns = &[("r_id", Type::Id), (NUMBER, Type::Integer)];

    fn statement(statements: &super::Statements) -> &Statement {
        &statements.tenants.by_id
    }

    fn cells(key: &TenantId) -> Value {
        json!({"r_id": rows::id(*key)})
    }

    fn read(rows: &[Row]) -> Result<Tenant, StoreError> {
        tenant(&reader::only(rows, "tenants")?)
    }
}

#[async_trait]
impl Tenants for Database {
    async fn create_tenant(&self, command: CreateTenant) -> Result<CreateTenantOutcome, StoreError> {
        self.write(command).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let all = "-- tenants
            SELECT id, slug, name, policy, created_at FROM tenants ORDER BY created_at, id";
        self.fetch_all(query(all)).await?.iter().map(|row| tenant(&Columns::new("tenants", row))).collect()
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        self.lookups.tenants.find(id).await
    }

    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let by_slug = "-- tenant_by_slug
            SELECT id, slug, name, policy, created_at FROM tenants WHERE slug = $1";
        self.fetch_optional(query(by_slug).bind(slug))
            .await?
            .map(|row| tenant(&Columns::new("tenants", &row)))
            .transpose()
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

fn tenant(columns: &Columns<'_>) -> Result<Tenant, StoreError> {
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
