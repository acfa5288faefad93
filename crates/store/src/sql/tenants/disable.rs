//! Disabling an organisation: the barrier of all barriers.
//!
//! Whoever acts for an organisation shares its row until the commit (see `locks.rs`). Disabling has two steps. First the
//! row says so, beside those who share it: on PostgreSQL nobody who wants it alone comes to it while they follow one
//! another, and an organisation that floods is one to be disabled. From that commit on whoever looks meets a disabled
//! organisation. Then the row is held alone for a moment: whoever had looked before has committed by then. So on any
//! node, once both have returned, nothing by its API clients and devices commits. What still waits is ended afterwards,
//! in portions: nobody can answer it meanwhile.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects},
    limits::{ENROLLMENT_TTL_SECONDS, MAX_TTL_SECONDS},
    ports::{StoreError, challenges::DueChallenge, tenants::SwitchTenantOutcome},
};
use countersign_proto::{
    ids::{EnrollmentId, TenantId},
    timestamp::Timestamp,
};

use super::super::{Columns, Database, Outcome, Plain, Room, Row, Tx, dialect, query};
use crate::{failure::Failure, rows, statement::Statement};

/// See the module.
pub(super) struct Statements {
    tenant_to_switch: Statement,
    hold_tenant: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            tenant_to_switch: Statement::new(format!(
                "-- tenant_to_switch
                SELECT id, disabled_at FROM tenants WHERE id = $1 {}",
                dialect::locking("FOR NO KEY UPDATE"),
            )),
            hold_tenant: Statement::new(format!(
                "-- hold_tenant
                SELECT id FROM tenants WHERE id = $1 {}",
                dialect::locking("FOR UPDATE"),
            )),
        }
    }
}

/// Disables or enables the stamp's tenant; the barrier needs a [`Drain`] after it.
pub(super) struct Switch {
    pub(super) stamp: Stamp,
    pub(super) disables: bool,
}

#[async_trait]
impl Plain for Switch {
    type Reply = SwitchTenantOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<SwitchTenantOutcome>, Failure> {
        let id = self.stamp.tenant_id.as_uuid();
        let statements = tx.statements();
        let now = query(&statements.tenants.disable.tenant_to_switch).bind(id);
        let Some(row) = tx.fetch_optional(now).await? else {
            return Ok(Outcome::Rollback(SwitchTenantOutcome::NotFound));
        };
        if Columns::new("tenants", &row).optional_time("disabled_at")?.is_some() == self.disables {
            return Ok(Outcome::Rollback(SwitchTenantOutcome::Already));
        }
        let switch = query("-- switch_tenant\nUPDATE tenants SET disabled_at = $2 WHERE id = $1");
        let at = self.disables.then(|| self.stamp.at.as_millis());
        tx.execute(switch.bind(id).bind(at)).await?;
        let kind = if self.disables { EventKind::TenantDisabled } else { EventKind::TenantEnabled };
        tx.insert_events(vec![Event::new(&self.stamp, kind, Subjects::default())]).await?;
        Ok(Outcome::Commit(SwitchTenantOutcome::Switched))
    }

    fn room(&self) -> Room {
        if self.disables { Room::Last } else { Room::Free }
    }
}

/// Waits for whoever had looked at the tenant before it was disabled.
pub(super) struct Drain(pub(super) TenantId);

#[async_trait]
impl Plain for Drain {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        let statements = tx.statements();
        tx.fetch_all(query(&statements.tenants.disable.hold_tenant).bind(self.0.as_uuid())).await?;
        Ok(Outcome::Rollback(()))
    }

    fn room(&self) -> Room {
        Room::Last
    }
}

/// Pending challenges of a tenant. Ids begin with the time, so that no history is read: what waits is young.
pub(super) async fn pending(
    database: &Database,
    id: TenantId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<DueChallenge>, StoreError> {
    let pending = query(
        "-- pending_of_tenant
        SELECT id, tenant_id, user_id FROM challenges
        WHERE tenant_id = $1 AND id >= $2 AND status = 'pending' AND expires_at > $3 ORDER BY id LIMIT $4",
    )
    .bind(id.as_uuid())
    // And a minute, for nodes whose clocks differ.
    .bind(rows::first_id_at(now.plus_seconds(-MAX_TTL_SECONDS - 60)))
    .bind(now.as_millis())
    .bind(i64::from(limit));
    let read = |row: &Row| {
        let row = Columns::new("challenges", row);
        Ok(DueChallenge { tenant_id: row.id("tenant_id")?, user_id: row.id("user_id")?, id: row.id("id")? })
    };
    database.fetch_all(pending).await?.iter().map(read).collect()
}

/// Open enrollments of a tenant; young, as well.
pub(super) async fn open_enrollments(
    database: &Database,
    id: TenantId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<EnrollmentId>, StoreError> {
    let open = query(
        "-- open_enrollments_of_tenant
        SELECT id FROM enrollments
        WHERE tenant_id = $1 AND id >= $2 AND status IN ('pending', 'claimed') AND expires_at > $3 ORDER BY id LIMIT $4",
    )
    .bind(id.as_uuid())
    .bind(rows::first_id_at(now.plus_seconds(-ENROLLMENT_TTL_SECONDS.end() - 60)))
    .bind(now.as_millis())
    .bind(i64::from(limit));
    let rows = database.fetch_all(open).await?;
    rows.iter().map(|row| Columns::new("enrollments", row).id("id")).collect()
}
