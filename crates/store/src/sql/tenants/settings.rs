//! What an organisation sets for itself, what its operator allows it, and the counters of that.
//!
//! A counter is moved by the conditional write of the very change that it counts, in its transaction; nothing here ever
//! counts rows. To add a quota: its variant in core's [`Quota`], its two columns, its names in [`columns`].

use async_trait::async_trait;
use countersign_core::{
    digest::Digest,
    event::{Event, EventKind, Subjects},
    ports::{
        PageRequest, StoreError,
        tenants::{ChangeTenant, ChangeTenantOutcome, Quota, SetQuotas, TenantDetails, TenantSettings, Usage},
    },
};
use countersign_proto::ids::TenantId;
use uuid::Uuid;

use super::super::{Columns, Database, Outcome, Plain, Query, Tx, dialect, query};
use crate::{failure::Failure, rows, statement::Statement};

/// See the module.
pub(super) struct Statements {
    lock_settings: Statement,
    count_up: [Statement; 3],
    count_down: [Statement; 3],
    set_quota: [Statement; 3],
}

impl Statements {
    pub(super) fn new() -> Self {
        let move_count = |name: &str, quota: Quota, by: &str, condition: &str| {
            let (count, limit) = columns(quota);
            let condition = condition.replace("{count}", count).replace("{limit}", limit);
            Statement::new(format!(
                "-- {name}
                UPDATE tenants SET {count} = {count} {by} WHERE id = $1 AND ({condition})"
            ))
        };
        let up = |quota| move_count("count_up", quota, "+ 1", "{limit} IS NULL OR {count} < {limit}");
        let down = |quota| move_count("count_down", quota, "- 1", "{count} > 0");
        let set_quota = |quota| {
            let (_, limit) = columns(quota);
            Statement::new(format!("-- set_quota\nUPDATE tenants SET {limit} = $2 WHERE id = $1"))
        };
        Self {
            lock_settings: Statement::new(format!(
                "-- lock_settings
                SELECT id, name, settings FROM tenants WHERE id = $1 {}",
                dialect::locking("FOR NO KEY UPDATE"),
            )),
            count_up: Quota::ALL.map(up),
            count_down: Quota::ALL.map(down),
            set_quota: Quota::ALL.map(set_quota),
        }
    }
}

/// Counter and limit.
const fn columns(quota: Quota) -> (&'static str, &'static str) {
    match quota {
        Quota::Users => ("user_count", "user_quota"),
        Quota::ApiClients => ("api_client_count", "api_client_quota"),
        Quota::Webhooks => ("webhook_count", "webhook_quota"),
    }
}

fn of(statements: &[Statement; 3], quota: Quota) -> &Statement {
    let [users, api_clients, webhooks] = statements;
    match quota {
        Quota::Users => users,
        Quota::ApiClients => api_clients,
        Quota::Webhooks => webhooks,
    }
}

impl Tx<'_> {
    /// Counts one more against the organisation's quota. Call it last: the tenant's row is held until the commit, and
    /// whoever holds it waits for nobody.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`]: nothing of the transaction stays.
    pub(in super::super) async fn count_up(&mut self, tenant_id: TenantId, quota: Quota) -> Result<(), Failure> {
        let statements = self.statements();
        let count = query(of(&statements.tenants.settings.count_up, quota)).bind(tenant_id.as_uuid());
        if self.execute(count).await? == 1 {
            return Ok(());
        }
        let row = self.fetch_optional(details(tenant_id)).await?.ok_or(sqlx::Error::RowNotFound)?;
        let (_, limit) = columns(quota);
        // As many as there are already, if the limit has just been taken away.
        let limit = Columns::new("tenants", &row).get::<Option<i64>>(limit)?.unwrap_or(i64::MAX);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Err(StoreError::QuotaExceeded { quota, limit }.into())
    }

    /// Counts one less. Call it last, as [`Self::count_up`].
    pub(in super::super) async fn count_down(&mut self, tenant_id: TenantId, quota: Quota) -> Result<(), Failure> {
        let statements = self.statements();
        let count = query(of(&statements.tenants.settings.count_down, quota)).bind(tenant_id.as_uuid());
        self.execute(count).await.map(|_| ())
    }
}

#[async_trait]
impl Plain for ChangeTenant {
    type Reply = ChangeTenantOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ChangeTenantOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let id = self.stamp.tenant_id;
        let statements = tx.statements();
        let lock = query(&statements.tenants.settings.lock_settings).bind(id.as_uuid());
        let Some(row) = tx.fetch_optional(lock).await? else {
            return Ok(Outcome::Rollback(ChangeTenantOutcome::NotFound));
        };
        let row = Columns::new("tenants", &row);
        let (name_before, before): (_, TenantSettings) = (row.text("name")?, row.json("settings")?);
        let name = self.name.clone().unwrap_or_else(|| name_before.clone());
        let settings = TenantSettings { retention: self.retention.unwrap_or(before.retention) };
        let mut changed = Vec::new();
        changed.extend((name != name_before).then_some("name"));
        changed.extend((settings.retention != before.retention).then_some("retention"));
        if changed.is_empty() {
            return Ok(Outcome::Rollback(found(tx, id).await?));
        }
        let update = "-- change_tenant
            UPDATE tenants SET name = $2, settings = $3, settings_version = settings_version + 1 WHERE id = $1";
        let settings = rows::json(&settings)?;
        tx.execute(query(update).bind(id.as_uuid()).bind(&name).bind(&settings)).await?;
        let event = Event::new(&self.stamp, EventKind::TenantChanged, Subjects::default())
            .with("changed", changed)
            .with("settings_sha256", Digest::of(&settings).to_b64u());
        tx.insert_events(vec![event]).await?;
        Ok(Outcome::Commit(found(tx, id).await?))
    }
}

#[async_trait]
impl Plain for SetQuotas {
    type Reply = ChangeTenantOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ChangeTenantOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let id = self.stamp.tenant_id;
        let statements = tx.statements();
        let mut changed = Vec::new();
        for (quota, limit) in &self.limits {
            let set = query(of(&statements.tenants.settings.set_quota, *quota));
            if tx.execute(set.bind(id.as_uuid()).bind(limit.map(i64::from))).await? == 0 {
                return Ok(Outcome::Rollback(ChangeTenantOutcome::NotFound));
            }
            changed.push(format!("quotas.{quota}"));
        }
        if !changed.is_empty() {
            let event = Event::new(&self.stamp, EventKind::TenantChanged, Subjects::default()).with("changed", changed);
            tx.insert_events(vec![event]).await?;
        }
        Ok(Outcome::Commit(found(tx, id).await?))
    }
}

async fn found(tx: &mut Tx<'_>, id: TenantId) -> Result<ChangeTenantOutcome, Failure> {
    let row = tx.fetch_optional(details(id)).await?;
    Ok(match row {
        Some(row) => ChangeTenantOutcome::Changed(Box::new(read(&Columns::new("tenants", &row))?)),
        None => ChangeTenantOutcome::NotFound,
    })
}

/// A tenant with everything that may be set.
pub(super) fn details(id: TenantId) -> Query<'static> {
    query(
        "-- tenant_details
        SELECT id, slug, name, policy, policy_version, created_at, disabled_at, settings, settings_version,
            user_count, user_quota, api_client_count, api_client_quota, webhook_count, webhook_quota
        FROM tenants WHERE id = $1",
    )
    .bind(id.as_uuid())
}

/// See [`details`].
pub(super) fn read(row: &Columns<'_>) -> Result<TenantDetails, StoreError> {
    let mut usage = Vec::with_capacity(Quota::ALL.len());
    for quota in Quota::ALL {
        let (count, limit) = columns(quota);
        let most = row.get::<Option<i64>>(limit)?.map(u32::try_from).transpose().map_err(|_| row.corrupt(limit))?;
        usage.push(Usage { quota, count: row.count(count)?, limit: most });
    }
    Ok(TenantDetails {
        tenant: super::tenant(row)?,
        settings: row.json("settings")?,
        settings_version: row.count("settings_version")?,
        disabled_at: row.optional_time("disabled_at")?,
        usage,
    })
}

/// Tenants that keep something for another time than the server does.
pub(super) async fn differing(
    database: &Database,
    page: PageRequest<TenantId>,
) -> Result<Vec<(TenantId, TenantSettings)>, StoreError> {
    let differing = query(
        "-- tenants_with_settings
        SELECT id, settings FROM tenants WHERE settings <> '{}' AND id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(page.before.map_or(Uuid::max(), TenantId::as_uuid))
    .bind(i64::from(page.limit));
    let read = |row| {
        let row = Columns::new("tenants", row);
        Ok((row.id("id")?, row.json("settings")?))
    };
    database.fetch_all(differing).await?.iter().map(read).collect()
}
