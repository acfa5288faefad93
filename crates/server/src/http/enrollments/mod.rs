//! `/v1/enrollments`: inviting a device, and confirming the one that came (protocol 4).

mod admission;
pub mod cancel;
pub mod confirm;
pub mod create;
pub mod show;

use countersign_core::enrollment::EnrollmentRecord;
use countersign_proto::{
    api::{devices::DeviceSummary, enrollments::Enrollment},
    ids::EnrollmentId,
    timestamp::Timestamp,
};

use super::{
    access::ApiCaller,
    device_api::show_user,
    problem::{ApiError, ApiResult},
    state::App,
};

/// An enrollment of the caller's tenant.
async fn find(app: &App, caller: &ApiCaller, id: EnrollmentId) -> ApiResult<EnrollmentRecord> {
    app.store.enrollment(caller.caller.tenant_id, id).await?.ok_or_else(ApiError::not_found)
}

/// One 404 for unknown and malformed ids.
fn parse(id: &str) -> ApiResult<EnrollmentId> {
    id.parse().map_err(|_| ApiError::not_found())
}

fn show_enrollment(record: EnrollmentRecord, now: Timestamp) -> Enrollment {
    let status = record.status_at(now);
    let device =
        record.device.map(|device| DeviceSummary { id: device.id, name: device.name, platform: device.platform });
    Enrollment {
        id: record.id,
        status,
        user: show_user(record.user),
        confirmation: record.confirmation,
        purpose: record.purpose,
        device,
        expires_at: record.expires_at,
        created_at: record.created_at,
    }
}
