//! Cost stays flat: how each database goes about every statement that the store issues, with many rows.
//!
//! A statement may neither read the whole of a table that grows, nor of an index on one, nor sort what has no bound.
//! The few that may are in [`EXCUSES`], each with its reason. The statements are those that the contract suite makes
//! the store issue (`plans/heard.rs`); one that is written in the sources and was not heard fails the test.
//! To add a statement: its contract test is enough. To add a table: its rows in `plans/filled.rs`.

mod filled;
mod heard;
mod postgres;
mod sqlite;
mod written;

use std::collections::BTreeSet;

pub(crate) use self::heard::listen;
use self::{
    filled::{assert_all_tables_are_filled, fill},
    heard::{Heard, hear},
    written::written,
};
use crate::kit::Database;

/// What a plan does.
#[derive(Default)]
pub(crate) struct Plan {
    /// What may cost more the more rows there are: `reads all of users`, `sorts`.
    findings: BTreeSet<String>,
    /// The indexes that it uses.
    indexes: BTreeSet<String>,
    /// As the database tells it.
    text: String,
}

/// A statement, how what it does begins, and why that is harmless.
const EXCUSES: &[(&str, &str, &str)] = &[
    ("tenants", "reads all of tenants", "an operator's list of all organisations, on the command line"),
    ("tenants", "sorts", "the same"),
    ("audit_head", "reads an organisation's audit_heads", "each has one"),
    ("seal_audit", "reads an organisation's audit_heads", "the same"),
    ("forgotten", "reads an organisation's forgotten", "each has one"),
    ("enrollments_of_user", "sorts", "the few invitations of one person, for an export"),
    ("timeline_events", "sorts", "events of one person at one moment: the rest comes sorted"),
    ("kept_webhook_messages", "reads an organisation's webhooks", "as many as it may have, for an export"),
    ("notices", "sorts", "what happened to one person's registrations in 30 days, sign-ins left out"),
    ("queue_webhook_deliveries", "reads an organisation's webhooks", "at most ten, or as many as the operator says"),
];

/// On SQLite nobody locks rows: a transaction that writes is alone.
const LOCKS: [&str; 4] = ["lock_users", "lock_devices", "share_devices", "lock_keys"];

/// Everything is one test: hearing and filling are the work.
#[tokio::test]
async fn no_statement_costs_more_the_more_rows_there_are() {
    let heard = tokio::task::spawn_blocking(hear).await.unwrap();
    let mut troubles = unheard(&heard);
    let mut excused = BTreeSet::new();
    let (mut used, mut indexes) = (BTreeSet::new(), BTreeSet::new());
    for database in Database::each().await {
        database.open().await.close().await;
        assert_all_tables_are_filled(&database).await;
        fill(&database).await;
        database.tamper("ANALYZE").await;
        // On SQLite opening it puts our own statistics back: the same plans everywhere.
        database.open().await.close().await;
        let kind = if database.is_postgres() { "postgres" } else { "sqlite" };
        for (name, texts) in &heard[kind] {
            for text in texts {
                let plan = match database.is_postgres() {
                    true => postgres::plan(&database, text).await,
                    false => sqlite::plan(&database, text).await,
                };
                let plan = match plan {
                    Ok(plan) => plan,
                    Err(error) => {
                        troubles.push(format!("{kind}: {name} cannot be explained: {error}\n{text}"));
                        continue;
                    }
                };
                used.extend(plan.indexes.iter().cloned());
                for finding in &plan.findings {
                    match excuse(name, finding) {
                        Some(excuse) => _ = excused.insert(excuse),
                        None => troubles.push(format!("{kind}: {name} {finding}\n{}", plan.text)),
                    }
                }
            }
        }
        indexes.extend(named_indexes(&database).await);
    }
    troubles
        .extend(indexes.difference(&used).map(|index| format!("no statement uses {index}; every write pays for it")));
    for (number, (name, finding, _)) in EXCUSES.iter().enumerate() {
        if !excused.contains(&number) {
            troubles.push(format!("{name} {finding}: needs no excuse any more"));
        }
    }
    assert!(troubles.is_empty(), "{}\n{} in all", troubles.join("\n"), troubles.len());
}

fn excuse(name: &str, finding: &str) -> Option<usize> {
    EXCUSES.iter().position(|(of, begin, _)| *of == name && finding.starts_with(begin))
}

/// Statements of the sources that the suite does not issue: nothing is known of their plans.
fn unheard(heard: &Heard) -> Vec<String> {
    let written = written();
    let is_heard = |database: &str, name: &String| heard.get(database).is_some_and(|names| names.contains_key(name));
    let mut unheard = Vec::new();
    for name in written.shared.iter().chain(&written.postgres) {
        if !is_heard("postgres", name) {
            unheard.push(format!("postgres: no contract test issues {name}"));
        }
    }
    for name in written.shared.iter().filter(|name| !LOCKS.contains(&name.as_str())).chain(&written.sqlite) {
        if !is_heard("sqlite", name) {
            unheard.push(format!("sqlite: no contract test issues {name}"));
        }
    }
    assert!(written.shared.len() > 80, "the sources were not read");
    unheard
}

/// Indexes that are there for statements; those of keys and uniqueness are there for the rules.
async fn named_indexes(database: &Database) -> Vec<String> {
    let indexes = match database.is_postgres() {
        true => {
            "SELECT i.relname::text FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
            JOIN pg_class AS t ON t.oid = x.indrelid JOIN pg_namespace AS s ON s.oid = t.relnamespace
            WHERE s.nspname = 'public' AND NOT x.indisunique"
        }
        false => "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE 'CREATE INDEX%'",
    };
    database.texts(indexes).await
}
