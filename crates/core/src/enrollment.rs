//! Enrollments: the one-time ticket and the code that confirms it (protocol 4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::{
    api::enrollments::CreateEnrollment,
    ids::{EnrollmentId, TenantId},
    problem::FieldError,
    timestamp::Timestamp,
    vocabulary::{Confirmation, EnrollmentApproval, EnrollmentPurpose, EnrollmentStatus},
};

use crate::{
    digest::Digest,
    entropy::{Entropy, digits, secret_bytes},
    limits,
    policy::{Policy, stricter},
    ports::users::UserName,
    text::Checker,
};

/// The `action` of a challenge by which a person agrees to one more device.
pub const ENROLL_ACTION: &str = "enroll_device";
/// How old such an agreement may be.
pub const APPROVAL_SECONDS: i64 = 300;

/// Whether a user who has a device must agree to one more.
pub fn is_guarded(policy: &Policy) -> bool {
    stricter::bound(policy).enrollment_approval == EnrollmentApproval::ExistingDevice
}

/// A checked request for an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentRequest {
    /// NFC.
    pub external_id: String,
    /// NFC.
    pub display_name: Option<String>,
    /// Whether a code is typed back.
    pub confirmation: Confirmation,
    /// What the device will be for.
    pub purpose: EnrollmentPurpose,
    /// Life time of the whole enrollment.
    pub ttl_seconds: i64,
    /// The challenge by which a device agreed, as the caller wrote it.
    pub approval: Option<String>,
    /// Why an administrator needs no agreement; NFC.
    pub override_reason: Option<String>,
}

/// Checks a request for an enrollment (protocol 4.1).
///
/// # Errors
/// The members at fault.
pub fn check(request: &CreateEnrollment, policy: &Policy) -> Result<EnrollmentRequest, Vec<FieldError>> {
    let mut checker = Checker::default();
    let external_id = checker.external_id("/user/external_id", &request.user.external_id);
    let display_name = checker.optional_text("/user/display_name", request.user.display_name.as_deref(), 1, 128);
    let confirmation = request.confirmation.unwrap_or(Confirmation::Code);
    if confirmation == Confirmation::None && stricter::bound(policy).confirmation_required {
        checker.refuse("/confirmation", "the organisation requires a confirmation code");
    }
    let longest = *limits::ENROLLMENT_TTL_SECONDS.end();
    let ttl_seconds = request.ttl_seconds.unwrap_or(longest);
    checker.range("/ttl_seconds", ttl_seconds, *limits::ENROLLMENT_TTL_SECONDS.start(), longest);
    let override_reason = checker.optional_text("/override", request.override_reason.as_deref(), 1, 256);
    if override_reason.is_some() && request.approval.is_some() {
        checker.refuse("/override", "cannot go with `approval`");
    }
    checker.finish()?;
    let purpose = request.purpose.unwrap_or(EnrollmentPurpose::Approval);
    let approval = request.approval.clone();
    Ok(EnrollmentRequest { external_id, display_name, confirmation, purpose, ttl_seconds, approval, override_reason })
}

/// What a device shows once to become a user's: 32 random bytes in base64url, kept only as a digest.
#[derive(Clone)]
pub struct Ticket(String);

impl Ticket {
    /// A new ticket.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(URL_SAFE_NO_PAD.encode(secret_bytes(entropy)))
    }

    /// What the database keeps. Any text has a digest: one that is no ticket is simply not found.
    pub fn digest_of(text: &str) -> Digest {
        Digest::of(text)
    }

    /// The ticket itself, to be returned once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the QR code shows. A fragment reaches no server's log.
    pub fn uri(&self, issuer: &str) -> String {
        format!("{issuer}/enroll#t={}", self.0)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The six digits that the person carries from the device to the page that began the enrollment.
pub fn confirmation_code(entropy: &dyn Entropy) -> String {
    digits(6, entropy)
}

/// An enrollment, as its creator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentRecord {
    /// Our id.
    pub id: EnrollmentId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// Its user.
    pub user: UserName,
    /// As stored. Use [`Self::status_at`] for what is true at a time.
    pub status: EnrollmentStatus,
    /// Whether a code is typed back.
    pub confirmation: Confirmation,
    /// What the device will be for.
    pub purpose: EnrollmentPurpose,
    /// The device, once claimed.
    pub device: Option<crate::ports::devices::DeviceName>,
    /// It ends then.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

impl EnrollmentRecord {
    /// The status at `now`: from `expires_at` on it is `expired`, swept or not.
    pub fn status_at(&self, now: Timestamp) -> EnrollmentStatus {
        match self.status {
            EnrollmentStatus::Pending | EnrollmentStatus::Claimed if now >= self.expires_at => {
                EnrollmentStatus::Expired
            }
            status => status,
        }
    }
}
