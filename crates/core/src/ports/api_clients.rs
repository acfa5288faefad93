//! API clients and their keys.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, CommandId, TenantId},
    timestamp::Timestamp,
};

use super::{PageRequest, StoreError};
use crate::{
    actor::Stamp,
    api_client::{ApiClient, ApiKeyRecord, Applications, Caller, NewApiKey, Scopes},
    digest::Digest,
};

/// Makes an API client with its first key. Event: `api_client.created`. Counts against the organisation's quota until it
/// is revoked: [`StoreError::QuotaExceeded`].
#[derive(Debug, Clone)]
pub struct CreateApiClient {
    /// Who, where, when.
    pub stamp: Stamp,
    /// The client's id.
    pub id: ApiClientId,
    /// What operators call it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What it may ask approvals for.
    pub applications: Option<Applications>,
    /// The server's MAC over what it may do.
    pub seal: String,
    /// The first key.
    pub key: NewApiKey,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateApiClientOutcome {
    /// It exists.
    Created,
    /// The key is, or was, a client's on this server: nothing was made.
    KeyKnown,
}

/// Changes an API client. Event: `api_client.changed`, with the names of what changed.
///
/// Requests that were admitted before may still commit under what held then: whoever must be stopped is revoked.
#[derive(Debug, Clone)]
pub struct ChangeApiClient {
    /// Who, where, when.
    pub stamp: Stamp,
    /// What it was when it was read.
    pub before: ApiClient,
    /// What it shall be; only name, scopes, applications and seal are looked at.
    pub after: ApiClient,
}

impl ChangeApiClient {
    /// The names of the members that differ.
    pub fn changed(&self) -> Vec<&'static str> {
        let differs = [
            ("name", self.after.name != self.before.name),
            ("scopes", self.after.scopes != self.before.scopes),
            ("applications", self.after.applications != self.before.applications),
        ];
        differs.into_iter().filter_map(|(member, differs)| differs.then_some(member)).collect()
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeApiClientOutcome {
    /// It is as it shall be.
    Changed,
    /// It is not what it was when it was read: somebody else was faster, or it is revoked.
    Outdated,
}

/// A key that was used, and when.
pub type KeyUse = (TenantId, ApiKeyId, Timestamp);

/// Gives an API client one more key. Event: `api_client.key_added`.
#[derive(Debug, Clone)]
pub struct AddApiKey {
    /// Who, where, when.
    pub stamp: Stamp,
    /// The client.
    pub client_id: ApiClientId,
    /// The key.
    pub key: NewApiKey,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddApiKeyOutcome {
    /// It may be used.
    Added,
    /// The client has [`crate::api_client::MAX_LIVE_KEYS`] of this sort: revoke one first.
    TooMany,
    /// The key is, or was, a client's on this server.
    KeyKnown,
    /// No such client in this tenant, or it is revoked.
    NotFound,
}

/// What came of a revocation, of a client or of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeApiClientOutcome {
    /// From the commit on it is refused on every node.
    Revoked,
    /// It was revoked before.
    AlreadyRevoked,
    /// No such client in this tenant, or no such key of it.
    NotFound,
}

/// A proof by which an API client changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendProof {
    /// Remembered by the row: a command that is run again finds its own.
    pub command_id: CommandId,
    /// The client's organisation.
    pub tenant_id: TenantId,
    /// The client.
    pub client_id: ApiClientId,
    /// The proof's own id.
    pub jti: String,
    /// From then on its `iat` refuses it.
    pub expires_at: Timestamp,
    /// Whether it is for taking access away, which also a full disk must not prevent.
    pub takes_access_away: bool,
}

/// API clients.
#[async_trait]
pub trait ApiClients: Send + Sync {
    /// Makes an API client.
    async fn create_api_client(&self, command: CreateApiClient) -> Result<CreateApiClientOutcome, StoreError>;
    /// A page of the tenant's API clients, newest first, revoked ones included.
    async fn api_clients(
        &self,
        tenant_id: TenantId,
        page: PageRequest<ApiClientId>,
    ) -> Result<Vec<ApiClient>, StoreError>;
    /// One of them.
    async fn api_client(&self, tenant_id: TenantId, id: ApiClientId) -> Result<Option<ApiClient>, StoreError>;
    /// Changes an API client.
    async fn change_api_client(&self, command: ChangeApiClient) -> Result<ChangeApiClientOutcome, StoreError>;
    /// Remembers when keys were last used. Never goes back; each key once in a call.
    async fn record_key_uses(&self, uses: Vec<KeyUse>) -> Result<(), StoreError>;
    /// Revokes a client with all its keys. Event: `api_client.revoked`.
    async fn revoke_api_client(&self, stamp: Stamp, id: ApiClientId) -> Result<RevokeApiClientOutcome, StoreError>;
    /// Gives a client one more key.
    async fn add_api_key(&self, command: AddApiKey) -> Result<AddApiKeyOutcome, StoreError>;
    /// A client's keys, oldest first, revoked ones included.
    async fn api_keys(&self, tenant_id: TenantId, client_id: ApiClientId) -> Result<Vec<ApiKeyRecord>, StoreError>;
    /// Revokes one key of a client; its others stay. Event: `api_client.key_revoked`.
    async fn revoke_api_key(
        &self,
        stamp: Stamp,
        client_id: ApiClientId,
        key_id: ApiKeyId,
    ) -> Result<RevokeApiClientOutcome, StoreError>;
    /// Who holds the key with this digest (see [`crate::api_client::Credential`]): `None` if it is unknown, expired or
    /// revoked at `now`. Never cached.
    async fn authenticate(&self, key: Digest, now: Timestamp) -> Result<Option<Caller>, StoreError>;
    /// Spends a proof, durably and on all nodes at once: `false` if it was spent before.
    async fn spend_proof(&self, command: SpendProof) -> Result<bool, StoreError>;
}
