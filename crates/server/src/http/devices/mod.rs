//! `/v1/devices`: what admins see and do (protocol 10).
//!
//! The barrier (10.1): once suspend or revoke has answered, no approve of that device commits, on any node.

pub mod list;
pub mod portion;
pub mod rename;
pub mod resume;
pub mod revoke;
pub mod revoke_many;
pub mod show;
pub mod show_test_push;
pub mod suspend;
pub mod test_push;

use countersign_core::{
    device::{DeviceRecord, StatusChange},
    ports::devices::{ChangeDeviceStatus, ChangeDeviceStatusOutcome},
};
use countersign_proto::{
    api::devices::{Device, PushHealth},
    ids::DeviceId,
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::{PushChannel, Word as _},
};

use super::{
    access::ApiCaller,
    device_api::{show_push, show_user},
    problem::{ApiError, ApiResult},
    state::App,
};

fn parse(id: &str) -> ApiResult<DeviceId> {
    id.parse().map_err(|_| ApiError::not_found())
}

/// Suspends, resumes or revokes; repeated, the same answer.
async fn change(app: &App, caller: &ApiCaller, id: &str, change: StatusChange) -> ApiResult<Device> {
    let now = app.now();
    let stamp = caller.stamp(app, now);
    let command = ChangeDeviceStatus { stamp, device_id: parse(id)?, change, key: None, reply: None };
    match app.store.change_device_status(command).await? {
        ChangeDeviceStatusOutcome::Changed { device, .. } | ChangeDeviceStatusOutcome::Already(device) => {
            Ok(show_device(*device, now))
        }
        ChangeDeviceStatusOutcome::Impossible(status) => {
            Err(ApiError::new(ProblemType::DeviceStatusConflict).with("device_status", status.as_str()))
        }
        // No key was named.
        ChangeDeviceStatusOutcome::NotFound | ChangeDeviceStatusOutcome::StaleKey => Err(ApiError::not_found()),
    }
}

/// How pushes to the device fare.
pub fn show_push_health(record: &DeviceRecord, now: Timestamp) -> PushHealth {
    let health = record.push_health.clone();
    let (last_error, last_error_at) = health.last_error.unzip();
    let has_token = record.push_channel != PushChannel::None && !record.push_token_gone;
    PushHealth {
        last_accepted_at: health.accepted_at,
        last_pull_at: health.pulled_at,
        last_error,
        last_error_at,
        token_age_seconds: has_token.then(|| now.as_seconds() - record.push_updated_at.as_seconds()),
    }
}

/// The device as admins see it.
pub fn show_device(record: DeviceRecord, now: Timestamp) -> Device {
    let push = show_push(&record, now);
    let about = record.description;
    Device {
        id: record.id,
        user: show_user(record.user),
        name: about.name,
        platform: about.platform,
        model: about.model,
        os_version: about.os_version,
        app_id: about.app_id,
        app_version: about.app_version,
        installation_id: about.installation_id,
        purpose: record.purpose,
        status: record.status,
        has_user_verification_key: record.has_uv_key,
        push,
        push_health: None,
        key_thumbprint: record.key_thumbprint.to_string(),
        created_at: record.created_at,
        activated_at: record.activated_at,
        last_decision_at: record.push_health.answered_at,
        dormant: None,
        revoked_at: record.revoked_at,
        revoke_reason: record.revoke_reason,
    }
}
