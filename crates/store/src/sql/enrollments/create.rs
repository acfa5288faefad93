//! An invitation (protocol 4.1).
//!
//! The user's row is held from the first statement on: whether the user has a device, and whether an approval was used
//! before, is true until the commit. A refused invitation leaves nothing behind, not even a new user.

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind, Subjects},
    ports::{
        enrollments::{Admission, Approval, CreateEnrollment, CreateEnrollmentOutcome},
        tenants::Quota,
        users::UserName,
    },
};
use countersign_proto::{timestamp::Timestamp, vocabulary::Word as _};

use super::{Columns, Outcome, Plain, Tx, about, query};
use crate::failure::Failure;

#[async_trait]
impl Plain for CreateEnrollment {
    type Reply = CreateEnrollmentOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<CreateEnrollmentOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let (user, is_locked) = name_user(self, tx).await?;
        if is_locked && !matches!(self.admission, Admission::Overridden { .. }) {
            return Ok(Outcome::Rollback(CreateEnrollmentOutcome::UserLocked));
        }
        let is_admitted = match &self.admission {
            Admission::Free | Admission::Overridden { .. } => true,
            Admission::FirstDevice => !has_device(self, tx, &user).await?,
            Admission::Approved(approval) => approval.user_id == user.id && stands(self, tx, approval).await?,
        };
        if !is_admitted || !insert(self, tx, &user).await? {
            return Ok(Outcome::Rollback(CreateEnrollmentOutcome::ApprovalRequired));
        }
        tx.insert_events(events(self, &user)).await?;
        if user.id == self.new_user_id {
            tx.count_up(self.stamp.tenant_id, Quota::Users).await?;
        }
        Ok(Outcome::Commit(CreateEnrollmentOutcome::Created(user)))
    }
}

/// The user, made if new. Of two at once that name the same new user, the second waits for the first and then
/// finds it: one user, however they race. And whether the user is locked until somebody ends it.
async fn name_user(command: &CreateEnrollment, tx: &mut Tx<'_>) -> Result<(UserName, bool), Failure> {
    let upsert = "-- name_user
        INSERT INTO users (id, tenant_id, external_id, display_name, created_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant_id, external_id)
        DO UPDATE SET display_name = COALESCE(users.display_name, excluded.display_name)
        RETURNING id, external_id, display_name, locked_until";
    let upsert = query(upsert)
        .bind(command.new_user_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(&command.external_id)
        .bind(command.display_name.as_deref())
        .bind(command.stamp.at.as_millis());
    let row = tx.fetch_optional(upsert).await?.ok_or(sqlx::Error::RowNotFound)?;
    let columns = Columns::new("users", &row);
    let user = UserName {
        id: columns.id("id")?,
        external_id: columns.text("external_id")?,
        display_name: columns.optional_text("display_name")?,
    };
    Ok((user, columns.optional_time("locked_until")? == Some(Timestamp::NEVER)))
}

/// Whether the user has a device that could be asked, or could be once it is resumed: a suspended one is no reason to
/// let another one in unasked.
async fn has_device(command: &CreateEnrollment, tx: &mut Tx<'_>, user: &UserName) -> Result<bool, Failure> {
    let device = "-- device_to_ask
        SELECT id FROM devices
        WHERE user_id = $1 AND tenant_id = $2 AND purpose = 'approval' AND status IN ('active', 'suspended') LIMIT 1";
    let device = query(device).bind(user.id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    Ok(tx.fetch_optional(device).await?.is_some())
}

/// Whether the device that agreed is still the user's, by the keys that it agreed with, and the person has reported no fraud since: who reports may have
/// been talked into the approval.
async fn stands(command: &CreateEnrollment, tx: &mut Tx<'_>, approval: &Approval) -> Result<bool, Failure> {
    let device = "-- approving_device
        SELECT devices.id AS id FROM devices CROSS JOIN users CROSS JOIN challenges
        WHERE devices.id = $1 AND devices.tenant_id = $2 AND devices.user_id = $3
          AND devices.purpose = 'approval' AND devices.status = 'active'
          AND users.id = $3 AND challenges.id = $4 AND challenges.binding = devices.binding
          AND (users.reported_at IS NULL OR users.reported_at < challenges.decided_at)";
    let device = query(device)
        .bind(approval.device_id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(approval.user_id.as_uuid())
        .bind(approval.challenge_id.as_uuid());
    Ok(tx.fetch_optional(device).await?.is_some())
}

/// Writes the enrollment; `false` if its approval was used before.
async fn insert(command: &CreateEnrollment, tx: &mut Tx<'_>, user: &UserName) -> Result<bool, Failure> {
    let approval = match &command.admission {
        Admission::Approved(approval) => Some(approval.challenge_id.as_uuid()),
        Admission::Free | Admission::FirstDevice | Admission::Overridden { .. } => None,
    };
    let insert = "-- create_enrollment
        INSERT INTO enrollments
            (id, tenant_id, user_id, status, confirmation, purpose, ticket, expires_at, created_at, decision_id,
                seal, approval_id, overridden)
        VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (approval_id) WHERE approval_id IS NOT NULL DO NOTHING";
    let insert = query(insert)
        .bind(command.id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(user.id.as_uuid())
        .bind(command.confirmation.as_str())
        .bind(command.purpose.as_str())
        .bind(command.ticket.as_ref())
        .bind(command.expires_at.as_millis())
        .bind(command.stamp.at.as_millis())
        .bind(command.stamp.command_id.as_uuid())
        .bind(&command.seal)
        .bind(approval)
        .bind(i64::from(matches!(command.admission, Admission::Overridden { .. })));
    Ok(tx.execute(insert).await? == 1)
}

fn events(command: &CreateEnrollment, user: &UserName) -> Vec<Event> {
    let mut subjects = about(user.id, command.id, None);
    let mut overridden = None;
    match &command.admission {
        Admission::Free | Admission::FirstDevice => {}
        Admission::Approved(approval) => subjects.challenge_id = Some(approval.challenge_id),
        Admission::Overridden { reason } => {
            let event = Event::new(&command.stamp, EventKind::EnrollmentOverridden, subjects);
            overridden = Some(event.with("reason_sha256", reason.to_b64u()));
        }
    }
    let mut events = vec![Event::new(&command.stamp, EventKind::EnrollmentCreated, subjects)];
    events.extend(overridden);
    if user.id == command.new_user_id {
        let subjects = Subjects { user_id: Some(user.id), ..Subjects::default() };
        events.push(Event::new(&command.stamp, EventKind::UserCreated, subjects));
    }
    events
}
