//! A device's keys: as the database has them (the caller believes one only under a binding that verifies), and how a new
//! one gets in.

use countersign_core::{
    actor::Stamp,
    device::{KeyRole, NewKey, StoredKey},
    ports::StoreError,
};
use countersign_proto::{ids::DeviceId, jose::Thumbprint};
use serde_json::{Value, json};

use super::super::{
    Row, Tx, dialect, query,
    reader::{self, Lookup, NUMBER},
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

/// See the module.
pub(super) struct Statements {
    key: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // Of an erased person the thumbprint stays, without its key: nobody is known by it.
            key: Statement::new(format!(
                "-- key
                SELECT thumbprint, r_number, devices.id AS device_id, devices.tenant_id AS tenant_id, user_id, role,
                    public_key, retired_at, key_thumbprint, uv_thumbprint, status, revoked_at, binding_id, binding, platform,
                    app_version, os_version, disabled_at
                FROM {thumbprints} CROSS JOIN device_keys CROSS JOIN devices CROSS JOIN tenants
                WHERE thumbprint = r_thumbprint AND tenants.id = device_keys.tenant_id
                  AND devices.id = device_keys.device_id AND devices.tenant_id = device_keys.tenant_id
                  AND length(public_key) > 0",
                thumbprints = dialect::row_source(1, KeyByThumbprint::COLUMNS),
            )),
        }
    }
}

/// A key by its thumbprint.
pub(in super::super) struct KeyByThumbprint;

impl Lookup for KeyByThumbprint {
    type Key = Thumbprint;
    type Found = StoredKey;

    const COLUMNS: &'static rows::Columns = &[("r_thumbprint", Type::Text), (NUMBER, Type::Integer)];

    fn statement(statements: &super::super::Statements) -> &Statement {
        &statements.devices.key.key
    }

    fn cells(thumbprint: &Thumbprint) -> Value {
        json!({"r_thumbprint": thumbprint.as_str()})
    }

    fn read(rows: &[Row]) -> Result<StoredKey, StoreError> {
        let columns = reader::only(rows, "device_keys")?;
        let role = match columns.text("role")?.as_str() {
            role if role == KeyRole::Device.as_str() => KeyRole::Device,
            role if role == KeyRole::UserVerification.as_str() => KeyRole::UserVerification,
            _ => return Err(columns.corrupt("role")),
        };
        let current = match role {
            KeyRole::Device => Some(columns.text("key_thumbprint")?),
            KeyRole::UserVerification => columns.optional_text("uv_thumbprint")?,
        };
        Ok(StoredKey {
            device_id: columns.id("device_id")?,
            tenant_id: columns.id("tenant_id")?,
            user_id: columns.id("user_id")?,
            role,
            public_key: columns.get("public_key")?,
            is_current: current == Some(columns.text("thumbprint")?) && columns.optional_time("retired_at")?.is_none(),
            device_status: columns.word("status")?,
            revoked_at: columns.optional_time("revoked_at")?,
            binding: super::binding(&columns)?,
            versions: super::versions(&columns)?,
            is_tenant_disabled: columns.optional_time("disabled_at")?.is_some(),
        })
    }
}

/// Registers new keys of a device; `false` if one was registered before, by anybody. A concurrent registration of the
/// same key is waited for: the primary key lets one of them in.
pub(in super::super) async fn insert_keys(
    tx: &mut Tx<'_>,
    stamp: &Stamp,
    device_id: DeviceId,
    keys: &[(&NewKey, KeyRole)],
) -> Result<bool, Failure> {
    let insert = "-- insert_device_key
        INSERT INTO device_keys (thumbprint, tenant_id, device_id, role, public_key, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (thumbprint) DO NOTHING";
    // In the order of their thumbprints: two registrations of the same two keys cannot deadlock.
    let mut keys = keys.to_vec();
    keys.sort_by(|one, other| one.0.thumbprint.cmp(&other.0.thumbprint));
    for (key, role) in keys {
        let insert = query(insert)
            .bind(key.thumbprint.as_str())
            .bind(stamp.tenant_id.as_uuid())
            .bind(device_id.as_uuid())
            .bind(role.as_str())
            .bind(key.public_key.as_slice())
            .bind(stamp.at.as_millis());
        if tx.execute(insert).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
