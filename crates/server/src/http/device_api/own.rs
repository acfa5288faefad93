//! `GET /v1/device` (protocol 5.1).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    limits,
    policy::{allowed_modes, stricter},
    ports::devices::NoticeRecord,
};
use countersign_proto::{
    api::{
        devices::{DevicePolicy, DeviceSelf, Notice, NoticeDevice, OwnDevice},
        users::TenantSummary,
    },
    vocabulary::DeviceStatus,
};

use super::{proof::ProvenDevice, show_own_push, show_user};
use crate::http::{
    problem::{ApiError, ApiResult},
    state::App,
};

/// The asking device, its user, what the organisation asks, and what it should know.
#[utoipa::path(get, path = "/v1/device", tag = "device",
    responses((status = 200, description = "The device's own record", body = DeviceSelf)))]
#[tracing::instrument(name = "http.device_api.own", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, device: ProvenDevice) -> ApiResult<Json<DeviceSelf>> {
    let signer = device.key.signer;
    let now = app.now();
    // Deleted between proof and read: an unknown key by now.
    let record = app.store.device(signer.tenant_id, signer.device_id).await?;
    let record = record.ok_or_else(|| ApiError::invalid_signature("unknown_key"))?;
    let tenant =
        app.store.tenant(signer.tenant_id).await?.ok_or_else(|| ApiError::internal("the device's tenant is gone"))?;
    let since = now.plus_seconds(-limits::NOTICE_SECONDS);
    // Until it is confirmed it may be anybody's: it learns nothing of the user's other devices.
    let notices = match record.status {
        DeviceStatus::Active => app.store.notices(signer.tenant_id, signer.user_id, signer.device_id, since).await?,
        _ => Vec::new(),
    };
    let own = OwnDevice {
        id: record.id,
        name: record.description.name.clone(),
        platform: record.description.platform,
        status: record.status,
        push: show_own_push(&record, now),
        created_at: record.created_at,
    };
    Ok(Json(DeviceSelf {
        device: own,
        user: show_user(record.user),
        tenant: TenantSummary { id: tenant.id, name: tenant.name },
        // What was verified for this request, not what a row may say by now.
        binding: device.key.bound.as_ref().map(|bound| bound.binding.jws.clone()),
        policy: DevicePolicy {
            modes: allowed_modes(&tenant.policy),
            user_verification: stricter::bound(&tenant.policy).user_verification,
        },
        notices: notices.into_iter().map(show_notice).collect(),
        server_time: now,
    }))
}

fn show_notice(record: NoticeRecord) -> Notice {
    Notice {
        id: record.id,
        kind: record.kind.as_str().to_owned(),
        created_at: record.at,
        device: record.device.map(|device| NoticeDevice { name: device.name, platform: device.platform }),
        is_disputable: record.is_disputable,
    }
}
