//! How an organisation's active devices stand: what the report of those at risk is made from.
//!
//! Reads a page of devices by key; which of them are at risk is for the rules to say, not for SQL.

use countersign_core::{
    policy::devices::DeviceStanding,
    ports::{PageRequest, StoreError, users::UserName},
};
use countersign_proto::ids::{DeviceId, TenantId};
use uuid::Uuid;

use super::{
    super::{Query, query},
    Columns, Row,
};

/// A page, newest first.
pub(super) fn page<'q>(tenant_id: TenantId, page: PageRequest<DeviceId>) -> Query<'q> {
    let standings = "-- device_standings
        SELECT devices.id AS id, devices.user_id AS user_id, external_id, display_name, name, platform, app_version,
            os_version, uv_thumbprint, push_token_gone, push_undeliverable, activated_at, answered_at, pulled_at,
            reported_at, locked_until
        FROM devices JOIN users ON users.id = devices.user_id AND users.tenant_id = devices.tenant_id
        LEFT JOIN push_health ON push_health.device_id = devices.id
        WHERE devices.tenant_id = $1 AND devices.id < $2 AND status = 'active' AND purpose = 'approval'
        ORDER BY devices.id DESC LIMIT $3";
    query(standings)
        .bind(tenant_id.as_uuid())
        .bind(page.before.map_or(Uuid::max(), DeviceId::as_uuid))
        .bind(i64::from(page.limit))
}

/// A row of it.
pub(super) fn read(row: &Row) -> Result<DeviceStanding, StoreError> {
    let columns = Columns::new("devices", row);
    Ok(DeviceStanding {
        id: columns.id("id")?,
        user: UserName {
            id: columns.id("user_id")?,
            external_id: columns.text("external_id")?,
            display_name: columns.optional_text("display_name")?,
        },
        name: columns.text("name")?,
        versions: super::versions(&columns)?,
        has_uv_key: columns.optional_text("uv_thumbprint")?.is_some(),
        push_token_gone: columns.flag("push_token_gone")?,
        is_push_undeliverable: columns.optional_text("push_undeliverable")?.is_some(),
        activated_at: columns.optional_time("activated_at")?,
        last_decision_at: columns.optional_time("answered_at")?,
        last_pull_at: columns.optional_time("pulled_at")?,
        reported_at: columns.optional_time("reported_at")?,
        locked_until: columns.optional_time("locked_until")?,
    })
}
