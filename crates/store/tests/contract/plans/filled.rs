//! A database with many rows, made by a statement per table: a big organisation with half of everything, thousands of
//! small ones with the rest.

use crate::kit::Database;

/// Tables that do not grow with use, so that they may be read as a whole.
pub(crate) const SMALL: [&str; 6] =
    ["installation", "leases", "erasures", "_sqlx_migrations", "sqlite_master", "sqlite_stat1"];

/// Rows are numbered; `n` is the number.
struct Table {
    name: &'static str,
    rows: u32,
    columns: &'static [(&'static str, Value)],
}

#[derive(Clone, Copy)]
enum Value {
    /// An id, from a number.
    Id(&'static str),
    /// Bytes, from a number.
    Bytes(&'static str),
    /// The expression itself.
    As(&'static str),
}

use Value::{As, Bytes, Id};

/// Whose row it is: every second one belongs to organisation 1.
const TENANT: Value = Id("CASE WHEN n % 2 = 0 THEN 1 ELSE 1 + n % 4000 END");
/// Long enough that rows have the size of real ones.
const LONG: Value =
    As("'0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789'");
/// One in two hundred of what can wait does.
const PENDING: Value = As("CASE WHEN n % 200 = 0 THEN 'pending' ELSE 'approved' END");
const TIME: Value = As("1800000000000 + n");

const TABLES: &[Table] = &[
    Table {
        name: "tenants",
        rows: 4_000,
        columns: &[
            ("id", Id("n")),
            ("slug", As("'slug-' || n")),
            ("name", As("'name'")),
            ("policy", As("'{}'")),
            ("created_at", TIME),
        ],
    },
    Table {
        name: "api_clients",
        rows: 5_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", Id("CASE WHEN n <= 4000 THEN n ELSE 1 END")),
            ("name", As("'name'")),
            ("scopes", As("'challenges'")),
            ("created_at", TIME),
        ],
    },
    Table {
        name: "api_keys",
        rows: 6_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", Id("CASE WHEN n <= 4000 THEN n ELSE 1 END")),
            ("client_id", Id("1 + n % 5000")),
            ("digest", Bytes("n")),
            ("created_at", TIME),
        ],
    },
    Table {
        name: "api_key_uses",
        rows: 6_000,
        columns: &[("key_id", Id("n")), ("tenant_id", Id("CASE WHEN n <= 4000 THEN n ELSE 1 END")), ("used_at", TIME)],
    },
    Table {
        name: "users",
        rows: 40_000,
        columns: &[("id", Id("n")), ("tenant_id", TENANT), ("external_id", As("'user-' || n")), ("created_at", TIME)],
    },
    Table {
        name: "devices",
        rows: 40_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", TENANT),
            ("user_id", Id("n")),
            ("name", As("'Phone'")),
            ("platform", As("'android'")),
            ("purpose", As("'approval'")),
            ("status", As("CASE WHEN n % 50 = 0 THEN 'revoked' ELSE 'active' END")),
            ("key_thumbprint", As("'key-' || n")),
            ("binding", LONG),
            ("push_channel", As("'fcm'")),
            ("push", LONG),
            ("push_updated_at", TIME),
            ("created_at", TIME),
            ("decision_id", Id("n")),
        ],
    },
    Table {
        name: "device_keys",
        rows: 40_000,
        columns: &[
            ("thumbprint", As("'key-' || n")),
            ("tenant_id", TENANT),
            ("device_id", Id("n")),
            ("role", As("'device'")),
            ("public_key", Bytes("n")),
            ("created_at", TIME),
        ],
    },
    Table {
        name: "enrollments",
        rows: 30_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", TENANT),
            ("user_id", Id("n")),
            ("status", As("CASE WHEN n % 200 = 0 THEN 'pending' ELSE 'completed' END")),
            ("confirmation", As("'code'")),
            ("purpose", As("'approval'")),
            ("ticket", Bytes("n")),
            ("seal", LONG),
            ("device_id", Id("n")),
            ("expires_at", TIME),
            ("created_at", TIME),
            ("decision_id", Id("n")),
        ],
    },
    Table {
        name: "replies",
        rows: 30_000,
        columns: &[("artefact", Bytes("n")), ("tenant_id", TENANT), ("body", LONG), ("expires_at", TIME)],
    },
    Table {
        name: "policy_versions",
        rows: 8_000,
        columns: &[("tenant_id", Id("1 + n % 4000")), ("version", As("n")), ("policy", LONG), ("created_at", TIME)],
    },
    Table {
        name: "client_proof_jtis",
        rows: 30_000,
        columns: &[
            ("client_id", Id("1 + n % 5000")),
            ("jti", As("'jti-' || n")),
            ("tenant_id", TENANT),
            ("expires_at", TIME),
            ("decision_id", Id("n")),
        ],
    },
    Table {
        name: "push_update_jtis",
        rows: 30_000,
        columns: &[("device_id", Id("n")), ("jti", As("'jti'")), ("tenant_id", TENANT), ("expires_at", TIME)],
    },
    Table {
        name: "challenges",
        rows: 60_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", TENANT),
            ("client_id", Id("1 + n % 5000")),
            ("user_id", Id("1 + n % 40000")),
            ("external_id", As("'user-' || (1 + n % 40000)")),
            ("content", LONG),
            ("policy", LONG),
            ("jws", LONG),
            ("status", PENDING),
            ("created_at", TIME),
            ("expires_at", TIME),
            ("decision_id", Id("n")),
        ],
    },
    Table {
        name: "deliveries",
        rows: 60_000,
        columns: &[
            ("challenge_id", Id("n")),
            ("device_id", Id("1 + n % 40000")),
            ("tenant_id", TENANT),
            ("channel", As("'fcm'")),
            ("state", As("CASE WHEN n % 200 = 0 THEN 'queued' ELSE 'delivered' END")),
            ("updated_at", TIME),
        ],
    },
    Table {
        name: "notifications",
        rows: 30_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", TENANT),
            ("kind", As("CASE WHEN n % 3 = 0 THEN 'notice' ELSE 'challenge' END")),
            ("device_id", Id("n")),
            ("challenge_id", Id("n")),
            ("due_at", TIME),
            ("expires_at", TIME),
            ("channel", As("CASE WHEN n % 3 = 0 THEN 'apns' ELSE 'fcm' END")),
        ],
    },
    Table {
        name: "idempotency_keys",
        rows: 40_000,
        columns: &[
            ("client_id", Id("1 + n % 5000")),
            ("key", As("'key-' || n")),
            ("tenant_id", TENANT),
            ("challenge_id", Id("n")),
            ("body", Bytes("n")),
            ("reply", LONG),
            ("expires_at", TIME),
            ("decision_id", Id("n")),
        ],
    },
    Table {
        name: "events",
        rows: 80_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", TENANT),
            ("position", As("CASE WHEN n % 200 = 0 THEN NULL ELSE n END")),
            ("kind", As("CASE WHEN n % 8 = 0 THEN 'device.added' ELSE 'challenge.approved' END")),
            ("actor_kind", As("'device'")),
            ("user_id", Id("1 + n % 40000")),
            ("device_id", Id("1 + n % 40000")),
            ("challenge_id", Id("n")),
            ("request_id", As("'request'")),
            ("at", TIME),
            ("body", As("'{}'")),
        ],
    },
    Table {
        name: "audit_heads",
        rows: 4_000,
        columns: &[
            ("tenant_id", Id("n")),
            ("positioned", As("n")),
            ("size", As("CASE WHEN n % 200 = 0 THEN n - 1 ELSE n END")),
            ("checkpoint", LONG),
        ],
    },
    Table { name: "forgotten", rows: 4_000, columns: &[("tenant_id", Id("n")), ("note", LONG)] },
    Table {
        name: "audit_tiles",
        rows: 30_000,
        columns: &[
            ("tenant_id", Id("1 + n % 4000")),
            ("level", As("0")),
            ("tile", As("n / 4000")),
            ("hashes", Bytes("n")),
        ],
    },
    Table {
        name: "push_health",
        rows: 40_000,
        columns: &[("device_id", Id("n")), ("tenant_id", TENANT), ("pulled_at", TIME)],
    },
    Table {
        name: "test_pushes",
        rows: 30_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", TENANT),
            ("device_id", Id("n")),
            ("channel", As("'fcm'")),
            ("state", As("'delivered'")),
            ("created_at", TIME),
            ("updated_at", TIME),
        ],
    },
    Table {
        name: "webhooks",
        rows: 8_000,
        columns: &[
            ("id", Id("n")),
            ("tenant_id", Id("1 + n % 4000")),
            ("url", LONG),
            ("events", As("' * '")),
            ("status", As("'enabled'")),
            ("secret_id", Id("n")),
            ("previous_secrets", As("'[]'")),
            ("seal", LONG),
            ("created_at", TIME),
        ],
    },
    Table {
        name: "webhook_deliveries",
        rows: 80_000,
        columns: &[
            ("webhook_id", Id("1 + n % 8000")),
            ("message_id", Id("n")),
            ("tenant_id", Id("1 + n % 4000")),
            ("kind", As("'challenge.approved'")),
            ("status", As("CASE WHEN n % 200 = 0 THEN 'pending' ELSE 'delivered' END")),
            ("due_at", TIME),
            ("queued_at", TIME),
            ("tries", As("1")),
            ("attempts", As("'[]'")),
            ("kept_until", TIME),
            ("is_urgent", As("n / 200 % 2")),
        ],
    },
];

/// Fills every table that grows.
pub(crate) async fn fill(database: &Database) {
    for table in TABLES {
        let columns: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
        let values: Vec<_> = table.columns.iter().map(|(_, value)| spelled(database, *value)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) WITH RECURSIVE numbers (n) AS
                (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) SELECT {} FROM numbers",
            table.name,
            columns.join(", "),
            table.rows,
            values.join(", ")
        );
        database.tamper(&sql).await;
    }
}

fn spelled(database: &Database, value: Value) -> String {
    match (value, database.is_postgres()) {
        (As(expression), _) => expression.to_owned(),
        (Id(number), true) => format!("CAST(lpad(to_hex({number}), 32, '0') AS uuid)"),
        (Id(number), false) => format!("unhex(printf('%032x', {number}))"),
        (Bytes(number), true) => format!("decode(lpad(to_hex({number}), 64, '0'), 'hex')"),
        (Bytes(number), false) => format!("unhex(printf('%064x', {number}))"),
    }
}

/// The names of all tables that grow are known, so that a new one is not forgotten.
pub(crate) async fn assert_all_tables_are_filled(database: &Database) {
    let tables = match database.is_postgres() {
        true => "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
        false => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    };
    for table in database.texts(tables).await {
        let is_known = SMALL.contains(&table.as_str()) || TABLES.iter().any(|filled| filled.name == table);
        assert!(is_known, "{table} is new: fill it in plans/filled.rs, or say there that it does not grow");
    }
}
