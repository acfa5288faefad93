//! `/v1/device…`: what devices call. Each artefact kind has exactly one endpoint.

pub mod artefact;
pub mod deregister;
pub mod dispute;
pub mod fetch;
pub mod own;
pub mod pending;
pub mod policy;
pub mod proof;
pub mod register;
pub mod respond;
pub mod rotate_key;
pub mod update_push;

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use countersign_core::{device::DeviceRecord, limits, ports::users::UserName};
use countersign_proto::{
    api::{devices::PushSummary, users::UserSummary},
    ids::TenantId,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{PushChannel, PushState},
};

use super::{
    problem::{ApiError, ApiResult},
    state::App,
};

/// A reply as it was kept: whoever repeats the artefact gets it again, byte for byte.
fn answer(reply: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], reply).into_response()
}

/// The push channel as replies show it; never the token.
pub fn show_push(device: &DeviceRecord, now: Timestamp) -> PushSummary {
    let refusal = device.push_undeliverable.as_ref();
    let state = match device.push_channel {
        PushChannel::None => PushState::None,
        _ if device.push_token_gone => PushState::TokenGone,
        _ if refusal.is_some() => PushState::Undeliverable,
        _ => PushState::Ok,
    };
    PushSummary {
        channel: device.push_channel,
        state,
        reason: refusal.filter(|_| state == PushState::Undeliverable).map(|refusal| refusal.reason.clone()),
        updated_at: device.push_updated_at,
        is_unconfirmed: state != PushState::None
            && now >= device.push_updated_at.plus_seconds(limits::PUSH_UNCONFIRMED_SECONDS),
    }
}

/// The same for the device itself: why a provider refuses its token is the operator's to know. A device chooses its
/// Web Push endpoint, and would read from the reason what answers at an address of its choice.
pub fn show_own_push(device: &DeviceRecord, now: Timestamp) -> PushSummary {
    PushSummary { reason: None, ..show_push(device, now) }
}

/// Refuses a push channel that this server could not ring (protocol 8): a phone that believes it will be rung and never
/// is would be found out at the worst time.
pub fn require_configured(app: &App, tenant_id: TenantId, push: &PushBinding) -> ApiResult<()> {
    if app.pushing.senders().is_configured(tenant_id, push) {
        return Ok(());
    }
    let (pointer, detail) = match push {
        PushBinding::Apns { .. } => ("/push/topic", "this topic and environment are not configured here"),
        PushBinding::Fcm { .. } => ("/push/project", "this project is not configured here"),
        PushBinding::Webpush { .. } => ("/push/endpoint", "this server does not connect to that address or port"),
        PushBinding::None => return Ok(()),
    };
    Err(ApiError::invalid(pointer, detail))
}

/// The user as replies show it.
pub fn show_user(user: UserName) -> UserSummary {
    let UserName { id, external_id, display_name } = user;
    UserSummary { id, external_id, display_name }
}
