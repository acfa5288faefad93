//! Revoking many devices a portion at a time: bounded in what is read, in what is done, and in time.

use countersign_core::{
    device::{DeviceRecord, StatusChange},
    limits::{BULK_LOOKED_AT, BULK_PORTION, BULK_SECONDS},
    ports::{
        PageRequest,
        devices::{ChangeDeviceStatus, ChangeDeviceStatusOutcome, DeviceFilter},
    },
};
use countersign_proto::{
    api::revocations::RevokedPortion,
    ids::{DeviceId, TenantId},
    vocabulary::RevokeReason,
};

use crate::http::{access::ApiCaller, problem::ApiResult, state::App};

const PAGE: u32 = 1_000;

/// Shows every device of a filter to `look`, newest first; `false` if there are more than may be looked at.
pub async fn each_device(
    app: &App,
    tenant_id: TenantId,
    filter: DeviceFilter,
    mut look: impl FnMut(&DeviceRecord),
) -> ApiResult<bool> {
    let mut before = None;
    for _ in 0..BULK_LOOKED_AT.div_ceil(PAGE) {
        let page = app.store.devices(tenant_id, filter.clone(), PageRequest { before, limit: PAGE }).await?;
        page.iter().for_each(&mut look);
        before = page.last().map(|device| device.id);
        if page.len() < PAGE as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Revokes the first of these devices, as many as go into a portion, each by a write of its own: whoever died in between
/// has revoked some, and calls again.
pub async fn revoke_portion(
    app: &App,
    caller: &ApiCaller,
    devices: &[DeviceId],
    reason: RevokeReason,
) -> ApiResult<RevokedPortion> {
    let until = app.now().plus_seconds(BULK_SECONDS);
    let mut revoked = Vec::new();
    let mut left = devices.len();
    for device_id in devices.iter().take(BULK_PORTION) {
        let now = app.now();
        // Not before the first: whoever calls again gets on.
        if now > until && left < devices.len() {
            break;
        }
        let change = StatusChange::Revoke(reason);
        let command =
            ChangeDeviceStatus { stamp: caller.stamp(app, now), device_id: *device_id, change, key: None, reply: None };
        // Somebody may have been faster, or the device may be gone, unconfirmed: it is over either way.
        if let ChangeDeviceStatusOutcome::Changed { .. } = app.store.change_device_status(command).await? {
            revoked.push(*device_id);
        }
        left = left.saturating_sub(1);
    }
    Ok(RevokedPortion { revoked, remaining: u32::try_from(left).unwrap_or(u32::MAX) })
}
