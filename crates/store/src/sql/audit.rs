//! The audit: tiles and heads of the trees over the events, and what an auditor compares with them.
//!
//! A seal is one conditional write of the head; the tiles go with it. Nothing here is believed by anybody without a
//! signature that leads to it.

use async_trait::async_trait;
use countersign_core::{
    event::{Event, EventKind, Subjects},
    ports::{
        StoreError,
        audit::{
            Audit, AuditFilter, AuditHead, AuditPortion, AuditedDevice, AuditedEnrollment, AuditedKey, AuditedPolicy,
            AuditedTenant, KeptDecision, RecordRestored, SealAudit, StoredTile,
        },
        events::EventRecord,
    },
};
use countersign_proto::{
    audit::TileId,
    evidence::Evidence,
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId, Id, TenantId, UserId},
    timestamp::Timestamp,
};
use serde_json::json;
use uuid::Uuid;

use super::{Columns, Database, Outcome, Plain, Row, Tx, devices, dialect, events, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];
const TILE_IDS: &rows::Columns = &[("r_level", Type::Integer), ("r_tile", Type::Integer)];
const TILES: &rows::Columns = &[("r_level", Type::Integer), ("r_tile", Type::Integer), ("r_hashes", Type::Bytes)];

/// See the module.
pub(super) struct Statements {
    tiles: Statement,
    put_tiles: Statement,
    kept_decisions: Statement,
    keys: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            tiles: Statement::new(format!(
                "-- audit_tiles
                SELECT tenant_id, level, tile, hashes FROM {ids} CROSS JOIN audit_tiles
                WHERE tenant_id = $2 AND level = r_level AND tile = r_tile",
                ids = dialect::row_source(1, TILE_IDS),
            )),
            // `WHERE true`: without it SQLite takes ON CONFLICT for a join.
            put_tiles: Statement::new(format!(
                "-- put_audit_tiles
                INSERT INTO audit_tiles (tenant_id, level, tile, hashes)
                SELECT $2, r_level, r_tile, r_hashes FROM {tiles} WHERE true
                ON CONFLICT (tenant_id, level, tile) DO UPDATE SET hashes = excluded.hashes",
                tiles = dialect::row_source(1, TILES),
            )),
            kept_decisions: Statement::new(format!(
                "-- kept_decisions
                SELECT id, status, erased_at, jws, response, binding FROM {ids} CROSS JOIN challenges
                WHERE id = r_id AND tenant_id = $2",
                ids = dialect::row_source(1, IDS),
            )),
            keys: Statement::new(format!(
                "-- audited_keys
                SELECT thumbprint, tenant_id, device_id, role, public_key FROM {ids} CROSS JOIN device_keys
                WHERE device_id = r_id",
                ids = dialect::row_source(1, IDS),
            )),
        }
    }
}

#[async_trait]
impl Plain for SealAudit {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        // Whoever has sealed meanwhile has moved the size; a size above the positions would be of events that are none.
        let seal = "-- seal_audit
            UPDATE audit_heads SET size = $3, checkpoint = $4, sealed_at = $5
            WHERE tenant_id = $1 AND size = $2 AND positioned >= $3";
        let seal = query(seal)
            .bind(self.tenant_id.as_uuid())
            .bind(number(self.old_size))
            .bind(number(self.size))
            .bind(&self.checkpoint)
            .bind(self.sealed_at.as_millis());
        if tx.execute(seal).await? == 0 {
            return Ok(Outcome::Rollback(false));
        }
        let tile = |tile: &StoredTile| json!({"r_level": tile.id.level, "r_tile": tile.id.index, "r_hashes": rows::bytes(&tile.hashes)});
        let tiles = rows::to_parameter(TILES, self.tiles.iter().map(tile).collect());
        let statements = tx.statements();
        tx.execute(query(&statements.audit.put_tiles).bind(tiles).bind(self.tenant_id.as_uuid())).await?;
        Ok(Outcome::Commit(true))
    }
}

#[async_trait]
impl Plain for RecordRestored {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        let event = Event::new(&self.stamp, EventKind::DatabaseRestored, Subjects::default())
            .with("lost_size", self.lost_size)
            .with("lost_root", self.lost_root.clone())
            .with("size", self.size);
        tx.insert_events(vec![event]).await?;
        Ok(Outcome::Commit(()))
    }
}

#[async_trait]
impl Audit for Database {
    async fn audit_head(&self, tenant_id: TenantId) -> Result<Option<AuditHead>, StoreError> {
        let head = "-- audit_head
            SELECT tenant_id, positioned, size, checkpoint, sealed_at FROM audit_heads WHERE tenant_id = $1";
        let row = self.fetch_optional(query(head).bind(tenant_id.as_uuid())).await?;
        let read = |row: Row| {
            let row = Columns::new("audit_heads", &row);
            Ok(AuditHead {
                positioned: row.integer("positioned")?,
                size: row.integer("size")?.try_into().map_err(|_| row.corrupt("size"))?,
                checkpoint: row.optional_text("checkpoint")?,
                sealed_at: row.optional_time("sealed_at")?,
            })
        };
        row.map(read).transpose()
    }

    async fn unsealed_tenants(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>, StoreError> {
        let unsealed = "-- unsealed_tenants
            SELECT tenant_id FROM audit_heads WHERE positioned > size AND tenant_id > $1 ORDER BY tenant_id LIMIT $2";
        let unsealed = query(unsealed).bind(above(after)).bind(i64::from(limit));
        self.fetch_all(unsealed).await?.iter().map(|row| Columns::new("audit_heads", row).id("tenant_id")).collect()
    }

    async fn tenants_with_logs(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>, StoreError> {
        let with_logs = "-- tenants_with_logs
            SELECT tenant_id FROM audit_heads WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2";
        let with_logs = query(with_logs).bind(above(after)).bind(i64::from(limit));
        self.fetch_all(with_logs).await?.iter().map(|row| Columns::new("audit_heads", row).id("tenant_id")).collect()
    }

    async fn audit_tiles(&self, tenant_id: TenantId, ids: &[TileId]) -> Result<Vec<StoredTile>, StoreError> {
        let row = |id: &TileId| json!({"r_level": id.level, "r_tile": id.index});
        let ids = rows::to_parameter(TILE_IDS, ids.iter().map(row).collect());
        let tiles = query(&self.statements.audit.tiles).bind(ids).bind(tenant_id.as_uuid());
        let read = |row: &Row| {
            let row = Columns::new("audit_tiles", row);
            let level = row.count("level")?;
            let index = row.integer("tile")?.try_into().map_err(|_| row.corrupt("tile"))?;
            Ok(StoredTile { id: TileId { level, index }, hashes: row.get("hashes")? })
        };
        self.fetch_all(tiles).await?.iter().map(read).collect()
    }

    async fn seal_audit(&self, command: SealAudit) -> Result<bool, StoreError> {
        self.write(command).await
    }

    async fn audit_events(
        &self,
        tenant_id: TenantId,
        filter: AuditFilter,
        portion: AuditPortion,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let audit_events = "-- audit_events
            SELECT id, position, kind, actor_kind, actor_id, user_id, device_id, challenge_id,
                enrollment_id, api_client_id, request_id, at, body
            FROM events WHERE tenant_id = $1 AND position > $2 AND position <= $3
              AND ($4 IS NULL OR kind = $4) AND ($5 IS NULL OR actor_id = $5)
              AND ($6 IS NULL OR user_id = $6) AND ($7 IS NULL OR device_id = $7)
              AND ($8 IS NULL OR challenge_id = $8) AND ($9 IS NULL OR api_client_id = $9)
              AND at >= $10 AND at < $11
            ORDER BY position LIMIT $12";
        let found = query(audit_events)
            .bind(tenant_id.as_uuid())
            .bind(portion.after)
            .bind(portion.through)
            .bind(filter.kind.map(EventKind::as_str))
            .bind(filter.actor_id)
            .bind(filter.user_id.map(UserId::as_uuid))
            .bind(filter.device_id.map(DeviceId::as_uuid))
            .bind(filter.challenge_id.map(ChallengeId::as_uuid))
            .bind(filter.api_client_id.map(ApiClientId::as_uuid))
            .bind(filter.from.map_or(i64::MIN, Timestamp::as_millis))
            .bind(filter.to.map_or(i64::MAX, Timestamp::as_millis))
            .bind(i64::from(portion.limit));
        self.fetch_all(found).await?.iter().map(events::record).collect()
    }

    async fn kept_decisions(&self, tenant_id: TenantId, ids: &[ChallengeId]) -> Result<Vec<KeptDecision>, StoreError> {
        let kept = query(&self.statements.audit.kept_decisions).bind(parameter(ids)).bind(tenant_id.as_uuid());
        let read = |row: &Row| {
            let row = Columns::new("challenges", row);
            let (response, binding) = (row.optional_text("response")?, row.optional_text("binding")?);
            let challenge = row.text("jws")?;
            let evidence = response.zip(binding);
            let evidence = evidence.map(|(response, binding)| Evidence { challenge, response, binding });
            let erased_at = row.optional_time("erased_at")?;
            Ok(KeptDecision { id: row.id("id")?, status: row.word("status")?, erased_at, evidence })
        };
        self.fetch_all(kept).await?.iter().map(read).collect()
    }

    async fn audited_devices(
        &self,
        tenant_id: TenantId,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<AuditedDevice>, StoreError> {
        let audited = "-- audited_devices
            SELECT devices.id AS id, user_id, status, key_thumbprint, uv_thumbprint, binding_id, binding, external_id,
                erased_at, consecutive_failures
            FROM devices CROSS JOIN users
            WHERE devices.tenant_id = $1 AND devices.id > $2 AND users.id = devices.user_id AND users.tenant_id = $1
            ORDER BY devices.id LIMIT $3";
        let audited = query(audited).bind(tenant_id.as_uuid()).bind(above(after)).bind(i64::from(limit));
        let read = |row: &Row| {
            let row = Columns::new("devices", row);
            Ok(AuditedDevice {
                id: row.id("id")?,
                user_id: row.id("user_id")?,
                external_id: row.text("external_id")?,
                is_erased: row.optional_time("erased_at")?.is_some(),
                failures: row.count("consecutive_failures")?,
                status: row.word("status")?,
                key_thumbprint: row.word("key_thumbprint")?,
                uv_thumbprint: row.optional_word("uv_thumbprint")?,
                binding: devices::binding(&row)?,
            })
        };
        self.fetch_all(audited).await?.iter().map(read).collect()
    }

    async fn audited_keys(&self, ids: &[DeviceId]) -> Result<Vec<AuditedKey>, StoreError> {
        let keys = query(&self.statements.audit.keys).bind(parameter(ids));
        let read = |row: &Row| {
            let row = Columns::new("device_keys", row);
            Ok(AuditedKey {
                thumbprint: row.text("thumbprint")?,
                tenant_id: row.id("tenant_id")?,
                device_id: row.id("device_id")?,
                role: row.text("role")?,
                public_key: row.get("public_key")?,
            })
        };
        self.fetch_all(keys).await?.iter().map(read).collect()
    }

    async fn audited_tenant(&self, tenant_id: TenantId) -> Result<Option<AuditedTenant>, StoreError> {
        let audited = "-- audited_tenant
            SELECT id, policy, policy_version, client_proof_required, settings, disabled_at, event_head, positioned
            FROM tenants LEFT JOIN audit_heads ON audit_heads.tenant_id = tenants.id WHERE tenants.id = $1";
        let row = self.fetch_optional(query(audited).bind(tenant_id.as_uuid())).await?;
        let read = |row: Row| {
            let row = Columns::new("tenants", &row);
            Ok(AuditedTenant {
                policy: row.text("policy")?,
                policy_version: row.count("policy_version")?,
                is_proof_required: row.flag("client_proof_required")?,
                settings: row.text("settings")?,
                is_disabled: row.optional_time("disabled_at")?.is_some(),
                event_head: row.integer("event_head")?,
                positioned: row.get::<Option<i64>>("positioned")?.unwrap_or_default(),
            })
        };
        row.map(read).transpose()
    }

    async fn audited_policies(
        &self,
        tenant_id: TenantId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<AuditedPolicy>, StoreError> {
        let audited = "-- audited_policies
            SELECT tenant_id AS id, version, policy FROM policy_versions
            WHERE tenant_id = $1 AND version > $2 ORDER BY version LIMIT $3";
        let audited = query(audited).bind(tenant_id.as_uuid()).bind(i64::from(after)).bind(i64::from(limit));
        let read = |row: &Row| {
            let row = Columns::new("policy_versions", row);
            Ok(AuditedPolicy { version: row.count("version")?, policy: row.text("policy")? })
        };
        self.fetch_all(audited).await?.iter().map(read).collect()
    }

    async fn audited_enrollments(
        &self,
        tenant_id: TenantId,
        after: Option<EnrollmentId>,
        limit: u32,
    ) -> Result<Vec<AuditedEnrollment>, StoreError> {
        let audited = "-- audited_enrollments
            SELECT id, user_id, status, approval_id, overridden FROM enrollments
            WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
        let audited = query(audited).bind(tenant_id.as_uuid()).bind(above(after)).bind(i64::from(limit));
        let read = |row: &Row| {
            let row = Columns::new("enrollments", row);
            Ok(AuditedEnrollment {
                id: row.id("id")?,
                user_id: row.id("user_id")?,
                status: row.word("status")?,
                approval_id: row.optional_id("approval_id")?,
                is_overridden: row.flag("overridden")?,
            })
        };
        self.fetch_all(audited).await?.iter().map(read).collect()
    }

    async fn record_restored(&self, command: RecordRestored) -> Result<(), StoreError> {
        self.write(command).await
    }
}

/// Sizes are numbers of rows.
fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn above<K>(after: Option<Id<K>>) -> Uuid {
    after.map_or(Uuid::nil(), Id::as_uuid)
}

fn parameter<K>(ids: &[Id<K>]) -> String {
    rows::to_parameter(IDS, ids.iter().map(|id| json!({"r_id": rows::id(*id)})).collect())
}
