//! Tenants: each row is an isolated organisation, its policy, its settings, and the counters of what has a quota.
//!
//! Nobody is moved between tenants and no tenant is ever deleted here. Settings and quotas are in `tenants/settings.rs`,
//! disabling in `tenants/disable.rs`.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    digest::Digest,
    event::{Event, EventKind, Subjects},
    policy::{Policy, stricter},
    ports::{
        PageRequest, StoreError,
        challenges::DueChallenge,
        tenants::{
            ChangeTenant, ChangeTenantOutcome, CreateTenant, CreateTenantOutcome, SetPolicy, SetPolicyOutcome,
            SetQuotas, SwitchTenantOutcome, Tenant, TenantDetails, TenantSettings, Tenants,
        },
    },
};
use countersign_proto::{
    ids::{EnrollmentId, TenantId},
    timestamp::Timestamp,
    vocabulary::ClientAuthentication,
};

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

#[path = "tenants/disable.rs"]
mod disable;
#[path = "tenants/settings.rs"]
mod settings;

/// See the module.
pub(super) struct Statements {
    by_id: Statement,
    disable: disable::Statements,
    settings: settings::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            by_id: Statement::new(format!(
                "-- tenant
                SELECT id, r_number, slug, name, policy, policy_version, created_at
                FROM {ids} CROSS JOIN tenants WHERE id = r_id",
                ids = dialect::row_source(1, TenantById::COLUMNS),
            )),
            disable: disable::Statements::new(),
            settings: settings::Statements::new(),
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
            SELECT id, slug, name, policy, policy_version, created_at FROM tenants ORDER BY created_at, id";
        self.fetch_all(query(all)).await?.iter().map(|row| tenant(&Columns::new("tenants", row))).collect()
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        self.lookups.tenants.find(id).await
    }

    async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let by_slug = "-- tenant_by_slug
            SELECT id, slug, name, policy, policy_version, created_at FROM tenants WHERE slug = $1";
        self.fetch_optional(query(by_slug).bind(slug))
            .await?
            .map(|row| tenant(&Columns::new("tenants", &row)))
            .transpose()
    }

    async fn set_policy(&self, command: SetPolicy) -> Result<SetPolicyOutcome, StoreError> {
        self.write(command).await
    }

    async fn policy_version(&self, tenant_id: TenantId, version: u32) -> Result<Option<Policy>, StoreError> {
        // The first one is written down only when another takes its place.
        let statement = "-- policy_version
            SELECT id, policy, policy_version FROM tenants WHERE id = $1 AND policy_version = $2
            UNION ALL
            SELECT tenant_id AS id, policy, version AS policy_version
            FROM policy_versions WHERE tenant_id = $1 AND version = $2
            LIMIT 1";
        let row = self.fetch_optional(query(statement).bind(tenant_id.as_uuid()).bind(i64::from(version))).await?;
        row.map(|row| policy(&Columns::new("policy_versions", &row))).transpose()
    }

    async fn tenant_details(&self, id: TenantId) -> Result<Option<TenantDetails>, StoreError> {
        let row = self.fetch_optional(settings::details(id)).await?;
        row.map(|row| settings::read(&Columns::new("tenants", &row))).transpose()
    }

    async fn change_tenant(&self, command: ChangeTenant) -> Result<ChangeTenantOutcome, StoreError> {
        self.write(command).await
    }

    async fn set_quotas(&self, command: SetQuotas) -> Result<ChangeTenantOutcome, StoreError> {
        self.write(command).await
    }

    async fn disable_tenant(&self, stamp: Stamp) -> Result<SwitchTenantOutcome, StoreError> {
        let tenant_id = stamp.tenant_id;
        let outcome = self.write(disable::Switch { stamp, disables: true }).await?;
        // Also if it was disabled before: whoever did that may not have waited yet.
        self.write(disable::Drain(tenant_id)).await?;
        Ok(outcome)
    }

    async fn enable_tenant(&self, stamp: Stamp) -> Result<SwitchTenantOutcome, StoreError> {
        self.write(disable::Switch { stamp, disables: false }).await
    }

    async fn pending_of_tenant(
        &self,
        id: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueChallenge>, StoreError> {
        disable::pending(self, id, now, limit).await
    }

    async fn open_enrollments_of_tenant(
        &self,
        id: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<EnrollmentId>, StoreError> {
        disable::open_enrollments(self, id, now, limit).await
    }

    async fn tenants_with_settings(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Vec<(TenantId, TenantSettings)>, StoreError> {
        settings::differing(self, page).await
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
        let policy = to_json(&Policy::default())?;
        let insert = query(insert)
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(&self.slug)
            .bind(&self.name)
            .bind(&policy)
            .bind(self.stamp.at.as_millis());
        if tx.execute(insert).await? == 0 {
            return Ok(Outcome::Rollback(CreateTenantOutcome::SlugTaken));
        }
        let event = Event::new(&self.stamp, EventKind::TenantCreated, Subjects::default());
        tx.insert_events(vec![event.with("policy_sha256", Digest::of(&policy).to_b64u())]).await?;
        Ok(Outcome::Commit(CreateTenantOutcome::Created))
    }
}

#[async_trait]
impl Plain for SetPolicy {
    type Reply = SetPolicyOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<SetPolicyOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        // Written by the first change; by every other one it is there already.
        let keep = "-- keep_policy
            INSERT INTO policy_versions (tenant_id, version, policy, created_at)
            SELECT id, policy_version, policy, created_at FROM tenants WHERE id = $1 AND policy_version = $2
            ON CONFLICT (tenant_id, version) DO NOTHING";
        let keep = query(keep).bind(self.stamp.tenant_id.as_uuid()).bind(i64::from(self.expected_version));
        tx.execute(keep).await?;
        // Of two that were made from the same version one finds the row changed: the update waits for the other's end.
        let update = "-- set_policy
            UPDATE tenants SET policy = $3, policy_version = $4, client_proof_required = $5
            WHERE id = $1 AND policy_version = $2";
        let policy = to_json(&self.policy)?;
        let asks_for_proof = stricter::bound(&self.policy).client_authentication == ClientAuthentication::ClientProof;
        let update = query(update)
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(i64::from(self.expected_version))
            .bind(&policy)
            .bind(i64::from(self.policy.version))
            .bind(i64::from(asks_for_proof));
        if tx.execute(update).await? == 0 {
            return Ok(Outcome::Rollback(why_not(tx, self.stamp.tenant_id).await?));
        }
        let record = "-- record_policy
            INSERT INTO policy_versions (tenant_id, version, policy, created_at) VALUES ($1, $2, $3, $4)";
        let record = query(record)
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(i64::from(self.policy.version))
            .bind(&policy)
            .bind(self.stamp.at.as_millis());
        tx.execute(record).await?;
        let event = Event::new(&self.stamp, EventKind::PolicyChanged, Subjects::default())
            .with("version", self.policy.version)
            .with("changed", self.changed.clone())
            .with("policy_sha256", Digest::of(&policy).to_b64u());
        tx.insert_events(vec![event]).await?;
        Ok(Outcome::Commit(SetPolicyOutcome::Set))
    }
}

/// Why a policy was not put in force.
async fn why_not(tx: &mut Tx<'_>, tenant_id: TenantId) -> Result<SetPolicyOutcome, Failure> {
    let current = "-- current_policy_version
        SELECT id, policy_version FROM tenants WHERE id = $1";
    let row = tx.fetch_optional(query(current).bind(tenant_id.as_uuid())).await?;
    Ok(match row {
        Some(row) => SetPolicyOutcome::Conflict { version: Columns::new("tenants", &row).count("policy_version")? },
        None => SetPolicyOutcome::NotFound,
    })
}

fn tenant(columns: &Columns<'_>) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: columns.id("id")?,
        slug: columns.text("slug")?,
        name: columns.text("name")?,
        policy: policy(columns)?,
        created_at: columns.time("created_at")?,
    })
}

/// The version is the column's, whatever the text says: it is what a change is compared with, and during an update an
/// older program may write the text alone.
fn policy(columns: &Columns<'_>) -> Result<Policy, StoreError> {
    Ok(Policy { version: columns.count("policy_version")?, ..columns.json("policy")? })
}

fn to_json(policy: &Policy) -> Result<String, StoreError> {
    serde_json::to_string(policy).map_err(|error| StoreError::Unavailable(format!("no JSON for a policy: {error}")))
}
