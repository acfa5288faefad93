//! API clients and their keys.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, TenantId},
    timestamp::Timestamp,
};

use super::StoreError;
use crate::{
    actor::Stamp,
    api_client::{ApiClient, Caller, Scopes},
    digest::Digest,
};

/// Makes an API client with its first key. Event: `api_client.created`.
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
    /// The first key's id.
    pub key_id: ApiKeyId,
    /// The first key's digest.
    pub key_digest: Digest,
    /// The first key's end.
    pub key_expires_at: Option<Timestamp>,
}

/// What came of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeApiClientOutcome {
    /// From the commit on its keys are refused on every node.
    Revoked,
    /// It was revoked before.
    AlreadyRevoked,
    /// No such client in this tenant.
    NotFound,
}

/// API clients.
#[async_trait]
pub trait ApiClients: Send + Sync {
    /// Makes an API client.
    async fn create_api_client(&self, command: CreateApiClient) -> Result<(), StoreError>;
    /// The tenant's API clients, oldest first, revoked ones included.
    async fn api_clients(&self, tenant_id: TenantId) -> Result<Vec<ApiClient>, StoreError>;
    /// Revokes a client with all its keys. Event: `api_client.revoked`.
    async fn revoke_api_client(&self, stamp: Stamp, id: ApiClientId) -> Result<RevokeApiClientOutcome, StoreError>;
    /// Who holds the key with this digest: `None` if it is unknown, expired or revoked at `now`. Never cached.
    async fn authenticate(&self, key: Digest, now: Timestamp) -> Result<Option<Caller>, StoreError>;
}
