//! Leasing: a dispatcher takes what is due in its lane.

use countersign_core::ports::{
    StoreError,
    notifications::{ClaimNotifications, LeasedNotification},
};
use countersign_proto::vocabulary::Word as _;
use serde_json::json;

use super::{
    super::{Columns, Row, Tx, dialect, query},
    is_due, kind,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    claim_notifications: Statement,
    leased_notifications: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // Whoever suspends or revokes the device holds its row, and is skipped, or comes after the lease.
            claim_notifications: Statement::new(format!(
                "-- claim_notifications
                UPDATE notifications SET lease = $1, leased_until = $2, due_at = $2, attempts = attempts + 1
                WHERE id IN (
                    SELECT notifications.id
                    FROM notifications CROSS JOIN devices
                    WHERE notifications.channel = $5 AND {is_due}
                    ORDER BY notifications.due_at, notifications.id LIMIT $4 {lock})
                RETURNING id",
                is_due = is_due("$3"),
                lock = dialect::locking("FOR UPDATE OF notifications SKIP LOCKED FOR SHARE OF devices SKIP LOCKED"),
            )),
            leased_notifications: Statement::new(format!(
                "-- leased_notifications
                SELECT notifications.id AS id, notifications.tenant_id AS tenant_id, kind, device_id, challenge_id,
                    push, push_updated_at, push_undeliverable, attempts, expires_at, leased_until
                FROM {ids} CROSS JOIN notifications CROSS JOIN devices
                WHERE notifications.id = r_id AND notifications.lease = $2
                  AND devices.id = notifications.device_id AND devices.tenant_id = notifications.tenant_id
                ORDER BY notifications.id",
                ids = dialect::row_source(1, IDS),
            )),
        }
    }
}

impl Tx<'_> {
    /// Leases what is due.
    pub(in super::super) async fn claim_notifications(
        &mut self,
        command: &ClaimNotifications,
    ) -> Result<Vec<LeasedNotification>, Failure> {
        let statements = self.statements();
        let leased_until = command.now.plus_seconds(command.lease_seconds);
        let claim = query(&statements.notifications.claim.claim_notifications)
            .bind(command.lease.as_uuid())
            .bind(leased_until.as_millis())
            .bind(command.now.as_millis())
            .bind(i64::from(command.limit))
            .bind(command.channel.as_str());
        let claimed = self.fetch_all(claim).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids = Vec::with_capacity(claimed.len());
        for row in &claimed {
            ids.push(json!({"r_id": rows::id::<()>(Columns::new("notifications", row).id("id")?)}));
        }
        let leased = query(&statements.notifications.claim.leased_notifications)
            .bind(rows::to_parameter(IDS, ids))
            .bind(command.lease.as_uuid());
        let leased = self.fetch_all(leased).await?;
        leased.iter().map(|row| Ok(leased_notification(row, command)?)).collect()
    }
}

fn leased_notification(row: &Row, command: &ClaimNotifications) -> Result<LeasedNotification, StoreError> {
    let row = Columns::new("notifications", row);
    Ok(LeasedNotification {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        kind: kind(&row)?,
        device_id: row.id("device_id")?,
        challenge_id: row.optional_id("challenge_id")?,
        push: row.json("push")?,
        push_updated_at: row.time("push_updated_at")?,
        was_undeliverable: row.optional_text("push_undeliverable")?.is_some(),
        // This one is counted already.
        attempts: row.count("attempts")?.saturating_sub(1),
        expires_at: row.time("expires_at")?,
        lease: command.lease,
        leased_until: row.time("leased_until")?,
    })
}
