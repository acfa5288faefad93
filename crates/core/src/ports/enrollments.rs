//! Enrollments: tickets, claims, confirmations.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ChallengeId, DeviceId, EnrollmentId, TenantId, UserId},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{Confirmation, EnrollmentPurpose, EnrollmentStatus},
};

use super::{Reply, StoreError, users::UserName};
use crate::{
    actor::Stamp,
    device::{DeviceDescription, NewKey, StoredBinding},
    digest::Digest,
    enrollment::EnrollmentRecord,
};

/// Who agreed to one more device of the user (protocol 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nobody has to.
    Free,
    /// Nobody could: the user has no device. Looked at under the user's lock.
    FirstDevice,
    /// A device of the user.
    Approved(Approval),
    /// An administrator. Event: `enrollment.overridden`.
    Overridden {
        /// Of the reason.
        reason: Digest,
    },
}

/// A challenge by which a device of the user agreed: its evidence was verified, and it is not too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// The challenge. Lets one enrollment in, however many race.
    pub challenge_id: ChallengeId,
    /// Its user; must be the enrollment's.
    pub user_id: UserId,
    /// The device that agreed; must be active still.
    pub device_id: DeviceId,
}

/// What came of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateEnrollmentOutcome {
    /// The user, made if new.
    Created(UserName),
    /// Nobody agreed who had to, or the approval is not worth anything any more. Nothing was changed.
    ApprovalRequired,
    /// The user is locked until somebody ends it: only an administrator's override lets a device in.
    UserLocked,
}

/// Invites a user's device; makes the user if new. Events: `enrollment.created`, `user.created` if new.
#[derive(Debug, Clone)]
pub struct CreateEnrollment {
    /// Who, where, when.
    pub stamp: Stamp,
    /// The enrollment's id.
    pub id: EnrollmentId,
    /// The user's id, should the user be new.
    pub new_user_id: UserId,
    /// NFC.
    pub external_id: String,
    /// The name of a new user, or of one who has none yet; an existing name stays.
    pub display_name: Option<String>,
    /// The ticket's digest.
    pub ticket: Digest,
    /// Whether a code is typed back.
    pub confirmation: Confirmation,
    /// What the device will be for.
    pub purpose: EnrollmentPurpose,
    /// It ends then.
    pub expires_at: Timestamp,
    /// The server's MAC over whose ticket it is: nobody who can write the database can give it to another user.
    pub seal: String,
    /// Who agreed.
    pub admission: Admission,
}

/// Whose ticket it is: facts that never change, whatever state the enrollment is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketHolder {
    /// The enrollment.
    pub enrollment_id: EnrollmentId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// The organisation's name.
    pub tenant_name: String,
    /// The organisation's limit on devices right now.
    pub max_devices_per_user: u32,
    /// Whether the organisation asks right now that a device of the user agrees to one more.
    pub is_guarded: bool,
    /// Its user.
    pub user: UserName,
    /// Whether a code is typed back.
    pub confirmation: Confirmation,
    /// What the device will be for.
    pub purpose: EnrollmentPurpose,
    /// It ends then.
    pub expires_at: Timestamp,
    /// As [`CreateEnrollment::seal`]; to be verified before anything above is believed.
    pub seal: String,
}

/// How the new device gets active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// When this code is typed where the enrollment began.
    ByCode(String),
    /// At once, under this binding.
    AtOnce(StoredBinding),
}

/// Turns a ticket into a device (protocol 4.3). Events: `enrollment.claimed`, then with [`Activation::AtOnce`]
/// also `enrollment.completed` and `device.added`.
///
/// The right ticket with another key while it is claimed: the enrollment is cancelled, its device deleted
/// (`enrollment.contested`, `enrollment.cancelled`), and the outcome is [`ClaimOutcome::NotFound`].
#[derive(Debug, Clone)]
pub struct ClaimTicket {
    /// Who (the new device), where, when.
    pub stamp: Stamp,
    /// The ticket's digest.
    pub ticket: Digest,
    /// As [`TicketHolder`] says.
    pub enrollment_id: EnrollmentId,
    /// As [`TicketHolder`] says.
    pub user_id: UserId,
    /// The new device's id.
    pub device_id: DeviceId,
    /// What it says about itself.
    pub description: DeviceDescription,
    /// Where to ring.
    pub push: PushBinding,
    /// As [`TicketHolder`] says.
    pub purpose: EnrollmentPurpose,
    /// Its key.
    pub device_key: NewKey,
    /// Its second key.
    pub uv_key: Option<NewKey>,
    /// How it gets active.
    pub activation: Activation,
    /// The server's MAC over the device and its keys: nobody who can write the database can swap a key before it is
    /// confirmed.
    pub claim_seal: String,
    /// The limit on pending, active and suspended devices of the user.
    pub max_devices_per_user: u32,
    /// As [`TicketHolder`] says. Then a ticket to which nobody agreed is of no use once the user has a device: of two
    /// that were made while there was none, one makes a device.
    pub is_guarded: bool,
    /// What a byte-identical repeat gets.
    pub reply: Reply,
}

/// What came of a claim. All but `Claimed` leave the ticket as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The device exists.
    Claimed,
    /// Unknown, used, expired, cancelled, contested or not agreed to: one answer.
    NotFound,
    /// One of the keys was registered before, by anybody.
    KeyAlreadyRegistered,
    /// The user has as many devices as allowed.
    TooManyDevices,
}

/// What a confirmation is about: for signing the binding before the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDevice {
    /// The device.
    pub device_id: DeviceId,
    /// Its user.
    pub user_id: UserId,
    /// The tenant's id of this user.
    pub external_id: String,
    /// What it is for.
    pub purpose: EnrollmentPurpose,
    /// The enrollment is completed: the keys may have been replaced since, so that the seal says nothing of them. Bind
    /// nothing then; a repeat of the code needs no binding.
    pub is_completed: bool,
    /// As [`ClaimTicket::claim_seal`]; to be verified before the keys are believed.
    pub claim_seal: String,
    /// Uncompressed SEC1.
    pub device_key: Vec<u8>,
    /// Uncompressed SEC1.
    pub uv_key: Option<Vec<u8>>,
}

/// Confirms a claimed device with the code (protocol 4.4). Events: `enrollment.completed`, `device.confirmed`,
/// `device.added`; at the fifth wrong code `enrollment.cancelled`.
#[derive(Debug, Clone)]
pub struct ConfirmEnrollment {
    /// Who, where, when.
    pub stamp: Stamp,
    /// Which enrollment.
    pub id: EnrollmentId,
    /// The device for which the binding was signed; another device by now loses.
    pub device_id: DeviceId,
    /// What was typed.
    pub code: String,
    /// Signed beforehand; stored only if the code is right.
    pub binding: StoredBinding,
    /// As [`ClaimTicket::is_guarded`], right now.
    pub is_guarded: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// The device is active.
    Completed,
    /// It was completed before, with this code: the same answer.
    AlreadyCompleted,
    /// Counted; so many tries are left. At 0 the enrollment is cancelled and the device deleted.
    WrongCode {
        /// Tries left.
        attempts_left: u32,
    },
    /// No device has claimed it yet (or another one has meanwhile).
    NotClaimed,
    /// Ended; how.
    Closed(EnrollmentStatus),
    /// Nobody agreed, and the user has got another device meanwhile: it is cancelled, its device deleted. Event:
    /// `enrollment.cancelled`.
    ApprovalRequired,
    /// No such enrollment in this tenant.
    NotFound,
}

/// What came of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelEnrollmentOutcome {
    /// Cancelled; a claimed device is deleted. Event: `enrollment.cancelled`.
    Cancelled,
    /// It was cancelled before.
    AlreadyCancelled,
    /// Ended otherwise; how.
    Closed(EnrollmentStatus),
    /// No such enrollment in this tenant.
    NotFound,
}

/// An enrollment whose time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueEnrollment {
    /// Its organisation.
    pub tenant_id: TenantId,
    /// Its id.
    pub id: EnrollmentId,
}

/// Enrollments.
#[async_trait]
pub trait Enrollments: Send + Sync {
    /// Invites.
    async fn create_enrollment(&self, command: CreateEnrollment) -> Result<CreateEnrollmentOutcome, StoreError>;
    /// By id.
    async fn enrollment(&self, tenant_id: TenantId, id: EnrollmentId) -> Result<Option<EnrollmentRecord>, StoreError>;
    /// Whose ticket it is; `None` if unknown.
    async fn ticket_holder(&self, ticket: Digest) -> Result<Option<TicketHolder>, StoreError>;
    /// Turns a ticket into a device.
    async fn claim_ticket(&self, command: ClaimTicket) -> Result<ClaimOutcome, StoreError>;
    /// The device of a claimed or completed enrollment.
    async fn claimed_device(&self, tenant_id: TenantId, id: EnrollmentId) -> Result<Option<ClaimedDevice>, StoreError>;
    /// Confirms.
    async fn confirm_enrollment(&self, command: ConfirmEnrollment) -> Result<ConfirmOutcome, StoreError>;
    /// Cancels a pending or claimed enrollment.
    async fn cancel_enrollment(&self, stamp: Stamp, id: EnrollmentId) -> Result<CancelEnrollmentOutcome, StoreError>;
    /// Pending or claimed enrollments with `expires_at` ≤ `now`, at most `limit`.
    async fn due_enrollments(&self, now: Timestamp, limit: u32) -> Result<Vec<DueEnrollment>, StoreError>;
    /// Ends one of them; `false` if it was no longer due. Event: `enrollment.expired`.
    async fn expire_enrollment(&self, stamp: Stamp, id: EnrollmentId) -> Result<bool, StoreError>;
}
