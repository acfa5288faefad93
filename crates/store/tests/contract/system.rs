//! `ports::system`, and how a store starts.

use std::sync::Arc;

use countersign_core::ports::StoreError;
use countersign_store::{ConnectError, Options, connect};

use crate::{
    kit::{self, Database, Wakes},
    world::{NOW, World},
};

#[tokio::test]
async fn a_store_is_ready_when_it_writes_and_its_migrations_are_ours() {
    for world in World::each().await {
        assert_eq!(world.store.check_ready(NOW).await, Ok(()));
        let written = "SELECT checked_at FROM installation WHERE id = 1";
        assert_eq!(world.database.number(written).await, NOW.as_millis());
        world.database.tamper(FROM_THE_FUTURE).await;
        assert!(matches!(world.store.check_ready(NOW).await, Err(StoreError::Unavailable(_))));
    }
}

const FROM_THE_FUTURE: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";

#[tokio::test]
async fn a_database_from_the_future_is_refused() {
    for database in Database::each().await {
        database.open().await.close().await;
        database.tamper(FROM_THE_FUTURE).await;
        let refused = database.open_with(kit::options(), Arc::new(Wakes::default())).await.err().unwrap();
        assert!(matches!(refused, ConnectError::FromTheFuture { version: 9999 }), "{refused}");
        assert!(refused.to_string().contains("from the future"));
        // It was left as it is.
        assert_eq!(database.number("SELECT count(*) FROM _sqlx_migrations WHERE version = 9999").await, 1);
    }
}

#[tokio::test]
async fn an_altered_migration_is_refused() {
    for database in Database::each().await {
        database.open().await.close().await;
        let other = if database.is_postgres() { r"'\x00'" } else { "X'00'" };
        database.tamper(&format!("UPDATE _sqlx_migrations SET checksum = {other} WHERE version = 1")).await;
        let refused = database.open_with(kit::options(), Arc::new(Wakes::default())).await.err().unwrap();
        assert!(matches!(refused, ConnectError::Altered { version: 1 }), "{refused}");
    }
}

#[tokio::test]
async fn who_may_not_migrate_refuses_a_schema_that_is_not_exactly_ours_and_leaves_it_alone() {
    let only_reading = Options { migrate: false, ..kit::options() };
    let open = async |database: &Database| {
        database.open_with(only_reading.clone(), Arc::new(Wakes::default())).await.map(|_| ())
    };
    for database in Database::each().await {
        let refused = open(&database).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Behind { version: 1 }), "{refused}");
        assert!(refused.to_string().contains("countersign migrate"));
        database.migrate_to_the_first().await;
        let refused = open(&database).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Behind { version: 2 }), "{refused}");
        assert_eq!(database.number("SELECT count(*) FROM _sqlx_migrations").await, 1);
        database.open().await.close().await;
        assert!(open(&database).await.is_ok());
        database.tamper(FROM_THE_FUTURE).await;
        let refused = open(&database).await.unwrap_err();
        assert!(matches!(refused, ConnectError::FromTheFuture { version: 9999 }), "{refused}");
        let other = if database.is_postgres() { r"'\x00'" } else { "X'00'" };
        database.tamper(&format!("UPDATE _sqlx_migrations SET checksum = {other} WHERE version = 1")).await;
        let refused = open(&database).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Altered { version: 1 }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_processes_may_start_at_once() {
    for _ in 0..5 {
        for database in Database::each().await {
            let url = database.url();
            let mut starters = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let url = url.clone();
                let wakes = Arc::new(Wakes::default());
                starters.spawn(async move { connect(&url, kit::options(), wakes).await.map_err(|e| e.to_string()) });
            }
            for started in starters.join_all().await {
                started.unwrap().close().await;
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused_in_one_line() {
    let urls =
        ["mysql://localhost/x", "", "sqlite://", "sqlite::memory:", "sqlite://x?mode=memory", "postgres://[", "x.db"];
    for url in urls {
        let refused = connect(url, Options::default(), Arc::new(Wakes::default())).await.err().unwrap();
        assert!(matches!(refused, ConnectError::Url(_)), "{url}: {refused}");
    }
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let url = format!("sqlite://{}/store.db", blocked.display());
    let refused = connect(&url, Options::default(), Arc::new(Wakes::default())).await.err().unwrap();
    assert!(matches!(refused, ConnectError::File { .. }), "{refused}");
    let nobody = "postgres://nobody:secret@127.0.0.1:1/none";
    let refused = connect(nobody, Options::default(), Arc::new(Wakes::default())).await.err().unwrap();
    assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused}");
    assert!(!refused.to_string().contains("secret"));
}

#[tokio::test]
async fn the_file_belongs_to_the_servers_user_alone_and_is_written_ahead() {
    let database = Database::sqlite();
    // The -wal file is there while somebody has it open: who has written has, until the store is dropped at the end.
    let store = database.open().await;
    store.check_ready(NOW).await.unwrap();
    assert_eq!(database.texts("PRAGMA journal_mode").await, ["wal"]);
    #[cfg(unix)]
    for suffix in ["", "-wal", "-migrate"] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = format!("{}{suffix}", database.path().display());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
    }
}

#[tokio::test]
async fn the_twins_have_the_same_tables_columns_and_indexes() {
    let sqlite_columns = "SELECT m.name || '.' || p.name || ' ' || lower(p.type) || ' ' || p.\"notnull\" || ' '
            || coalesce(p.dflt_value, '') || ' ' || p.cid
        FROM sqlite_master AS m, pragma_table_info(m.name) AS p
        WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' ORDER BY 1";
    let postgres_columns = "SELECT table_name || '.' || column_name || ' '
            || CASE data_type WHEN 'uuid' THEN 'blob' WHEN 'bytea' THEN 'blob' WHEN 'bigint' THEN 'integer'
               ELSE data_type END
            || ' ' || CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END || ' ' || replace(coalesce(column_default, ''), '::text', '') || ' '
            || ordinal_position - 1
        FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%' ORDER BY 1";
    // Named indexes; those of keys and UNIQUE have names of the database's own, and are told by their columns.
    let sqlite_indexes = "SELECT m.name || ' ' || CASE WHEN l.origin = 'c' THEN l.name ELSE '' END || ' '
            || l.\"unique\" || ' ' || l.partial || ' '
            || (SELECT group_concat(i.name, ',') FROM pragma_index_info(l.name) AS i)
        FROM sqlite_master AS m, pragma_index_list(m.name) AS l
        WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' AND m.name <> 'installation' ORDER BY 1";
    let postgres_indexes = "SELECT t.relname || ' ' || CASE WHEN c.oid IS NULL THEN i.relname ELSE '' END || ' '
            || CASE WHEN x.indisunique THEN 1 ELSE 0 END || ' ' || CASE WHEN x.indpred IS NULL THEN 0 ELSE 1 END || ' '
            || (SELECT string_agg(a.attname, ',' ORDER BY k.n)
                FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, n)
                JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.attnum)
        FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid
        JOIN pg_namespace AS s ON s.oid = t.relnamespace AND s.nspname = 'public'
        LEFT JOIN pg_constraint AS c ON c.conindid = i.oid AND c.contype IN ('p', 'u')
        WHERE t.relname NOT LIKE '\\_sqlx%' AND t.relname <> 'installation' ORDER BY 1";
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres().await);
    sqlite.open().await;
    postgres.open().await;
    for (one, other) in [(sqlite_columns, postgres_columns), (sqlite_indexes, postgres_indexes)] {
        let (mut one, mut other) = (sqlite.texts(one).await, postgres.texts(other).await);
        // They sort text differently.
        one.sort();
        other.sort();
        assert!(one.len() > 20);
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn the_twins_migrations_differ_in_types_only() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let texts = |kind: &str| {
        let mut files: Vec<_> = std::fs::read_dir(format!("{folder}/{kind}")).unwrap().map(Result::unwrap).collect();
        files.sort_by_key(|file| file.file_name());
        let text = |file: std::fs::DirEntry| {
            let text = std::fs::read_to_string(file.path()).unwrap();
            // How PostgreSQL stores a table is its own affair, if it is only that.
            let (text, own) = text.split_once("\n-- PostgreSQL alone:").unwrap_or((&text, ""));
            let is_setting = |line: &str| {
                line.starts_with("ALTER TABLE ")
                    && (line.contains(" SET (") && line.ends_with(");") || line.ends_with(r#" TYPE TEXT COLLATE "C";"#))
            };
            assert!(own.lines().skip(1).all(|line| line.starts_with("-- ") || is_setting(line)), "{own}");
            let text = text.replace(" UUID", " BLOB").replace(" BYTEA", " BLOB").replace(" BIGINT", " INTEGER");
            // The one value that is read out of JSON, which each does in its own words.
            let text = text
                .replace("CAST(CAST(policy AS json) ->> 'version' AS INTEGER)", "json_extract(policy, '$.version')");
            (file.file_name(), text.replace(") STRICT;", ");"))
        };
        files.into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(texts("sqlite"), texts("postgres"));
}

#[tokio::test]
async fn statistics_that_somebody_made_are_replaced_at_the_next_start() {
    let database = Database::sqlite();
    database.open().await.close().await;
    database.tamper("ANALYZE").await;
    let ours = "SELECT count(*) FROM sqlite_stat1 WHERE idx = 'devices_by_user' AND stat = '2000000 2 1'";
    assert_eq!(database.number(ours).await, 0);
    database.open().await.close().await;
    assert_eq!(database.number(ours).await, 1);
}

#[tokio::test]
async fn what_nobody_may_ask_for_any_more_is_forgotten() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut command = world.new_challenge(&[&phone]).await;
        command.idempotency = Some(countersign_core::ports::challenges::Idempotency {
            key: "key".to_owned(),
            body: world.digest(),
            reply: "{}".to_owned(),
            suppressed_reply: "{}".to_owned(),
            expires_at: NOW.plus_seconds(60),
        });
        world.store.create_challenge(command).await.unwrap();
        let count = "SELECT (SELECT count(*) FROM replies) + (SELECT count(*) FROM idempotency_keys)";
        // The key, and the reply to the phone's registration.
        assert_eq!(world.database.number(count).await, 2);
        assert_eq!(world.store.forget_expired(NOW, 100).await, Ok(0));
        assert_eq!(world.store.forget_expired(NOW.plus_seconds(60), 100).await, Ok(1));
        assert_eq!(world.store.forget_expired(NOW.plus_seconds(86_400), 100).await, Ok(1));
        assert_eq!(world.database.number(count).await, 0);
    }
}
