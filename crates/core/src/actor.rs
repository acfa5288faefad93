//! Who causes a change, and the stamp that every command carries.
//!
//! A command names its actor so that the store's own statement can require the actor to be still allowed:
//! no separate authorisation read, no cache that goes stale.

use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, CommandId, DeviceId, TenantId},
    timestamp::Timestamp,
};

/// Who causes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// An API client, by one of its keys. The store refuses the command if key, client or tenant is gone.
    ApiClient {
        /// The client.
        client_id: ApiClientId,
        /// The key that it presented.
        key_id: ApiKeyId,
    },
    /// A device, by its own signature.
    Device(DeviceId),
    /// Somebody at the command line of the server's machine.
    Operator,
    /// The server itself: expiry, sweeping.
    System,
}

impl Actor {
    /// The word in events: `api_client`, `device`, `operator`, `system`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ApiClient { .. } => "api_client",
            Self::Device(_) => "device",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }

    /// The API client's or device's id, for events.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::ApiClient { client_id, .. } => Some(client_id.to_string()),
            Self::Device(device_id) => Some(device_id.to_string()),
            Self::Operator | Self::System => None,
        }
    }

    /// The API key whose liveness the store's statement must require, if the actor has one.
    pub const fn key_id(&self) -> Option<ApiKeyId> {
        match self {
            Self::ApiClient { key_id, .. } => Some(*key_id),
            Self::Device(_) | Self::Operator | Self::System => None,
        }
    }
}

/// What every command carries: who, where, when, on behalf of which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Remembered by the row that the command wins: says who won, and after a lost answer whether it happened.
    pub command_id: CommandId,
    /// Who causes the change.
    pub actor: Actor,
    /// The organisation in which it happens. No statement crosses tenants.
    pub tenant_id: TenantId,
    /// As in `X-Request-Id`; for workers their own name.
    pub request_id: String,
    /// Now.
    pub at: Timestamp,
}
