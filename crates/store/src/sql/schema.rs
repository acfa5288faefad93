//! The schema at the start: brought up to date, or only compared with what this program knows.
//!
//! Must never repair: a schema that differs is refused in one line, and left as it is. Compiled once per database.

use std::collections::BTreeMap;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};

use super::{Connection, dialect::MIGRATIONS};
use crate::connect::ConnectError;

/// Migrates, or with `migrate` false makes sure that nothing is to migrate.
pub(super) async fn prepare(connection: &mut Connection, migrate: bool) -> Result<(), ConnectError> {
    if migrate {
        // Not `run`: its future is not known to be `Send`.
        return Ok(MIGRATIONS.run_direct(None, connection, false).await?);
    }
    let table: &str = &MIGRATIONS.table_name;
    if let Some(version) = unless_absent(connection.dirty_version(table).await)?.flatten() {
        return Err(MigrateError::Dirty(version).into());
    }
    let applied = unless_absent(connection.list_applied_migrations(table).await)?.unwrap_or_default();
    compare(&MIGRATIONS, &applied)
}

/// `None` if the table is not there: nobody has ever migrated.
fn unless_absent<T>(asked: Result<T, MigrateError>) -> Result<Option<T>, MigrateError> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(MigrateError::Execute(sqlx::Error::Database(error))) if is_undefined(error.code().as_deref()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// PostgreSQL's `undefined_table`; SQLite's `SQLITE_ERROR`, which for such a statement means the same.
fn is_undefined(code: Option<&str>) -> bool {
    matches!(code, Some("42P01" | "1"))
}

fn compare(ours: &Migrator, applied: &[AppliedMigration]) -> Result<(), ConnectError> {
    let mut applied: BTreeMap<_, _> = applied.iter().map(|migration| (migration.version, migration)).collect();
    for migration in ours.iter() {
        match applied.remove(&migration.version) {
            None => return Err(ConnectError::Behind { version: migration.version }),
            Some(there) if there.checksum != migration.checksum => {
                return Err(ConnectError::Altered { version: migration.version });
            }
            Some(_) => {}
        }
    }
    match applied.into_keys().next() {
        Some(version) => Err(ConnectError::FromTheFuture { version }),
        None => Ok(()),
    }
}
