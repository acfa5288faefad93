//! `/v1/api-clients` (protocol 15): an organisation's own API clients and their keys.
//!
//! Only administrators of the organisation come here, and only to its own clients. A secret is in the one reply that
//! makes it, and nowhere else. To add an operation: its file here, its row in `operations.rs`.

pub mod add_key;
pub mod change;
pub mod create;
pub mod list;
pub mod revoke;
pub mod revoke_key;
pub mod show;

use countersign_core::{
    api_client::{ApiClient, ApiKey, ApiKeyRecord, Credential, NewApiKey},
    text::Checker,
};
use countersign_proto::{
    api::api_clients as wire,
    ids::{ApiClientId, TenantId},
    jose::{Jwk, PublicKey},
    problem::ProblemType,
    timestamp::Timestamp,
};

use super::{
    problem::{ApiError, ApiResult},
    state::App,
};
use crate::signing::Sealed;

/// The longest life of a key that has an end, days.
const MAX_KEY_DAYS: i64 = 3_650;

fn parse(id: &str) -> ApiResult<ApiClientId> {
    id.parse().map_err(|_| ApiError::not_found())
}

fn show_client(client: ApiClient, keys: Option<Vec<wire::ApiKey>>) -> wire::ApiClient {
    wire::ApiClient {
        id: client.id,
        name: client.name,
        scopes: client.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        applications: client.applications.map(|names| names.into_iter().collect()),
        created_at: client.created_at,
        revoked_at: client.revoked_at,
        keys,
    }
}

fn show_key(key: &ApiKeyRecord, now: Timestamp) -> wire::ApiKey {
    wire::ApiKey {
        id: key.id,
        kind: if key.public_key.is_some() { "public_key" } else { "api_key" }.to_owned(),
        state: key.state(now).to_owned(),
        key_thumbprint: key.public_key.map(|key| key.thumbprint().to_string()),
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used_at: key.used_at,
    }
}

/// A client with all its keys.
async fn with_keys(app: &App, client: ApiClient) -> ApiResult<wire::ApiClient> {
    let now = app.now();
    let keys = app.store.api_keys(client.tenant_id, client.id).await?;
    let keys = keys.iter().map(|key| show_key(key, now)).collect();
    Ok(show_client(client, Some(keys)))
}

/// A key that is about to be a client's.
struct MadeKey {
    stored: NewApiKey,
    /// To be shown once.
    secret: Option<ApiKey>,
}

impl MadeKey {
    /// The public key that was sent, or a secret that is made.
    fn make(
        app: &App,
        (tenant_id, client_id): (TenantId, ApiClientId),
        public_key: Option<&Jwk>,
        expires_in_days: Option<u16>,
        now: Timestamp,
    ) -> ApiResult<Self> {
        let (key, days) = check_key(public_key, expires_in_days)?;
        let (credential, secret) = match key {
            Some(key) => (Credential::PublicKey(key), None),
            None => {
                let secret = ApiKey::generate(app.entropy.as_ref());
                (Credential::ApiKey(secret.digest()), Some(secret))
            }
        };
        let expires_at = days.map(|days| now.plus_seconds(days * 86_400));
        let stored = NewApiKey { id: app.new_id(now), credential, expires_at, seal: String::new() };
        Ok(Self { stored: app.keys.seals().seal_api_key(stored, client_id, tenant_id), secret })
    }

    fn show(&self, now: Timestamp) -> wire::ApiKey {
        let public_key = self.stored.credential.public_key().copied();
        let NewApiKey { id, expires_at, .. } = self.stored;
        let record = ApiKeyRecord { id, public_key, created_at: now, expires_at, revoked_at: None, used_at: None };
        show_key(&record, now)
    }

    fn reveal(&self) -> Option<String> {
        self.secret.as_ref().map(|secret| secret.reveal().to_owned())
    }
}

/// The public key that was sent, and how many days a key is to live.
pub(crate) fn check_key(
    public_key: Option<&Jwk>,
    expires_in_days: Option<u16>,
) -> ApiResult<(Option<PublicKey>, Option<i64>)> {
    let mut checker = Checker::default();
    let days = expires_in_days.map(|days| checker.range("/expires_in_days", days.into(), 1, MAX_KEY_DAYS));
    checker.finish().map_err(ApiError::invalid_members)?;
    let key = public_key.map(PublicKey::from_jwk).transpose();
    let key = key.map_err(|_| ApiError::invalid("/public_key", "must be a public P-256 key"))?;
    Ok((key, days))
}

/// The seal over what a client may do.
fn seal(app: &App, client: &ApiClient) -> String {
    app.keys.seals().seal(&sealed(client))
}

/// Whether its row is as this server wrote it.
fn is_sealed(app: &App, client: &ApiClient) -> bool {
    client.seal.as_ref().is_some_and(|seal| app.keys.seals().holds(seal, &sealed(client)))
}

fn sealed(client: &ApiClient) -> Sealed<'_> {
    let ApiClient { id, tenant_id, ref scopes, ref applications, .. } = *client;
    Sealed::ApiClient { client_id: id, tenant_id, scopes, applications: applications.as_ref() }
}

fn key_known() -> ApiError {
    ApiError::new(ProblemType::KeyAlreadyRegistered).saying("The key is, or was, an API client's on this server.")
}
