//! A device's key, as the database has it: the caller believes it only under a binding that verifies.

use countersign_core::{
    device::{KeyRole, StoredKey},
    ports::StoreError,
};
use countersign_proto::jose::Thumbprint;
use serde_json::{Value, json};

use super::super::{
    Row, dialect,
    reader::{self, Lookup, NUMBER},
};
use crate::{
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
            key: Statement::new(format!(
                "-- key
                SELECT thumbprint, r_number, devices.id AS device_id, devices.tenant_id AS tenant_id, user_id, role,
                    public_key, key_thumbprint, uv_thumbprint, status, revoked_at, binding_id, binding, platform,
                    app_version, os_version
                FROM {thumbprints} CROSS JOIN device_keys CROSS JOIN devices
                WHERE thumbprint = r_thumbprint
                  AND devices.id = device_keys.device_id AND devices.tenant_id = device_keys.tenant_id",
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
            is_current: current == Some(columns.text("thumbprint")?),
            device_status: columns.word("status")?,
            revoked_at: columns.optional_time("revoked_at")?,
            binding: super::binding(&columns)?,
            versions: super::versions(&columns)?,
        })
    }
}
