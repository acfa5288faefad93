//! The code that is typed back (protocol 4.4).
//!
//! Every guess is counted by the conditional update that judges it, under the user's row: however many nodes are
//! asked at once, exactly [`MAX_WRONG_CODES`] guesses are judged.

use async_trait::async_trait;
use countersign_core::{
    digest::Digest,
    event::{Event, EventKind},
    limits::MAX_WRONG_CODES,
    ports::enrollments::{ConfirmEnrollment, ConfirmOutcome},
};
use countersign_proto::{ids::UserId, vocabulary::EnrollmentStatus};

use super::{
    Columns, Outcome, Plain, Tx, about,
    close::{delete_waiting_device, end},
    devices, query, user_of,
};
use crate::failure::Failure;

#[async_trait]
impl Plain for ConfirmEnrollment {
    type Reply = ConfirmOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<ConfirmOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let Some(user_id) = user_of(tx, self.stamp.tenant_id, self.id).await? else {
            return Ok(Outcome::Rollback(ConfirmOutcome::NotFound));
        };
        tx.lock_user(self.stamp.tenant_id, user_id).await?;
        if self.is_guarded && cancel_unapproved(self, tx, user_id).await? {
            return Ok(Outcome::Commit(ConfirmOutcome::ApprovalRequired));
        }
        if complete(self, tx).await? {
            activate(self, tx, user_id).await?;
            return Ok(Outcome::Commit(ConfirmOutcome::Completed));
        }
        if let Some(wrong_codes) = count_wrong_code(self, tx).await? {
            let attempts_left = MAX_WRONG_CODES.saturating_sub(wrong_codes);
            if attempts_left == 0 {
                cancel(self, tx, user_id).await?;
            }
            return Ok(Outcome::Commit(ConfirmOutcome::WrongCode { attempts_left }));
        }
        Ok(Outcome::Rollback(why_neither(self, tx).await?))
    }
}

/// Ends the enrollment if nobody agreed to it and the user has got a device meanwhile: of two invitations of a user who
/// had none, one makes a device.
async fn cancel_unapproved(command: &ConfirmEnrollment, tx: &mut Tx<'_>, user_id: UserId) -> Result<bool, Failure> {
    let cancel = "-- cancel_unapproved_enrollment
        UPDATE enrollments SET status = 'cancelled', code = NULL, decision_id = $4
        WHERE id = $1 AND tenant_id = $2 AND status = 'claimed' AND expires_at > $3
            AND approval_id IS NULL AND overridden = 0 AND EXISTS (
                SELECT 1 FROM devices
                WHERE devices.user_id = enrollments.user_id AND devices.tenant_id = enrollments.tenant_id
                    AND devices.purpose = 'approval' AND devices.status IN ('active', 'suspended'))
        RETURNING id, device_id";
    end(tx, cancel, &command.stamp, command.id, user_id, EventKind::EnrollmentCancelled).await
}

/// Completes the enrollment if the code is right; it keeps the code, so that a repeat is recognised.
async fn complete(command: &ConfirmEnrollment, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let complete = "-- complete_enrollment
        UPDATE enrollments SET status = 'completed', decision_id = $6
        WHERE id = $1 AND tenant_id = $2 AND device_id = $3 AND status = 'claimed' AND expires_at > $4 AND code = $5";
    let complete = query(complete)
        .bind(command.id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.at.as_millis())
        .bind(&command.code)
        .bind(command.stamp.command_id.as_uuid());
    Ok(tx.execute(complete).await? == 1)
}

async fn activate(command: &ConfirmEnrollment, tx: &mut Tx<'_>, user_id: UserId) -> Result<(), Failure> {
    let tenant_id = command.stamp.tenant_id.as_uuid();
    let activate = "-- activate_device
        UPDATE devices SET status = 'active', binding_id = $4, binding = $5, activated_at = $6, decision_id = $7
        WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND status = 'pending_confirmation'";
    let activate = query(activate)
        .bind(command.device_id.as_uuid())
        .bind(tenant_id)
        .bind(user_id.as_uuid())
        .bind(command.binding.id.as_uuid())
        .bind(&command.binding.jws)
        .bind(command.stamp.at.as_millis())
        .bind(command.stamp.command_id.as_uuid());
    if tx.execute(activate).await? != 1 {
        // Whoever revokes a waiting device cancels its enrollment in the same transaction.
        let row = command.device_id.to_string();
        return Err(countersign_core::ports::StoreError::Corrupt { table: "devices", column: "status", row }.into());
    }
    let version = "-- count_activated_device
        UPDATE users SET devices_version = devices_version + 1 WHERE id = $1 AND tenant_id = $2";
    tx.execute(query(version).bind(user_id.as_uuid()).bind(tenant_id)).await?;
    let subjects = about(user_id, command.id, Some(command.device_id));
    let event = |kind| Event::new(&command.stamp, kind, subjects);
    let added = event(EventKind::DeviceAdded).with("binding_sha256", Digest::of(&command.binding.jws).to_b64u());
    let events = vec![event(EventKind::EnrollmentCompleted), event(EventKind::DeviceConfirmed), added];
    tx.insert_events(events).await?;
    devices::supersede(tx, &command.stamp, user_id, command.device_id).await
}

/// Counts a wrong code; returns how many there are now, or `None` if there was nothing to guess.
async fn count_wrong_code(command: &ConfirmEnrollment, tx: &mut Tx<'_>) -> Result<Option<u32>, Failure> {
    let count = "-- count_wrong_code
        UPDATE enrollments SET wrong_codes = wrong_codes + 1
        WHERE id = $1 AND tenant_id = $2 AND device_id = $3 AND status = 'claimed' AND expires_at > $4 AND code <> $5
        RETURNING id, wrong_codes";
    let count = query(count)
        .bind(command.id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.device_id.as_uuid())
        .bind(command.stamp.at.as_millis())
        .bind(&command.code);
    let row = tx.fetch_optional(count).await?;
    Ok(row.map(|row| Columns::new("enrollments", &row).count("wrong_codes")).transpose()?)
}

/// The last wrong code: the enrollment ends, its device is deleted.
async fn cancel(command: &ConfirmEnrollment, tx: &mut Tx<'_>, user_id: UserId) -> Result<(), Failure> {
    let cancel = "-- cancel_guessed_enrollment
        UPDATE enrollments SET status = 'cancelled', code = NULL, decision_id = $3 WHERE id = $1 AND tenant_id = $2";
    let cancel = query(cancel)
        .bind(command.id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.stamp.command_id.as_uuid());
    tx.execute(cancel).await?;
    delete_waiting_device(tx, command.stamp.tenant_id, user_id, command.device_id).await?;
    let subjects = about(user_id, command.id, Some(command.device_id));
    let event = Event::new(&command.stamp, EventKind::EnrollmentCancelled, subjects).with("reason", "wrong_codes");
    tx.insert_events(vec![event]).await
}

/// Why the code was not judged.
async fn why_neither(command: &ConfirmEnrollment, tx: &mut Tx<'_>) -> Result<ConfirmOutcome, Failure> {
    let state = "-- confirmation_state
        SELECT id, status, code, expires_at FROM enrollments WHERE id = $1 AND tenant_id = $2";
    let state = query(state).bind(command.id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    let row = tx.fetch_optional(state).await?.ok_or(sqlx::Error::RowNotFound)?;
    let columns = Columns::new("enrollments", &row);
    let has_expired = columns.time("expires_at")? <= command.stamp.at;
    Ok(match columns.word("status")? {
        EnrollmentStatus::Pending | EnrollmentStatus::Claimed if has_expired => {
            ConfirmOutcome::Closed(EnrollmentStatus::Expired)
        }
        EnrollmentStatus::Pending | EnrollmentStatus::Claimed => ConfirmOutcome::NotClaimed,
        EnrollmentStatus::Completed if columns.optional_text("code")?.as_deref() == Some(&command.code) => {
            ConfirmOutcome::AlreadyCompleted
        }
        status => ConfirmOutcome::Closed(status),
    })
}
