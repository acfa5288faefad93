//! Ends of an enrollment without a device: cancelled, expired, contested.
//!
//! A device that was waiting for its confirmation is deleted with it, keys included, so that the same phone may
//! try again with another ticket. What happened stays in the log.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind},
    ports::enrollments::CancelEnrollmentOutcome,
};
use countersign_proto::{
    ids::{DeviceId, EnrollmentId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::EnrollmentStatus,
};

use super::{super::Room, Columns, Outcome, Plain, Tx, about, query, user_of};
use crate::failure::Failure;

/// Cancels a pending or claimed enrollment.
pub(super) struct CancelEnrollment {
    pub(super) stamp: Stamp,
    pub(super) id: EnrollmentId,
}

#[async_trait]
impl Plain for CancelEnrollment {
    type Reply = CancelEnrollmentOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<CancelEnrollmentOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let Some(user_id) = user_of(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(CancelEnrollmentOutcome::NotFound));
        };
        tx.lock_user(self.stamp.tenant_id, user_id).await?;
        let cancel = "-- cancel_enrollment
            UPDATE enrollments SET status = 'cancelled', code = NULL, decision_id = $4
            WHERE id = $1 AND tenant_id = $2 AND status IN ('pending', 'claimed') AND expires_at > $3
            RETURNING id, device_id";
        let cancelled = end(tx, cancel, &self.stamp, self.id, user_id, EventKind::EnrollmentCancelled).await?;
        if cancelled {
            return Ok(Outcome::Commit(CancelEnrollmentOutcome::Cancelled));
        }
        Ok(Outcome::Rollback(match status_at(tx, self.stamp.tenant_id, self.id, self.stamp.at).await? {
            EnrollmentStatus::Cancelled => CancelEnrollmentOutcome::AlreadyCancelled,
            status => CancelEnrollmentOutcome::Closed(status),
        }))
    }

    fn room(&self) -> Room {
        Room::Reserved
    }
}

/// Ends an enrollment whose time is up.
pub(super) struct ExpireEnrollment {
    pub(super) stamp: Stamp,
    pub(super) id: EnrollmentId,
}

#[async_trait]
impl Plain for ExpireEnrollment {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let Some(user_id) = user_of(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(false));
        };
        tx.lock_user(self.stamp.tenant_id, user_id).await?;
        let expire = "-- expire_enrollment
            UPDATE enrollments SET status = 'expired', code = NULL, decision_id = $4
            WHERE id = $1 AND tenant_id = $2 AND status IN ('pending', 'claimed') AND expires_at <= $3
            RETURNING id, device_id";
        let expired = end(tx, expire, &self.stamp, self.id, user_id, EventKind::EnrollmentExpired).await?;
        Ok(if expired { Outcome::Commit(true) } else { Outcome::Rollback(false) })
    }
}

/// Which of a user's open enrollments end.
pub(in super::super) enum OpenEnrollments {
    /// Each: a lock without end also keeps new devices out (protocol 10.1).
    All,
    /// Those that no administrator let in: whoever signs in as the user may have begun them (protocol 9).
    NotOverridden,
    /// Each, also one whose time is up and that nobody has ended yet: nothing of the user's stays (protocol 10.8).
    Erased,
    /// Those to which this device agreed: it is not the user's any more, or may not be (protocol 4.1).
    ApprovedBy(DeviceId),
}

impl Tx<'_> {
    /// Cancels open enrollments of the user, for `reason`. The user's row is locked.
    pub(in super::super) async fn cancel_open_enrollments(
        &mut self,
        stamp: &Stamp,
        user_id: UserId,
        which: OpenEnrollments,
        reason: &'static str,
    ) -> Result<(), Failure> {
        let (device_id, spares_overridden) = match which {
            OpenEnrollments::All | OpenEnrollments::Erased => (None, false),
            OpenEnrollments::NotOverridden => (None, true),
            OpenEnrollments::ApprovedBy(device_id) => (Some(device_id.as_uuid()), false),
        };
        let ends_after = if matches!(which, OpenEnrollments::Erased) { i64::MIN } else { stamp.at.as_millis() };
        let cancel = query(
            "-- cancel_open_enrollments
            UPDATE enrollments SET status = 'cancelled', code = NULL, decision_id = $4
            WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1)
                AND status IN ('pending', 'claimed') AND expires_at > $3
                AND (overridden = 0 OR $5 = 0)
                AND ($6 IS NULL OR EXISTS (SELECT 1 FROM challenges
                    WHERE challenges.id = enrollments.approval_id AND challenges.device_id = $6))
            RETURNING id, device_id",
        )
        .bind(user_id.as_uuid())
        .bind(stamp.tenant_id.as_uuid())
        .bind(ends_after)
        .bind(stamp.command_id.as_uuid())
        .bind(i64::from(spares_overridden))
        .bind(device_id);
        let mut events = Vec::new();
        for row in &self.fetch_all(cancel).await? {
            let row = Columns::new("enrollments", row);
            let device_id = row.optional_id("device_id")?;
            if let Some(device_id) = device_id {
                delete_waiting_device(self, stamp.tenant_id, user_id, device_id).await?;
            }
            let about = about(user_id, row.id("id")?, device_id);
            events.push(Event::new(stamp, EventKind::EnrollmentCancelled, about).with("reason", reason));
        }
        self.insert_events(events).await
    }
}

/// Runs the conditional update `statement`; if it ended the enrollment, deletes the waiting device, writes the
/// event and returns `true`. The user's row is locked.
pub(super) async fn end(
    tx: &mut Tx<'_>,
    statement: &'static str,
    stamp: &Stamp,
    id: EnrollmentId,
    user_id: UserId,
    kind: EventKind,
) -> Result<bool, Failure> {
    let statement = query(statement)
        .bind(id.as_uuid())
        .bind(stamp.tenant_id.as_uuid())
        .bind(stamp.at.as_millis())
        .bind(stamp.command_id.as_uuid());
    let Some(row) = tx.fetch_optional(statement).await? else { return Ok(false) };
    // Named only once claimed: a pending enrollment has no device.
    let device_id = Columns::new("enrollments", &row).optional_id("device_id")?;
    if let Some(device_id) = device_id {
        delete_waiting_device(tx, stamp.tenant_id, user_id, device_id).await?;
    }
    tx.insert_events(vec![Event::new(stamp, kind, about(user_id, id, device_id))]).await?;
    Ok(true)
}

/// Deletes a device that waits for its confirmation. The user's row is locked.
pub(super) async fn delete_waiting_device(
    tx: &mut Tx<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    device_id: DeviceId,
) -> Result<(), Failure> {
    let count = "-- count_deleted_device
        UPDATE users SET device_count = device_count - 1, devices_version = devices_version + 1
        WHERE id = $1 AND tenant_id = $2";
    tx.execute(query(count).bind(user_id.as_uuid()).bind(tenant_id.as_uuid())).await?;
    let of_device = [
        "-- delete_device_keys
        DELETE FROM device_keys WHERE device_id = $1 AND tenant_id = $2",
        "-- delete_device_jtis
        DELETE FROM push_update_jtis WHERE device_id = $1 AND tenant_id = $2",
        "-- delete_device_push_health
        DELETE FROM push_health WHERE device_id = $1 AND tenant_id = $2",
        "-- delete_device_notifications
        DELETE FROM notifications WHERE device_id = $1 AND tenant_id = $2",
        "-- delete_device
        DELETE FROM devices WHERE id = $1 AND tenant_id = $2",
    ];
    for delete in of_device {
        tx.execute(query(delete).bind(device_id.as_uuid()).bind(tenant_id.as_uuid())).await?;
    }
    Ok(())
}

/// What is true of an existing enrollment at `now`: whose time is up has expired, swept or not.
pub(super) async fn status_at(
    tx: &mut Tx<'_>,
    tenant_id: TenantId,
    id: EnrollmentId,
    now: Timestamp,
) -> Result<EnrollmentStatus, Failure> {
    let state = "-- enrollment_state
        SELECT id, status, expires_at FROM enrollments WHERE id = $1 AND tenant_id = $2";
    let state = query(state).bind(id.as_uuid()).bind(tenant_id.as_uuid());
    let row = tx.fetch_optional(state).await?.ok_or(sqlx::Error::RowNotFound)?;
    let columns = Columns::new("enrollments", &row);
    Ok(match columns.word("status")? {
        EnrollmentStatus::Pending | EnrollmentStatus::Claimed if columns.time("expires_at")? <= now => {
            EnrollmentStatus::Expired
        }
        status => status,
    })
}
