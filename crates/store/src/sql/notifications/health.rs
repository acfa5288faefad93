//! A device's push health: a row beside the device, written with every push and pull, so that neither waits for, or
//! holds up, decisions, which share the devices' own rows.

use std::collections::BTreeMap;

use countersign_proto::{
    ids::{DeviceId, TenantId},
    timestamp::Timestamp,
};
use serde_json::json;

use super::super::{Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const HEALTH: &rows::Columns = &[
    ("r_device_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_accepted_at", Type::Integer),
    ("r_pulled_at", Type::Integer),
    ("r_answered_at", Type::Integer),
    ("r_error", Type::Text),
    ("r_error_at", Type::Integer),
];

/// A pull so soon after the one that is known tells nothing new.
const SAME_PULL_MILLIS: i64 = 10_000;

/// See the module.
pub(super) struct Statements {
    record_health: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        // What is later wins; what is not said stays.
        let later = |column: &str, by: &str| {
            format!(
                "{column} = CASE WHEN excluded.{by} >= COALESCE(push_health.{by}, excluded.{by})
                    THEN excluded.{column} ELSE push_health.{column} END"
            )
        };
        let set = [
            later("accepted_at", "accepted_at"),
            later("pulled_at", "pulled_at"),
            later("answered_at", "answered_at"),
            later("error", "error_at"),
            later("error_at", "error_at"),
        ];
        Self {
            // In the devices' order, so that two nodes that write of the same devices cannot wait for each other.
            // Of a device that is not there nothing is written; nor of one that asked just before: it may ask every
            // second, and an operator need not know so exactly.
            record_health: Statement::new(format!(
                "-- record_health
                INSERT INTO push_health (device_id, tenant_id, accepted_at, pulled_at, answered_at, error, error_at)
                SELECT r_device_id, r_tenant_id, r_accepted_at, r_pulled_at, r_answered_at, r_error, r_error_at
                FROM {health} CROSS JOIN devices LEFT JOIN push_health AS known ON known.device_id = r_device_id
                WHERE devices.id = r_device_id AND devices.tenant_id = r_tenant_id
                  AND (r_accepted_at IS NOT NULL OR r_answered_at IS NOT NULL OR r_error_at IS NOT NULL
                       OR known.pulled_at IS NULL
                       OR r_pulled_at > known.pulled_at + {SAME_PULL_MILLIS})
                ORDER BY r_device_id
                ON CONFLICT (device_id) DO UPDATE SET {set}",
                health = dialect::row_source(1, HEALTH),
                set = set.join(", "),
            )),
        }
    }
}

/// What is new about a device.
pub(super) struct Health {
    pub(super) tenant_id: TenantId,
    pub(super) accepted_at: Option<Timestamp>,
    pub(super) pulled_at: Option<Timestamp>,
    pub(super) answered_at: Option<Timestamp>,
    /// Our code and the provider's status.
    pub(super) error: Option<(String, Timestamp)>,
}

impl Health {
    /// Nothing yet.
    pub(super) fn of(tenant_id: TenantId) -> Self {
        Self { tenant_id, accepted_at: None, pulled_at: None, answered_at: None, error: None }
    }
}

impl Tx<'_> {
    /// Writes what is new, each device once; returns of how many.
    pub(super) async fn record_health(&mut self, devices: &BTreeMap<DeviceId, Health>) -> Result<u64, Failure> {
        let row = |(device_id, health): (&DeviceId, &Health)| {
            let error = health.error.as_ref();
            json!({
                "r_device_id": rows::id(*device_id),
                "r_tenant_id": rows::id(health.tenant_id),
                "r_accepted_at": health.accepted_at.map(rows::time),
                "r_pulled_at": health.pulled_at.map(rows::time),
                "r_answered_at": health.answered_at.map(rows::time),
                "r_error": error.map(|(error, _)| error),
                "r_error_at": error.map(|(_, at)| rows::time(*at)),
            })
        };
        if devices.is_empty() {
            return Ok(0);
        }
        let parameter = rows::to_parameter(HEALTH, devices.iter().map(row).collect());
        let statements = self.statements();
        self.execute(query(&statements.notifications.health.record_health).bind(parameter)).await
    }
}
