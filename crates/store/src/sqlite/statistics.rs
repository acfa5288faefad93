//! What SQLite's planner is told of the tables: the statistics of a large installation, written down.
//!
//! `ANALYZE` and `PRAGMA optimize` count what is there at the time, and are never run here. With the count of a quiet
//! hour, in which hardly a challenge was pending, SQLite read all pending ones for each response of a batch; with no
//! count at all it took an organisation to have ten devices, and read them all for each challenge. With these it goes by
//! the narrowest key, on every installation in the same way, and a test reads the plans.
//!
//! To add a table or an index: its line here; the test of the plans names statements that are the worse for want of one.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::{Connection, Query};

/// Table, index, and as `sqlite_stat1` has it: how many rows, and how many on average have the same first column, the
/// same first two, and so on.
const STATISTICS: &[(&str, &str, &str)] = &[
    ("tenants", "sqlite_autoindex_tenants_1", "1000 1"),
    ("tenants", "sqlite_autoindex_tenants_2", "1000 1"),
    ("tenants", "tenants_with_settings", "100 1"),
    ("api_clients", "sqlite_autoindex_api_clients_1", "10000 1"),
    ("api_clients", "api_clients_by_tenant", "10000 10 1"),
    ("api_keys", "sqlite_autoindex_api_keys_1", "10000 1"),
    ("api_keys", "sqlite_autoindex_api_keys_2", "10000 1"),
    ("api_keys", "api_keys_by_client", "10000 2"),
    ("users", "sqlite_autoindex_users_1", "1000000 1"),
    ("users", "sqlite_autoindex_users_2", "1000000 100000 1"),
    ("users", "users_by_tenant", "1000000 100000 1"),
    ("users", "users_locked", "10000 1000 1"),
    ("users", "users_reported", "1000 100 1"),
    ("users", "users_without_device", "100000 10000 1"),
    ("devices", "sqlite_autoindex_devices_1", "2000000 1"),
    ("devices", "devices_by_user", "2000000 2 1"),
    ("devices", "devices_by_tenant", "2000000 200000 1"),
    ("device_keys", "sqlite_autoindex_device_keys_1", "3000000 1"),
    ("device_keys", "device_keys_by_device", "3000000 2"),
    ("enrollments", "sqlite_autoindex_enrollments_1", "1000000 1"),
    ("enrollments", "sqlite_autoindex_enrollments_2", "1000000 1"),
    ("enrollments", "enrollments_due", "10000 10"),
    ("enrollments", "enrollments_by_user", "1000000 2"),
    ("enrollments", "enrollments_by_tenant", "1000000 100000 1"),
    ("replies", "sqlite_autoindex_replies_1", "100000 1"),
    ("replies", "replies_by_expiry", "100000 10"),
    ("replies", "replies_by_user", "100000 2"),
    ("push_update_jtis", "sqlite_autoindex_push_update_jtis_1", "100000 2 1"),
    ("push_update_jtis", "push_update_jtis_by_expiry", "100000 10"),
    ("challenges", "sqlite_autoindex_challenges_1", "10000000 1"),
    ("challenges", "challenges_due", "100000 10"),
    ("challenges", "challenges_by_tenant", "10000000 1000000 1"),
    ("challenges", "challenges_by_client", "10000000 1000000 1"),
    ("challenges", "challenges_by_user", "10000000 100 1"),
    ("challenges", "challenges_pending_by_user", "100000 4 1"),
    ("deliveries", "sqlite_autoindex_deliveries_1", "10000000 2 1"),
    ("notifications", "sqlite_autoindex_notifications_1", "100000 1"),
    ("notifications", "notifications_by_channel", "100000 30000 10 1"),
    ("notifications", "notifications_by_expiry", "100000 10"),
    ("notifications", "notifications_by_challenge", "100000 2"),
    ("notifications", "notifications_by_device", "100000 2"),
    ("notifications", "notifications_notice_of_device", "10000 1"),
    ("push_health", "sqlite_autoindex_push_health_1", "2000000 1"),
    ("test_pushes", "sqlite_autoindex_test_pushes_1", "10000 1"),
    ("test_pushes", "test_pushes_by_device", "10000 2 1"),
    ("test_pushes", "test_pushes_by_age", "10000 10"),
    ("idempotency_keys", "sqlite_autoindex_idempotency_keys_1", "1000000 100000 1"),
    ("idempotency_keys", "idempotency_keys_by_expiry", "1000000 10"),
    ("audit_heads", "sqlite_autoindex_audit_heads_1", "1000 1"),
    ("audit_heads", "audit_heads_unsealed", "1000 1"),
    ("forgotten", "sqlite_autoindex_forgotten_1", "1000 1"),
    ("audit_tiles", "sqlite_autoindex_audit_tiles_1", "100000 10000 5000 1"),
    ("events", "sqlite_autoindex_events_1", "20000000 1"),
    ("events", "events_by_position", "20000000 2000000 1"),
    ("events", "events_without_position", "100000 50000 10 1"),
    ("events", "events_of_user", "1000000 10 2"),
    ("webhooks", "sqlite_autoindex_webhooks_1", "5000 1"),
    ("webhooks", "webhooks_by_tenant", "5000 2 1"),
    ("webhook_deliveries", "sqlite_autoindex_webhook_deliveries_1", "5000000 1000 1"),
    ("webhook_deliveries", "webhook_deliveries_due", "100000 20 2 1"),
    ("webhook_deliveries", "webhook_deliveries_by_urgency", "100000 20 10 2 1"),
    ("webhook_deliveries", "webhook_deliveries_by_status", "5000000 1000 500 1"),
    ("webhook_deliveries", "webhook_deliveries_by_age", "5000000 10"),
];

/// Puts them in the place of whatever is there. Connections that are open already go on with what they have read.
pub(super) async fn set(connection: &mut Connection) -> Result<(), sqlx::Error> {
    let ours: BTreeSet<_> =
        STATISTICS.iter().map(|(table, index, numbers)| [*table, *index, *numbers].map(str::to_owned)).collect();
    // Makes the table, and counts nothing of ours.
    statement("-- make_statistics\nANALYZE sqlite_schema").execute(&mut *connection).await?;
    let found = statement("-- statistics\nSELECT tbl, COALESCE(idx, ''), stat FROM sqlite_stat1");
    let mut there = BTreeSet::new();
    for row in &found.fetch_all(&mut *connection).await? {
        there.insert([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?]);
    }
    if there == ours {
        return Ok(());
    }
    let mut transaction = sqlx::Connection::begin_with(connection, super::dialect::BEGIN).await?;
    statement("-- forget_statistics\nDELETE FROM sqlite_stat1").execute(&mut *transaction).await?;
    for row in ours {
        let insert = "-- insert_statistic\nINSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ($1, $2, $3)";
        let [table, index, numbers] = row;
        statement(insert).bind(table).bind(index).bind(numbers).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

fn statement(text: &'static str) -> Query<'static> {
    sqlx::query(text)
}
