//! Single keys of an API client: for rotation, the next one beside the old one.
//!
//! Revoking a key is the same barrier as revoking its client: whoever writes with the key shares its row. A revoked key
//! stays in its row, so that it is never anybody's again.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    api_client::{ApiKeyRecord, Credential, MAX_LIVE_KEYS, NewApiKey},
    event::{Event, EventKind},
    ports::{
        StoreError,
        api_clients::{AddApiKey, AddApiKeyOutcome, RevokeApiClientOutcome},
    },
};
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, TenantId},
    timestamp::Timestamp,
};

use super::{
    super::{Columns, Outcome, Plain, Query, Room, Row, Tx, query},
    about, public_key,
};
use crate::failure::Failure;

/// All keys of a client, in no order: a handful, as operators make them.
pub(super) fn of_client<'q>(tenant_id: TenantId, client_id: ApiClientId) -> Query<'q> {
    let keys = "-- api_keys
        SELECT id, public_key, created_at, expires_at, revoked_at, used_at
        FROM api_keys LEFT JOIN api_key_uses ON api_key_uses.key_id = api_keys.id
        WHERE client_id = $1 AND api_keys.tenant_id = $2";
    query(keys).bind(client_id.as_uuid()).bind(tenant_id.as_uuid())
}

/// A row of them.
pub(super) fn read(row: &Row) -> Result<ApiKeyRecord, StoreError> {
    let columns = Columns::new("api_keys", row);
    Ok(ApiKeyRecord {
        id: columns.id("id")?,
        public_key: public_key(&columns)?,
        created_at: columns.time("created_at")?,
        expires_at: columns.optional_time("expires_at")?,
        revoked_at: columns.optional_time("revoked_at")?,
        used_at: columns.optional_time("used_at")?,
    })
}

/// Writes a key; `false` if it is, or was, somebody's.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    stamp: &Stamp,
    client_id: ApiClientId,
    key: &NewApiKey,
) -> Result<bool, Failure> {
    let insert = "-- create_api_key
        INSERT INTO api_keys (id, tenant_id, client_id, digest, public_key, created_at, expires_at, seal)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (digest) DO NOTHING";
    let public_key = match &key.credential {
        Credential::ApiKey(_) => None,
        Credential::PublicKey(key) => Some(key.to_sec1().to_vec()),
    };
    let insert = query(insert)
        .bind(key.id.as_uuid())
        .bind(stamp.tenant_id.as_uuid())
        .bind(client_id.as_uuid())
        .bind(key.credential.digest().0.to_vec())
        .bind(public_key)
        .bind(stamp.at.as_millis())
        .bind(key.expires_at.map(Timestamp::as_millis))
        .bind(&key.seal);
    Ok(tx.execute(insert).await? == 1)
}

#[async_trait]
impl Plain for AddApiKey {
    type Reply = AddApiKeyOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<AddApiKeyOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id.as_uuid();
        // Changes nothing but holds the row: of two that add at once the second counts the first one's key.
        let hold = "-- hold_api_client
            UPDATE api_clients SET name = name WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
        if tx.execute(query(hold).bind(self.client_id.as_uuid()).bind(tenant_id)).await? == 0 {
            return Ok(Outcome::Rollback(AddApiKeyOutcome::NotFound));
        }
        let is_secret = matches!(self.key.credential, Credential::ApiKey(_));
        let live = tx.fetch_all(of_client(self.stamp.tenant_id, self.client_id)).await?;
        let live: Vec<_> = live.iter().map(read).collect::<Result<_, _>>()?;
        let is_live =
            |key: &&ApiKeyRecord| key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > self.stamp.at);
        let of_its_sort = |key: &&ApiKeyRecord| key.public_key.is_none() == is_secret;
        if live.iter().filter(is_live).filter(of_its_sort).count() >= MAX_LIVE_KEYS {
            return Ok(Outcome::Rollback(AddApiKeyOutcome::TooMany));
        }
        if !insert(tx, &self.stamp, self.client_id, &self.key).await? {
            return Ok(Outcome::Rollback(AddApiKeyOutcome::KeyKnown));
        }
        let event = Event::new(&self.stamp, EventKind::ApiKeyAdded, about(self.client_id));
        tx.insert_events(vec![event.with("api_key_id", self.key.id.to_string())]).await?;
        Ok(Outcome::Commit(AddApiKeyOutcome::Added))
    }
}

/// Revokes one key.
pub(super) struct RevokeApiKey {
    pub(super) stamp: Stamp,
    pub(super) client_id: ApiClientId,
    pub(super) key_id: ApiKeyId,
}

#[async_trait]
impl Plain for RevokeApiKey {
    type Reply = RevokeApiClientOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<RevokeApiClientOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let bind = |query: Query<'static>| {
            query.bind(self.key_id.as_uuid()).bind(self.client_id.as_uuid()).bind(self.stamp.tenant_id.as_uuid())
        };
        // Waits for every write that holds the row.
        let revoke = "-- revoke_api_key
            UPDATE api_keys SET revoked_at = $4
            WHERE id = $1 AND client_id = $2 AND tenant_id = $3 AND revoked_at IS NULL";
        if tx.execute(bind(query(revoke)).bind(self.stamp.at.as_millis())).await? == 0 {
            let known = "-- is_known_api_key
                SELECT id FROM api_keys WHERE id = $1 AND client_id = $2 AND tenant_id = $3";
            let is_known = tx.fetch_optional(bind(query(known))).await?.is_some();
            let outcome =
                if is_known { RevokeApiClientOutcome::AlreadyRevoked } else { RevokeApiClientOutcome::NotFound };
            return Ok(Outcome::Rollback(outcome));
        }
        let event = Event::new(&self.stamp, EventKind::ApiKeyRevoked, about(self.client_id));
        tx.insert_events(vec![event.with("api_key_id", self.key_id.to_string())]).await?;
        Ok(Outcome::Commit(RevokeApiClientOutcome::Revoked))
    }

    fn room(&self) -> Room {
        Room::Reserved
    }
}
