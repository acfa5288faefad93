//! `/v1/device…`: what devices call. Each artefact kind has exactly one endpoint.

pub mod artefact;
pub mod deregister;
pub mod fetch;
pub mod own;
pub mod pending;
pub mod proof;
pub mod register;
pub mod respond;
pub mod update_push;

use countersign_core::device::DeviceRecord;
use countersign_core::ports::users::UserName;
use countersign_proto::api::{devices::PushSummary, users::UserSummary};

/// The push channel as replies show it; never the token.
pub fn show_push(device: &DeviceRecord) -> PushSummary {
    use countersign_proto::vocabulary::PushChannel;
    let state = match device.push_channel {
        PushChannel::None => "none",
        _ if device.push_token_gone => "token_gone",
        _ => "ok",
    };
    PushSummary { channel: device.push_channel, state: state.to_owned(), updated_at: device.push_updated_at }
}

/// The user as replies show it.
pub fn show_user(user: UserName) -> UserSummary {
    let UserName { id, external_id, display_name } = user;
    UserSummary { id, external_id, display_name }
}
