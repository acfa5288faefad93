//! Enrollments and registrations (protocol 4).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        devices::DeviceSummary,
        users::{NewUser, TenantSummary, UserSummary},
    },
    ids::{DeviceId, EnrollmentId},
    timestamp::Timestamp,
    vocabulary::{Confirmation, DeviceStatus, EnrollmentPurpose, EnrollmentStatus},
};

/// `POST /v1/enrollments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnrollment {
    /// Who will hold the device; created if new.
    pub user: NewUser,
    /// Whether a code shown on the device is typed back; default `code`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// 60–600; default 600. Bounds the whole enrollment, confirmation included.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 600)]
    pub ttl_seconds: Option<i64>,
    /// Default `approval`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<EnrollmentPurpose>,
    /// Whether to return `qr_svg`.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub qr: Option<bool>,
    /// Where the policy asks for it: the id of a challenge of this user, made by this API client with the action
    /// `enroll_device`, that one of the user's devices approved at most five minutes ago. Used once.
    #[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Scope `admin` only: why no device of the user is asked; 1–256 characters.
    #[serde(
        default,
        rename = "override",
        deserialize_with = "crate::absent::not_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub override_reason: Option<String>,
}

/// An enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrollment {
    /// Our id.
    pub id: EnrollmentId,
    /// Where it is in its life.
    pub status: EnrollmentStatus,
    /// Who will hold the device.
    pub user: UserSummary,
    /// Whether a code shown on the device is typed back.
    pub confirmation: Confirmation,
    /// What the device will be for.
    pub purpose: EnrollmentPurpose,
    /// The device, once claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceSummary>,
    /// It ends then, whatever its state.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The reply to `POST /v1/enrollments`: the only one that carries the ticket.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrollmentCreated {
    /// The enrollment.
    #[serde(flatten)]
    pub enrollment: Enrollment,
    /// `{issuer}/enroll#t={ticket}`: what the QR code shows.
    pub enrollment_uri: String,
    /// 32 random bytes, base64url; returned only here.
    pub ticket: String,
    /// The URI as an SVG image, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr_svg: Option<String>,
}

/// `POST /v1/enrollments/{id}/confirmation`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEnrollment {
    /// The six digits that the device shows.
    #[schema(example = "042137")]
    pub code: String,
}

/// The reply to a registration (protocol 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Registered {
    /// The new device.
    pub device_id: DeviceId,
    /// `active`, or `pending_confirmation` until the code is typed.
    pub status: DeviceStatus,
    /// Six digits for the person to type into the page that began the enrollment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation_code: Option<String>,
    /// Whose device it is.
    pub user: UserSummary,
    /// The organisation.
    pub tenant: TenantSummary,
    /// The server's public URL: the `aud` of all that the device signs.
    pub issuer: String,
    /// `countersign-binding+jwt`, once active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
}
