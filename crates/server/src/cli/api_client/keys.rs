//! An API client's keys: secrets that are made and shown once, public keys that are read from a file.
//!
//! A file that holds a private key is refused: it has no business on this machine.

use std::path::Path;

use countersign_core::{
    api_client::{ApiKey, ApiKeyRecord, Credential, NewApiKey},
    entropy::new_id,
    ports::api_clients::{AddApiKey, AddApiKeyOutcome, RevokeApiClientOutcome},
};
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, TenantId},
    jose::{Jwk, PublicKey},
    timestamp::Timestamp,
};
use serde_json::{Map, Value, json};

use super::{super::say, CliError, Context, Desk, not_found};
use crate::signing::Seals;

/// A key that is about to be a client's.
pub(super) struct NewKey {
    id: ApiKeyId,
    expires_at: Option<Timestamp>,
    sort: Sort,
}

enum Sort {
    Secret(ApiKey),
    Public(PublicKey),
}

/// The key in a file, or a secret that is made.
pub(super) fn make_key(desk: &Desk, file: Option<&Path>, days: Option<u16>) -> Result<NewKey, CliError> {
    match file {
        None => Ok(NewKey::secret(desk, ApiKey::generate(desk.entropy()), days)),
        Some(file) => Ok(NewKey::new(desk, Sort::Public(read(file)?), days)),
    }
}

impl NewKey {
    pub(super) fn secret(desk: &Desk, secret: ApiKey, days: Option<u16>) -> Self {
        Self::new(desk, Sort::Secret(secret), days)
    }

    fn new(desk: &Desk, sort: Sort, days: Option<u16>) -> Self {
        let now = desk.now();
        let expires_at = days.map(|days| now.plus_seconds(i64::from(days) * 86_400));
        Self { id: new_id(now, desk.entropy()), expires_at, sort }
    }

    /// As the store takes it.
    pub(super) fn stored(&self, seals: &Seals, client_id: ApiClientId, tenant_id: TenantId) -> NewApiKey {
        let credential = match &self.sort {
            Sort::Secret(secret) => Credential::ApiKey(secret.digest()),
            Sort::Public(key) => Credential::PublicKey(*key),
        };
        let key = NewApiKey { id: self.id, credential, expires_at: self.expires_at, seal: String::new() };
        seals.seal_api_key(key, client_id, tenant_id)
    }

    /// For programs: the one time that a secret is shown.
    pub(super) fn show(&self) -> Map<String, Value> {
        members(match &self.sort {
            Sort::Secret(secret) => json!({"key_id": self.id, "api_key": secret.reveal()}),
            Sort::Public(key) => json!({"key_id": self.id, "key_thumbprint": key.thumbprint()}),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match &self.sort {
            Sort::Secret(secret) => format!("key, shown only now: {}", secret.reveal()),
            Sort::Public(key) => format!("signs with the key {}", key.thumbprint()),
        }
    }
}

/// Gives a client one more key.
pub(super) async fn add(
    context: &Context,
    desk: &Desk,
    client_id: ApiClientId,
    tenant: &str,
    key: NewKey,
) -> Result<(), CliError> {
    let tenant = desk.tenant(tenant).await?;
    let keys = desk.keys()?;
    let stored = key.stored(keys.seals(), client_id, tenant.id);
    let command = AddApiKey { stamp: desk.stamp(tenant.id), client_id, key: stored };
    match desk.store.add_api_key(command).await? {
        AddApiKeyOutcome::Added => {}
        AddApiKeyOutcome::NotFound => return Err(not_found(&client_id)),
        AddApiKeyOutcome::KeyKnown => return Err(known()),
        AddApiKeyOutcome::TooMany => {
            return Err(CliError::Failed("the client has two such keys: revoke one first".to_owned()));
        }
    }
    let mut object = members(json!({"client_id": client_id}));
    object.extend(key.show());
    say(context, &Value::Object(object), &format!("key {} of {client_id}\n{}", key.id, key.text()));
    Ok(())
}

/// Lists a client's keys.
pub(super) async fn list(context: &Context, desk: &Desk, client_id: ApiClientId, tenant: &str) -> Result<(), CliError> {
    let tenant = desk.tenant(tenant).await?;
    let keys = desk.store.api_keys(tenant.id, client_id).await?;
    if keys.is_empty() {
        return Err(not_found(&client_id));
    }
    let now = desk.now();
    let objects: Vec<_> = keys.iter().map(|key| shown(key, now)).collect();
    let line = |key: &ApiKeyRecord| {
        let what =
            key.public_key.map_or_else(|| "api_key".to_owned(), |key| format!("public_key {}", key.thumbprint()));
        format!("{}  {what}  {}", key.id, key.state(now))
    };
    let lines: Vec<_> = keys.iter().map(line).collect();
    say(context, &json!({"client_id": client_id, "keys": objects}), &lines.join("\n"));
    Ok(())
}

fn shown(key: &ApiKeyRecord, now: Timestamp) -> Value {
    let kind = if key.public_key.is_some() { "public_key" } else { "api_key" };
    let shown = json!({"key_id": key.id, "kind": kind, "created_at": key.created_at, "state": key.state(now)});
    let mut shown = members(shown);
    if let Some(public_key) = key.public_key {
        shown.insert("key_thumbprint".to_owned(), json!(public_key.thumbprint()));
    }
    if let Some(end) = key.expires_at {
        shown.insert("expires_at".to_owned(), json!(end));
    }
    if let Some(at) = key.used_at {
        shown.insert("last_used_at".to_owned(), json!(at));
    }
    Value::Object(shown)
}

/// The members of an object.
pub(super) fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Revokes one key of a client, if it is not yet.
pub(super) async fn revoke(
    context: &Context,
    desk: &Desk,
    client_id: ApiClientId,
    key: &str,
    tenant: &str,
) -> Result<(), CliError> {
    let unknown = || CliError::Failed(format!("the API client {client_id} has no key {key} in this tenant"));
    let id: ApiKeyId = key.parse().map_err(|_| unknown())?;
    let tenant = desk.tenant(tenant).await?;
    match desk.store.revoke_api_key(desk.stamp(tenant.id), client_id, id).await? {
        RevokeApiClientOutcome::Revoked | RevokeApiClientOutcome::AlreadyRevoked => {}
        RevokeApiClientOutcome::NotFound => return Err(unknown()),
    }
    let object = json!({"client_id": client_id, "key_id": id, "revoked": true});
    say(context, &object, &format!("key {id} of {client_id} is revoked"));
    Ok(())
}

/// A key has one client, for ever.
pub(super) fn known() -> CliError {
    CliError::Failed("that key is, or was, an API client's already: make a new one".to_owned())
}

fn read(file: &Path) -> Result<PublicKey, CliError> {
    let refuse = |why: &str| CliError::Failed(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(&error.to_string()))?;
    let wrong = "must be one public P-256 key, as a JWK or in PEM (BEGIN PUBLIC KEY)";
    if !text.trim_start().starts_with('{') {
        return PublicKey::from_pem(&text).map_err(|_| refuse(wrong));
    }
    let jwk: Value = serde_json::from_str(&text).map_err(|_| refuse(wrong))?;
    if jwk.get("d").is_some() {
        return Err(refuse("holds a private key: register its public half, and keep this file where it is used"));
    }
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let jwk = Jwk { kty: member("kty"), crv: member("crv"), x: member("x"), y: member("y") };
    PublicKey::from_jwk(&jwk).map_err(|_| refuse(wrong))
}
