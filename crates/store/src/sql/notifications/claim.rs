//! Leasing: a dispatcher takes what is due in its lane.
//!
//! What is met there and cannot be sent ends here, so that it neither comes back for ever nor keeps the rest of the lane
//! from going out. That is how a push ends whose sender died while its challenge did: nobody drops a push that is being
//! sent, so it is due again when its lease runs out, and is then withdrawn instead.

use countersign_core::{
    challenge::status_at,
    ports::{
        StoreError,
        notifications::{
            ClaimNotifications, FinishNotification, LeasedNotification, NotificationKind, NotificationVerdict,
        },
    },
};
use countersign_proto::{
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, Word as _},
};
use serde_json::json;

use super::{
    super::{Columns, Tx, dialect, query},
    delivery::Sent,
    is_sendable, kind,
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
            // Whoever suspends or revokes the device, or disables the tenant, holds that row, and is skipped, or comes
            // after the lease.
            claim_notifications: Statement::new(format!(
                "-- claim_notifications
                UPDATE notifications SET lease = $1, leased_until = $2, due_at = $2, attempts = attempts + 1
                WHERE id IN (
                    SELECT notifications.id
                    FROM notifications CROSS JOIN devices CROSS JOIN tenants
                    WHERE notifications.channel = $5 AND notifications.due_at <= $3 AND {is_sendable}
                    ORDER BY notifications.due_at, notifications.id LIMIT $4 {lock})
                RETURNING id",
                is_sendable = is_sendable("$3"),
                lock = dialect::locking(
                    "FOR UPDATE OF notifications SKIP LOCKED FOR SHARE OF devices SKIP LOCKED
                    FOR KEY SHARE OF tenants SKIP LOCKED"
                ),
            )),
            leased_notifications: Statement::new(format!(
                "-- leased_notifications
                SELECT notifications.id AS id, notifications.tenant_id AS tenant_id, kind,
                    notifications.device_id AS device_id, challenge_id, push, push_updated_at,
                    push_undeliverable, attempts, notifications.expires_at AS expires_at, leased_until,
                    challenges.status AS challenge_status,
                    challenges.expires_at AS challenge_ends_at
                FROM {ids} CROSS JOIN notifications CROSS JOIN devices
                LEFT JOIN challenges ON challenges.id = notifications.challenge_id
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
        let (mut leased_notifications, mut over, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for row in &self.fetch_all(leased).await? {
            let row = Columns::new("notifications", row);
            let leased = leased_notification(&row, command)?;
            match leased.challenge_id {
                Some(challenge_id) if is_over(&row, &leased, command)? => {
                    let key = (challenge_id, leased.device_id);
                    let push = Sent { id: leased.id, tenant_id: leased.tenant_id, key, at: command.now };
                    over.push((push, i64::from(leased.attempts)));
                }
                _ if row.json::<PushBinding>("push").is_err() => unreadable.push(rejected(leased, command.now)),
                _ => leased_notifications.push(leased),
            }
        }
        self.delete_notifications(&over.iter().map(|(push, _)| push.id).collect::<Vec<_>>()).await?;
        self.end_challenges_pushes(over).await?;
        if !unreadable.is_empty() {
            self.finish_notifications(&unreadable.iter().collect::<Vec<_>>()).await?;
        }
        Ok(leased_notifications)
    }
}

/// Whether it would ring for a challenge that has ended.
fn is_over(row: &Columns<'_>, leased: &LeasedNotification, command: &ClaimNotifications) -> Result<bool, StoreError> {
    if leased.kind != NotificationKind::Challenge {
        return Ok(false);
    }
    let status = row.optional_word("challenge_status")?.zip(row.optional_time("challenge_ends_at")?);
    let status = status.map(|(status, ends_at)| status_at(status, ends_at, command.now));
    Ok(status != Some(ChallengeStatus::Pending))
}

/// The end of a push to a device whose binding cannot be read. An operator must look: no server of ours writes such.
fn rejected(leased: LeasedNotification, at: Timestamp) -> FinishNotification {
    tracing::error!(device_id = %leased.device_id, "a device's push binding in the database cannot be read");
    FinishNotification { leased, verdict: NotificationVerdict::Rejected("unreadable-binding".to_owned()), at }
}

/// With no binding if that cannot be read.
fn leased_notification(row: &Columns<'_>, command: &ClaimNotifications) -> Result<LeasedNotification, StoreError> {
    Ok(LeasedNotification {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        kind: kind(row)?,
        device_id: row.id("device_id")?,
        challenge_id: row.optional_id("challenge_id")?,
        push: row.json("push").unwrap_or(PushBinding::None),
        push_updated_at: row.time("push_updated_at")?,
        was_undeliverable: row.optional_text("push_undeliverable")?.is_some(),
        // This one is counted already.
        attempts: row.count("attempts")?.saturating_sub(1),
        expires_at: row.time("expires_at")?,
        lease: command.lease,
        leased_until: row.time("leased_until")?,
    })
}
