//! Who may act, and which rows are locked before they are judged.
//!
//! Whoever acts for an organisation shares its row against being disabled, and only against that (`FOR KEY SHARE`, which
//! counters and event positions do not meet): API clients with their keys, devices where their users are locked, or
//! alone. Disabling changes the row beside them, and then holds it alone for a moment (`FOR UPDATE`): it waits for whoever
//! is before its commit, and is seen by all who come later.
//!
//! Everybody locks in one order: tenant, API client, user, device, challenge; several of a kind in the order of
//! their ids. On SQLite a writing transaction is alone anyway, and nothing is locked.

use std::collections::HashMap;

use countersign_core::{
    actor::{Actor, Stamp},
    ports::StoreError,
};
use countersign_proto::{
    ids::{ApiKeyId, DeviceId, Id, TenantId, UserId},
    timestamp::Timestamp,
};
use serde_json::json;

use super::{Columns, Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const ACTORS: &rows::Columns =
    &[("r_key_id", Type::Id), ("r_client_id", Type::Id), ("r_tenant_id", Type::Id), ("r_now", Type::Integer)];
const OWNED: &rows::Columns = &[("r_id", Type::Id), ("r_tenant_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    live_actors: Statement,
    live_tenant: Statement,
    lock_users: Statement,
    share_devices: Statement,
    lock_devices: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        // Whoever revokes a client or a key updates that very row, and so waits for, or is seen by, whoever
        // shares it here: once the revocation has returned, nothing of the client's commits.
        let live_actors = format!(
            "-- live_actors
            SELECT api_keys.id, api_keys.client_id, api_keys.tenant_id
            FROM {rows} CROSS JOIN api_keys CROSS JOIN api_clients CROSS JOIN tenants
            WHERE api_keys.id = r_key_id AND api_keys.client_id = r_client_id AND api_keys.tenant_id = r_tenant_id
              AND api_keys.revoked_at IS NULL AND (api_keys.expires_at IS NULL OR api_keys.expires_at > r_now)
              AND api_clients.id = r_client_id AND api_clients.tenant_id = r_tenant_id
              AND api_clients.revoked_at IS NULL
              AND tenants.id = r_tenant_id AND tenants.disabled_at IS NULL
            ORDER BY api_clients.id, api_keys.id {lock}",
            rows = dialect::row_source(1, ACTORS),
            lock = dialect::locking("FOR KEY SHARE OF tenants FOR SHARE OF api_clients, api_keys"),
        );
        let lock = |name: &str, table: &str, clause: &'static str| {
            Statement::new(format!(
                "-- {name}
                SELECT {table}.id FROM {rows} CROSS JOIN {table}
                WHERE {table}.id = r_id AND {table}.tenant_id = r_tenant_id
                ORDER BY {table}.id {lock}",
                rows = dialect::row_source(1, OWNED),
                lock = dialect::locking(clause),
            ))
        };
        let lock_users = format!(
            "-- lock_users
            SELECT users.id FROM {rows} CROSS JOIN users CROSS JOIN tenants
            WHERE users.id = r_id AND users.tenant_id = r_tenant_id AND tenants.id = r_tenant_id
            ORDER BY users.id {lock}",
            rows = dialect::row_source(1, OWNED),
            lock = dialect::locking("FOR KEY SHARE OF tenants FOR NO KEY UPDATE OF users"),
        );
        Self {
            live_actors: Statement::new(live_actors),
            live_tenant: Statement::new(format!(
                "-- live_tenant
                SELECT id FROM tenants WHERE id = $1 AND disabled_at IS NULL {}",
                dialect::locking("FOR KEY SHARE"),
            )),
            lock_users: Statement::new(lock_users),
            share_devices: lock("share_devices", "devices", "FOR SHARE OF devices"),
            lock_devices: lock("lock_devices", "devices", "FOR NO KEY UPDATE OF devices"),
        }
    }
}

impl Tx<'_> {
    /// Requires that the stamp's actor may still act; call it first. An API client's key, the client and the
    /// tenant must be live, and a device's tenant, and stay so until this transaction ends.
    ///
    /// # Errors
    /// [`StoreError::ActorGone`]; [`StoreError::TenantDisabled`] to a device.
    pub(super) async fn require_actor(&mut self, stamp: &Stamp) -> Result<(), Failure> {
        if matches!(stamp.actor, Actor::Device(_)) {
            let statements = self.statements();
            let tenant = query(&statements.locks.live_tenant).bind(stamp.tenant_id.as_uuid());
            return match self.fetch_optional(tenant).await? {
                Some(_) => Ok(()),
                None => Err(StoreError::TenantDisabled.into()),
            };
        }
        match self.gone_actors(&[Some(stamp)]).await?.as_slice() {
            [false] => Ok(()),
            _ => Err(StoreError::ActorGone.into()),
        }
    }

    /// For each stamp, whether its actor may no longer act. Devices are judged by the commands themselves, and so are
    /// their tenants.
    pub(super) async fn gone_actors(&mut self, stamps: &[Option<&Stamp>]) -> Result<Vec<bool>, Failure> {
        // A batch has many commands of few clients. The latest of their times is the strictest.
        let mut asked: HashMap<ClientKey, Timestamp> = HashMap::new();
        for stamp in stamps.iter().flatten() {
            if let Some(key) = client_key(stamp) {
                let at = asked.entry(key).or_insert(stamp.at);
                *at = stamp.at.max(*at);
            }
        }
        if asked.is_empty() {
            return Ok(vec![false; stamps.len()]);
        }
        let row = |((tenant_id, client_id, key_id), at): (&ClientKey, &Timestamp)| {
            json!({"r_key_id": rows::id(*key_id), "r_client_id": rows::id(*client_id),
                "r_tenant_id": rows::id(*tenant_id), "r_now": rows::time(*at)})
        };
        let parameter = rows::to_parameter(ACTORS, asked.iter().map(row).collect());
        let statements = self.statements();
        let found = self.fetch_all(query(&statements.locks.live_actors).bind(parameter)).await?;
        let mut live = Vec::with_capacity(found.len());
        for row in &found {
            let row = Columns::new("api_keys", row);
            live.push((row.id("tenant_id")?, row.id("client_id")?, row.id("id")?));
        }
        let is_gone = |stamp: &Option<&Stamp>| stamp.and_then(client_key).is_some_and(|key| !live.contains(&key));
        Ok(stamps.iter().map(is_gone).collect())
    }

    /// Locks users against every other transaction that changes or locks them, and shares their tenants: whether those
    /// are disabled holds until this transaction ends.
    pub(super) async fn lock_users(&mut self, users: &[(TenantId, UserId)]) -> Result<(), Failure> {
        let statements = self.statements();
        self.lock(&statements.locks.lock_users, users).await
    }

    /// Keeps devices from changing until this transaction ends; others may share.
    pub(super) async fn share_devices(&mut self, devices: &[(TenantId, DeviceId)]) -> Result<(), Failure> {
        let statements = self.statements();
        self.lock(&statements.locks.share_devices, devices).await
    }

    /// Locks a user.
    pub(super) async fn lock_user(&mut self, tenant_id: TenantId, id: UserId) -> Result<(), Failure> {
        self.lock_users(&[(tenant_id, id)]).await
    }

    /// Locks devices, to change them: nobody who shares them is left, and nobody shares them until this transaction
    /// ends. Lock their users first.
    pub(super) async fn lock_devices(&mut self, devices: &[(TenantId, DeviceId)]) -> Result<(), Failure> {
        let statements = self.statements();
        self.lock(&statements.locks.lock_devices, devices).await
    }

    /// Locks a device, to change it. Lock its user first.
    pub(super) async fn lock_device(&mut self, tenant_id: TenantId, id: DeviceId) -> Result<(), Failure> {
        self.lock_devices(&[(tenant_id, id)]).await
    }

    async fn lock<K>(&mut self, statement: &Statement, owned: &[(TenantId, Id<K>)]) -> Result<(), Failure> {
        if !dialect::LOCKS_ROWS || owned.is_empty() {
            return Ok(());
        }
        let row =
            |(tenant_id, id): &(TenantId, Id<K>)| json!({"r_id": rows::id(*id), "r_tenant_id": rows::id(*tenant_id)});
        let parameter = rows::to_parameter(OWNED, owned.iter().map(row).collect());
        self.fetch_all(query(statement).bind(parameter)).await.map(|_| ())
    }
}

type ClientKey = (TenantId, countersign_proto::ids::ApiClientId, ApiKeyId);

fn client_key(stamp: &Stamp) -> Option<ClientKey> {
    match stamp.actor {
        Actor::ApiClient { client_id, key_id } => Some((stamp.tenant_id, client_id, key_id)),
        Actor::Device(_) | Actor::Operator | Actor::System => None,
    }
}
