//! API clients and their keys. A secret is kept as its digest only; a public key as it is, and found by a digest, too.
//! What is done to single keys is in `api_clients/keys.rs`, spent proofs are in `api_clients/proofs.rs`.
//!
//! Revocation is a barrier: every write on behalf of a client holds a share lock on the client's row (see
//! `Tx::require_actor`), and revoking updates that row; so once a revocation has returned, no write of the
//! client commits, on any node.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    api_client::{ApiClient, ApiKeyRecord, Applications, Caller, CallerSeals},
    digest::Digest,
    event::{Event, EventKind, Subjects},
    ports::{
        PageRequest, StoreError,
        api_clients::{
            AddApiKey, AddApiKeyOutcome, ApiClients, ChangeApiClient, ChangeApiClientOutcome, CreateApiClient,
            CreateApiClientOutcome, KeyUse, RevokeApiClientOutcome, SpendProof,
        },
        tenants::Quota,
    },
};
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, TenantId},
    jose::PublicKey,
    timestamp::Timestamp,
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Columns, Database, Outcome, Plain, Room, Row, Tx,
    batch::SetCommand,
    dialect, query,
    reader::{self, Lookup, NUMBER},
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

#[path = "api_clients/change.rs"]
mod change;
#[path = "api_clients/keys.rs"]
mod keys;
#[path = "api_clients/proofs.rs"]
mod proofs;
#[path = "api_clients/uses.rs"]
mod uses;

/// See the module.
pub(super) struct Statements {
    authenticate: Statement,
    proofs: proofs::Statements,
    uses: uses::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            authenticate: Statement::new(format!(
                "-- authenticate
                SELECT api_keys.id AS key_id, r_number, api_keys.expires_at AS expires_at, public_key,
                    api_keys.seal AS key_seal, api_clients.seal AS client_seal,
                    api_clients.id AS client_id, api_clients.scopes AS scopes, applications,
                    tenants.id AS tenant_id, tenants.name AS tenant_name, client_proof_required
                FROM {digests} CROSS JOIN api_keys CROSS JOIN api_clients CROSS JOIN tenants
                WHERE api_keys.digest = r_digest AND api_keys.revoked_at IS NULL
                  AND api_clients.id = api_keys.client_id AND api_clients.tenant_id = api_keys.tenant_id
                  AND api_clients.revoked_at IS NULL
                  AND tenants.id = api_keys.tenant_id AND tenants.disabled_at IS NULL",
                digests = dialect::row_source(1, CallerOfKey::COLUMNS),
            )),
            proofs: proofs::Statements::new(),
            uses: uses::Statements::new(),
        }
    }
}

/// Who presents a key, by the key's digest.
pub(super) struct CallerOfKey;

impl Lookup for CallerOfKey {
    type Key = Digest;
    type Found = Caller;

    const COLUMNS: &'static rows::Columns = &[("r_digest", Type::Bytes), (NUMBER, Type::Integer)];

    fn statement(statements: &super::Statements) -> &Statement {
        &statements.api_clients.authenticate
    }

    fn cells(key: &Digest) -> Value {
        json!({"r_digest": rows::digest(*key)})
    }

    fn read(rows: &[Row]) -> Result<Caller, StoreError> {
        let row = reader::only(rows, "api_keys")?;
        caller(&row)
    }
}

#[async_trait]
impl ApiClients for Database {
    async fn create_api_client(&self, command: CreateApiClient) -> Result<CreateApiClientOutcome, StoreError> {
        self.write(command).await
    }

    async fn api_clients(
        &self,
        tenant_id: TenantId,
        page: PageRequest<ApiClientId>,
    ) -> Result<Vec<ApiClient>, StoreError> {
        let some = "-- api_clients
            SELECT id, tenant_id, name, scopes, applications, created_at, revoked_at, seal FROM api_clients
            WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        let before = page.before.map_or(Uuid::max(), ApiClientId::as_uuid);
        let some = query(some).bind(tenant_id.as_uuid()).bind(before).bind(i64::from(page.limit));
        self.fetch_all(some).await?.iter().map(api_client).collect()
    }

    async fn api_client(&self, tenant_id: TenantId, id: ApiClientId) -> Result<Option<ApiClient>, StoreError> {
        self.fetch_optional(change::by_id(tenant_id, id)).await?.as_ref().map(api_client).transpose()
    }

    async fn change_api_client(&self, command: ChangeApiClient) -> Result<ChangeApiClientOutcome, StoreError> {
        self.write(command).await
    }

    async fn record_key_uses(&self, uses: Vec<KeyUse>) -> Result<(), StoreError> {
        self.write(uses::RecordKeyUses(uses)).await
    }

    async fn revoke_api_client(&self, stamp: Stamp, id: ApiClientId) -> Result<RevokeApiClientOutcome, StoreError> {
        self.write(RevokeApiClient { stamp, id }).await
    }

    async fn add_api_key(&self, command: AddApiKey) -> Result<AddApiKeyOutcome, StoreError> {
        self.write(command).await
    }

    async fn api_keys(&self, tenant_id: TenantId, client_id: ApiClientId) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let rows = self.fetch_all(keys::of_client(tenant_id, client_id)).await?;
        let mut keys: Vec<_> = rows.iter().map(keys::read).collect::<Result<_, _>>()?;
        keys.sort_by_key(|key| key.id.as_uuid());
        Ok(keys)
    }

    async fn revoke_api_key(
        &self,
        stamp: Stamp,
        client_id: ApiClientId,
        key_id: ApiKeyId,
    ) -> Result<RevokeApiClientOutcome, StoreError> {
        self.write(keys::RevokeApiKey { stamp, client_id, key_id }).await
    }

    async fn spend_proof(&self, command: SpendProof) -> Result<bool, StoreError> {
        self.write_in_batch(command, |ask| SetCommand::Spend(Box::new(ask))).await
    }

    async fn authenticate(&self, key: Digest, now: Timestamp) -> Result<Option<Caller>, StoreError> {
        let found = self.lookups.callers.find(key).await?;
        Ok(found.filter(|caller| caller.expires_at.is_none_or(|end| end > now)))
    }
}

#[async_trait]
impl Plain for CreateApiClient {
    type Reply = CreateApiClientOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<CreateApiClientOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let client = "-- create_api_client
            INSERT INTO api_clients (id, tenant_id, name, scopes, applications, created_at, seal)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let client = query(client)
            .bind(self.id.as_uuid())
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(&self.name)
            .bind(self.scopes.to_string())
            .bind(self.applications.as_ref().map(rows::json).transpose()?)
            .bind(self.stamp.at.as_millis())
            .bind(&self.seal);
        tx.execute(client).await?;
        if !keys::insert(tx, &self.stamp, self.id, &self.key).await? {
            return Ok(Outcome::Rollback(CreateApiClientOutcome::KeyKnown));
        }
        let event = Event::new(&self.stamp, EventKind::ApiClientCreated, about(self.id));
        tx.insert_events(vec![event.with("api_key_id", self.key.id.to_string())]).await?;
        tx.count_up(self.stamp.tenant_id, Quota::ApiClients).await?;
        Ok(Outcome::Commit(CreateApiClientOutcome::Created))
    }
}

/// Revokes a client with all its keys.
struct RevokeApiClient {
    stamp: Stamp,
    id: ApiClientId,
}

#[async_trait]
impl Plain for RevokeApiClient {
    type Reply = RevokeApiClientOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<RevokeApiClientOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id.as_uuid();
        let at = self.stamp.at.as_millis();
        // Waits for every write that holds the row: see the top of this file.
        let revoke = "-- revoke_api_client
            UPDATE api_clients SET revoked_at = $3 WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
        let revoke = query(revoke).bind(self.id.as_uuid()).bind(tenant_id).bind(at);
        if tx.execute(revoke).await? == 0 {
            return Ok(Outcome::Rollback(self.why_not(tx).await?));
        }
        let keys = "-- revoke_api_keys
            UPDATE api_keys SET revoked_at = $3 WHERE client_id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
        tx.execute(query(keys).bind(self.id.as_uuid()).bind(tenant_id).bind(at)).await?;
        tx.insert_events(vec![Event::new(&self.stamp, EventKind::ApiClientRevoked, about(self.id))]).await?;
        tx.count_down(self.stamp.tenant_id, Quota::ApiClients).await?;
        Ok(Outcome::Commit(RevokeApiClientOutcome::Revoked))
    }

    fn room(&self) -> Room {
        Room::Reserved
    }
}

impl RevokeApiClient {
    async fn why_not(&self, tx: &mut Tx<'_>) -> Result<RevokeApiClientOutcome, Failure> {
        let known = "-- is_known_api_client
            SELECT id FROM api_clients WHERE id = $1 AND tenant_id = $2";
        let known = query(known).bind(self.id.as_uuid()).bind(self.stamp.tenant_id.as_uuid());
        Ok(match tx.fetch_optional(known).await? {
            Some(_) => RevokeApiClientOutcome::AlreadyRevoked,
            None => RevokeApiClientOutcome::NotFound,
        })
    }
}

fn about(id: ApiClientId) -> Subjects {
    Subjects { api_client_id: Some(id), ..Subjects::default() }
}

fn api_client(row: &Row) -> Result<ApiClient, StoreError> {
    let columns = Columns::new("api_clients", row);
    Ok(ApiClient {
        id: columns.id("id")?,
        tenant_id: columns.id("tenant_id")?,
        name: columns.text("name")?,
        scopes: columns.word("scopes")?,
        applications: applications(&columns)?,
        created_at: columns.time("created_at")?,
        revoked_at: columns.optional_time("revoked_at")?,
        seal: columns.optional_text("seal")?,
    })
}

fn caller(columns: &Columns<'_>) -> Result<Caller, StoreError> {
    Ok(Caller {
        tenant_id: columns.id("tenant_id")?,
        tenant_name: columns.text("tenant_name")?,
        client_id: columns.id("client_id")?,
        key_id: columns.id("key_id")?,
        scopes: columns.word("scopes")?,
        applications: applications(columns)?,
        public_key: public_key(columns)?,
        expires_at: columns.optional_time("expires_at")?,
        is_proof_required: columns.flag("client_proof_required")?,
        seals: CallerSeals { client: columns.optional_text("client_seal")?, key: columns.optional_text("key_seal")? },
    })
}

/// A list that cannot be read is a fault, never "all of them".
fn applications(columns: &Columns<'_>) -> Result<Option<Applications>, StoreError> {
    columns.optional_text("applications")?.map(|_| columns.json("applications")).transpose()
}

/// A key that is no point on the curve is a fault, never "a secret".
fn public_key(columns: &Columns<'_>) -> Result<Option<PublicKey>, StoreError> {
    let bytes: Option<Vec<u8>> = columns.get("public_key")?;
    bytes.map(|bytes| PublicKey::from_sec1(&bytes).map_err(|_| columns.corrupt("public_key"))).transpose()
}
