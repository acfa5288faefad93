//! When keys were last used: beside the keys, whose rows each write of their client shares.
//!
//! A set at a time, every few seconds. A time never goes back, whichever node writes last.

use std::collections::BTreeMap;

use async_trait::async_trait;
use countersign_core::ports::api_clients::KeyUse;
use serde_json::json;

use super::super::{Outcome, Plain, Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const USES: &rows::Columns = &[("r_key_id", Type::Id), ("r_tenant_id", Type::Id), ("r_at", Type::Integer)];

/// See the module.
pub(super) struct Statements {
    record_key_uses: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // In the order of the keys: two nodes that write the same ones do not stand in each other's way.
            record_key_uses: Statement::new(format!(
                "-- record_key_uses
                INSERT INTO api_key_uses (key_id, tenant_id, used_at)
                SELECT r_key_id, r_tenant_id, r_at FROM {uses} WHERE true ORDER BY r_key_id
                ON CONFLICT (key_id) DO UPDATE SET used_at = excluded.used_at
                WHERE api_key_uses.used_at < excluded.used_at",
                uses = dialect::row_source(1, USES),
            )),
        }
    }
}

/// See [`countersign_core::ports::api_clients::ApiClients::record_key_uses`].
pub(super) struct RecordKeyUses(pub(super) Vec<KeyUse>);

#[async_trait]
impl Plain for RecordKeyUses {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        let uses: BTreeMap<_, _> = self.0.iter().map(|(tenant_id, key_id, at)| (*key_id, (*tenant_id, *at))).collect();
        let row = |(key_id, (tenant_id, at))| json!({"r_key_id": rows::id(key_id), "r_tenant_id": rows::id(tenant_id), "r_at": rows::time(at)});
        let parameter = rows::to_parameter(USES, uses.into_iter().map(row).collect());
        let statements = tx.statements();
        let written = tx.execute(query(&statements.api_clients.uses.record_key_uses).bind(parameter)).await?;
        Ok(if written == 0 { Outcome::Rollback(()) } else { Outcome::Commit(()) })
    }
}
