//! Enrollments: tickets, claims, confirmations.
//!
//! Who agreed to an enrollment is decided when it is made, and whether that is still enough when its device comes, each
//! time under the user's row. A ticket's digest, user, purpose and confirmation never change; everything else changes only in a transaction
//! that holds the user's row, by a conditional update. Creation and claims are in `enrollments/create.rs` and `enrollments/claim.rs`; confirmation,
//! cancellation and expiry in `enrollments/confirm.rs` and `enrollments/close.rs`.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    digest::Digest,
    enrollment::{EnrollmentRecord, is_guarded},
    event::Subjects,
    policy::Policy,
    ports::{
        StoreError,
        devices::DeviceName,
        enrollments::{
            CancelEnrollmentOutcome, ClaimOutcome, ClaimTicket, ClaimedDevice, ConfirmEnrollment, ConfirmOutcome,
            CreateEnrollment, CreateEnrollmentOutcome, DueEnrollment, Enrollments, TicketHolder,
        },
        users::UserName,
    },
};
use countersign_proto::{
    ids::{DeviceId, EnrollmentId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::EnrollmentStatus,
};

use super::{Columns, Database, Outcome, Plain, Row, Tx, devices, query};
use crate::failure::Failure;

#[path = "enrollments/claim.rs"]
mod claim;
#[path = "enrollments/close.rs"]
mod close;
#[path = "enrollments/confirm.rs"]
mod confirm;
#[path = "enrollments/create.rs"]
mod create;

pub(super) use close::OpenEnrollments;

#[async_trait]
impl Enrollments for Database {
    async fn create_enrollment(&self, command: CreateEnrollment) -> Result<CreateEnrollmentOutcome, StoreError> {
        self.write(command).await
    }

    async fn enrollment(&self, tenant_id: TenantId, id: EnrollmentId) -> Result<Option<EnrollmentRecord>, StoreError> {
        let by_id = "-- enrollment
            SELECT enrollments.id AS id, enrollments.tenant_id AS tenant_id, user_id, external_id, display_name,
                status, confirmation, purpose, device_id, device_name, device_platform, expires_at,
                enrollments.created_at AS created_at
            FROM enrollments
            JOIN users ON users.id = enrollments.user_id AND users.tenant_id = enrollments.tenant_id
                AND users.erased_at IS NULL
            WHERE enrollments.tenant_id = $1 AND enrollments.id = $2";
        let row = self.fetch_optional(query(by_id).bind(tenant_id.as_uuid()).bind(id.as_uuid())).await?;
        row.as_ref().map(enrollment).transpose()
    }

    async fn ticket_holder(&self, ticket: Digest) -> Result<Option<TicketHolder>, StoreError> {
        let by_ticket = "-- ticket_holder
            SELECT enrollments.id AS id, enrollments.tenant_id AS tenant_id, tenants.name AS tenant_name, policy,
                user_id, external_id, display_name, confirmation, purpose, expires_at, seal
            FROM enrollments
            JOIN tenants ON tenants.id = enrollments.tenant_id
            JOIN users ON users.id = enrollments.user_id AND users.tenant_id = enrollments.tenant_id
            WHERE ticket = $1 AND tenants.disabled_at IS NULL";
        self.fetch_optional(query(by_ticket).bind(ticket.as_ref())).await?.as_ref().map(ticket_holder).transpose()
    }

    async fn claim_ticket(&self, command: ClaimTicket) -> Result<ClaimOutcome, StoreError> {
        self.write(command).await
    }

    async fn claimed_device(&self, tenant_id: TenantId, id: EnrollmentId) -> Result<Option<ClaimedDevice>, StoreError> {
        let claimed = "-- claimed_device
            SELECT devices.id AS device_id, devices.user_id AS user_id, external_id, devices.purpose AS purpose, claim_seal,
                enrollments.status AS enrollment_status,
                device_key.public_key AS device_key, uv_key.public_key AS uv_key
            FROM enrollments
            JOIN devices ON devices.id = enrollments.device_id AND devices.tenant_id = enrollments.tenant_id
            JOIN users ON users.id = devices.user_id AND users.tenant_id = devices.tenant_id
                AND users.erased_at IS NULL
            JOIN device_keys AS device_key ON device_key.thumbprint = devices.key_thumbprint
                AND device_key.device_id = devices.id
            LEFT JOIN device_keys AS uv_key ON uv_key.thumbprint = devices.uv_thumbprint
                AND uv_key.device_id = devices.id
            WHERE enrollments.tenant_id = $1 AND enrollments.id = $2
                AND enrollments.status IN ('claimed', 'completed')";
        let row = self.fetch_optional(query(claimed).bind(tenant_id.as_uuid()).bind(id.as_uuid())).await?;
        row.as_ref().map(claimed_device).transpose()
    }

    async fn confirm_enrollment(&self, command: ConfirmEnrollment) -> Result<ConfirmOutcome, StoreError> {
        self.write(command).await
    }

    async fn cancel_enrollment(&self, stamp: Stamp, id: EnrollmentId) -> Result<CancelEnrollmentOutcome, StoreError> {
        self.write(close::CancelEnrollment { stamp, id }).await
    }

    async fn due_enrollments(&self, now: Timestamp, limit: u32) -> Result<Vec<DueEnrollment>, StoreError> {
        let due = "-- due_enrollments
            SELECT id, tenant_id FROM enrollments
            WHERE status IN ('pending', 'claimed') AND expires_at <= $1
            ORDER BY expires_at LIMIT $2";
        let rows = self.fetch_all(query(due).bind(now.as_millis()).bind(i64::from(limit))).await?;
        let due = |row| {
            let columns = Columns::new("enrollments", row);
            Ok(DueEnrollment { tenant_id: columns.id("tenant_id")?, id: columns.id("id")? })
        };
        rows.iter().map(due).collect()
    }

    async fn expire_enrollment(&self, stamp: Stamp, id: EnrollmentId) -> Result<bool, StoreError> {
        self.write(close::ExpireEnrollment { stamp, id }).await
    }
}

/// The user of an enrollment: known before the user's row is locked, and never another one.
async fn user_of(tx: &mut Tx<'_>, tenant_id: TenantId, id: EnrollmentId) -> Result<Option<UserId>, Failure> {
    let user = "-- user_of_enrollment
        SELECT id, user_id FROM enrollments WHERE tenant_id = $1 AND id = $2";
    let row = tx.fetch_optional(query(user).bind(tenant_id.as_uuid()).bind(id.as_uuid())).await?;
    Ok(row.map(|row| Columns::new("enrollments", &row).id("user_id")).transpose()?)
}

fn about(user_id: UserId, enrollment_id: EnrollmentId, device_id: Option<DeviceId>) -> Subjects {
    let (user_id, enrollment_id) = (Some(user_id), Some(enrollment_id));
    Subjects { user_id, device_id, enrollment_id, ..Subjects::default() }
}

fn enrollment(row: &Row) -> Result<EnrollmentRecord, StoreError> {
    let columns = Columns::new("enrollments", row);
    let device = match columns.optional_id("device_id")? {
        Some(id) => {
            Some(DeviceName { id, name: columns.text("device_name")?, platform: columns.word("device_platform")? })
        }
        None => None,
    };
    Ok(EnrollmentRecord {
        id: columns.id("id")?,
        tenant_id: columns.id("tenant_id")?,
        user: user_name(&columns)?,
        status: columns.word("status")?,
        confirmation: columns.word("confirmation")?,
        purpose: columns.word("purpose")?,
        device,
        expires_at: columns.time("expires_at")?,
        created_at: columns.time("created_at")?,
    })
}

fn ticket_holder(row: &Row) -> Result<TicketHolder, StoreError> {
    let columns = Columns::new("enrollments", row);
    let policy: Policy = columns.json("policy")?;
    Ok(TicketHolder {
        enrollment_id: columns.id("id")?,
        tenant_id: columns.id("tenant_id")?,
        tenant_name: columns.text("tenant_name")?,
        max_devices_per_user: policy.max_devices_per_user,
        is_guarded: is_guarded(&policy),
        user: user_name(&columns)?,
        confirmation: columns.word("confirmation")?,
        purpose: columns.word("purpose")?,
        expires_at: columns.time("expires_at")?,
        seal: columns.text("seal")?,
    })
}

fn user_name(columns: &Columns<'_>) -> Result<UserName, StoreError> {
    Ok(UserName {
        id: columns.id("user_id")?,
        external_id: columns.text("external_id")?,
        display_name: columns.optional_text("display_name")?,
    })
}

fn claimed_device(row: &Row) -> Result<ClaimedDevice, StoreError> {
    let columns = Columns::new("devices", row);
    Ok(ClaimedDevice {
        device_id: columns.id("device_id")?,
        user_id: columns.id("user_id")?,
        external_id: columns.text("external_id")?,
        purpose: columns.word("purpose")?,
        is_completed: columns.word::<EnrollmentStatus>("enrollment_status")? == EnrollmentStatus::Completed,
        claim_seal: columns.text("claim_seal")?,
        device_key: columns.get("device_key")?,
        uv_key: columns.get("uv_key")?,
    })
}
