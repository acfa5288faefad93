//! Random edits, deletions and insertions behind the server's back: each that could change a decision or its record is
//! named by `audit verify`. What may change unseen is in [`HARMLESS`], each with its reason.

use std::collections::BTreeMap;

use countersign_tests::{
    Database, Db, TestApp,
    proof::{rounds, say},
};

use super::{checkpoint, live_a_day, look_through, seal};

/// Tables, with what names a row.
const TABLES: [(&str, &[&str]); 6] = [
    ("devices", &["id"]),
    ("device_keys", &["thumbprint"]),
    ("challenges", &["id"]),
    ("events", &["id"]),
    ("audit_heads", &["tenant_id"]),
    ("audit_tiles", &["tenant_id", "level", "tile"]),
];

/// What no decision and no record of one depends on.
const HARMLESS: &[(&str, &[&str], &str)] = &[
    (
        "devices",
        &["name", "platform", "model", "os_version", "app_id", "app_version", "installation_id"],
        "what the device says of itself; nothing that it says is believed for a decision",
    ),
    (
        "devices",
        &["push_channel", "push", "push_token_gone", "push_updated_at", "push_undeliverable", "push_undeliverable_at"],
        "where it is rung: a push carries no secret and decides nothing, and phones pull",
    ),
    ("devices", &["created_at", "activated_at", "revoked_at", "revoke_reason"], "the log says when and why"),
    ("devices", &["purpose"], "the signed binding says what the device is for, and is what is believed"),
    ("devices", &["decision_id"], "says which command won a race that is over"),
    (
        "device_keys",
        &["created_at", "retired_at"],
        "a key counts only while the device names it and the binding states it",
    ),
    ("challenges", &["display_name"], "shown beside the signed name; the challenge as signed has its own"),
    ("challenges", &["content"], "what is signed of it is compared; risk signals are the caller's note to itself"),
    ("challenges", &["policy"], "what is signed of it is compared; the rest held when it was made"),
    (
        "challenges",
        &["number", "code", "code_seal", "entered_seal", "wrong_codes"],
        "a number or code is right only under the server's MAC; a decided one is compared by it; guesses end with the challenge",
    ),
    ("challenges", &["decision_id"], "says which command won a race that is over"),
    ("audit_heads", &["sealed_at"], "for people; nothing is concluded from it"),
];

/// The same, but only for some rows.
const HARMLESS_WHERE: &[(&str, &[&str], &str, &str)] = &[(
    "challenges",
    &["decided_at", "reason", "response", "binding", "device_id", "flags", ""],
    "status IN ('expired', 'cancelled')",
    "no device decided, and the log says how it ended",
)];

/// Copies that nobody reads.
const IDLE: &[(&str, &str, &str)] = &[
    ("audit_tiles", "level >= 0", "a tile beyond the log is written anew when the log gets there"),
    ("devices", "status = 'revoked'", "a revoked device may do nothing, and nothing leads back"),
];

/// Reproducible randomness.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound.max(1) as u64).unwrap()
    }

    fn of<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }
}

struct Intruder<'a> {
    database: &'a Database,
    dice: Dice,
    columns: BTreeMap<&'static str, Vec<String>>,
}

/// What the intruder did: for the report.
struct Deed {
    table: &'static str,
    /// None: the whole row.
    column: Option<String>,
    /// Which row.
    row: String,
    sql: String,
}

impl<'a> Intruder<'a> {
    async fn enter(database: &'a Database, seed: u64) -> Self {
        let mut columns = BTreeMap::new();
        for (table, _) in TABLES {
            let names = match database.db() {
                Db::Sqlite => format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"),
                Db::Postgres => format!(
                    "SELECT column_name::text FROM information_schema.columns \
                     WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
                ),
            };
            columns.insert(table, database.texts(&names).await);
            database.tamper(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
        database.tamper("CREATE TABLE kept_heads AS SELECT id, event_head FROM tenants").await;
        Self { database, dice: Dice(seed), columns }
    }

    /// A random deed; `None` if the database refuses it, or if it changes nothing.
    async fn strike(&mut self) -> Option<Deed> {
        let (table, key) = *self.dice.of(&TABLES);
        let count = self.database.number(&format!("SELECT count(*) FROM {table}")).await;
        let offset = self.dice.below(usize::try_from(count).unwrap());
        let key = key.join(", ");
        let row = format!("({key}) = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {offset})");
        let (column, sql) = match self.dice.below(10) {
            0 => (None, format!("DELETE FROM {table} WHERE {row}")),
            1 => (None, self.copy_of(table, &row)),
            _ => {
                let column = self.dice.of(&self.columns[table]).clone();
                let other = self.dice.below(usize::try_from(count).unwrap());
                let other = format!("(SELECT {column} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {other})");
                let value = self.value(&column, &other);
                let sql =
                    format!("UPDATE {table} SET {column} = {value} WHERE {row} AND {column} IS DISTINCT FROM {value}");
                (Some(column), sql)
            }
        };
        let changed = self.database.try_tamper(&sql).await?;
        (changed > 0).then_some(Deed { table, column, row, sql })
    }

    /// The same row once more, under another name.
    fn copy_of(&mut self, table: &str, row: &str) -> String {
        let fresh = format!("01890a5d-ac96-774b-bcce-{:012x}", self.dice.below(1 << 40));
        let number = self.dice.below(1 << 20) + 1_000;
        let value = |column: &String| match (table, column.as_str()) {
            ("devices" | "challenges" | "events", "id") => self.database.id(&fresh),
            ("device_keys", "thumbprint") => format!("'{}'", "A".repeat(43)),
            ("events", "position") | ("audit_tiles", "tile") => number.to_string(),
            _ => column.clone(),
        };
        let names = &self.columns[table];
        let values: Vec<_> = names.iter().map(value).collect();
        format!("INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE {row}", names.join(", "), values.join(", "))
    }

    fn value(&mut self, column: &str, other: &str) -> String {
        let words = ["'approved'", "'denied'", "'pending'", "'cancelled'", "'active'", "'revoked'", "'suspended'"];
        match self.dice.below(7) {
            0 => "NULL".to_owned(),
            1 => format!("{column} + {}", 1_000 + self.dice.below(100_000)),
            2 => format!("{column} - {}", 1_000 + self.dice.below(100_000)),
            3 => format!("{column} || 'x'"),
            4 => (*self.dice.of(&words)).to_owned(),
            _ => other.to_owned(),
        }
    }

    /// Everything as it was, also what verifying has moved: an event that lost its position gets another.
    async fn repent(&self, deed: &Deed) {
        let heads = "UPDATE tenants SET event_head = \
                     (SELECT kept.event_head FROM kept_heads AS kept WHERE kept.id = tenants.id)";
        let mut steps = vec!["BEGIN".to_owned(), heads.to_owned()];
        steps.extend(self.restoring("audit_heads"));
        steps.extend(self.restoring(deed.table));
        steps.push("COMMIT".to_owned());
        self.database.tamper(&steps.join(";\n")).await;
    }

    fn restoring(&self, table: &'static str) -> [String; 3] {
        let (_, key) = TABLES.iter().find(|(name, _)| *name == table).unwrap();
        let key = key.join(", ");
        let names = self.columns[table].join(", ");
        let same: Vec<_> = key.split(", ").map(|name| format!("kept.{name} = {table}.{name}")).collect();
        let kept: Vec<_> = self.columns[table].iter().map(|name| format!("kept.{name}")).collect();
        [
            format!("DELETE FROM {table} WHERE ({key}) NOT IN (SELECT {key} FROM kept_{table})"),
            format!("INSERT INTO {table} SELECT * FROM kept_{table} WHERE ({key}) NOT IN (SELECT {key} FROM {table})"),
            format!(
                "UPDATE {table} SET ({names}) = (SELECT {} FROM kept_{table} AS kept WHERE {})",
                kept.join(", "),
                same.join(" AND ")
            ),
        ]
    }
}

/// Whether a deed that was not named is one that may go unnamed. To be asked when all is as it was.
async fn is_harmless(database: &Database, deed: &Deed) -> bool {
    let is_row = async |condition: &str| {
        database.number(&format!("SELECT count(*) FROM {} WHERE {} AND {condition}", deed.table, deed.row)).await == 1
    };
    if deed.sql.starts_with("INSERT") {
        let idle = IDLE.iter().find(|(table, ..)| *table == deed.table);
        return match idle {
            Some((_, condition, _)) => is_row(condition).await,
            None => false,
        };
    }
    // A deletion is of the column "".
    let column = deed.column.as_deref().unwrap_or_default();
    if HARMLESS.iter().any(|(table, columns, _)| *table == deed.table && columns.contains(&column)) {
        return true;
    }
    for (_, columns, condition, _) in HARMLESS_WHERE.iter().filter(|(table, ..)| *table == deed.table) {
        if columns.contains(&column) && is_row(condition).await {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn whatever_an_intruder_changes_in_a_decision_or_its_record_is_named() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        live_a_day(&app, &idp).await;
        seal(&app).await;
        let (note, _) = checkpoint(&idp).await;
        let older = [note];
        let untouched = look_through(&app, &older).await;
        assert!(untouched.is_good(), "{:?}", untouched.findings);

        let mut intruder = Intruder::enter(&app.database, 0x5eed).await;
        let (mut named, mut harmless, mut by_table) = (0_u32, 0_u32, BTreeMap::<_, u32>::new());
        let wanted = rounds(120, 10_000);
        let mut unseen = Vec::new();
        for _ in 0..wanted * 20 {
            if (named + harmless) as usize >= wanted {
                break;
            }
            let Some(deed) = intruder.strike().await else { continue };
            let is_named = !look_through(&app, &older).await.is_good();
            intruder.repent(&deed).await;
            if is_named {
                named += 1;
                *by_table.entry(deed.table).or_default() += 1;
            } else if is_harmless(&app.database, &deed).await {
                harmless += 1;
            } else {
                unseen.push(deed.sql);
            }
        }
        assert!(unseen.is_empty(), "{} unseen:\n{}", unseen.len(), unseen.join("\n"));
        assert!((named + harmless) as usize >= wanted, "too many deeds were refused by the database itself");
        assert_eq!(by_table.len(), TABLES.len(), "{by_table:?}");
        let clean = look_through(&app, &older).await;
        assert!(clean.is_good(), "the intruder has left something: {:?}", clean.findings);
        say(&format!(
            "tampering, {db:?}: {named} deeds named ({by_table:?}), {harmless} without effect on any decision"
        ));
    }
}

#[tokio::test]
async fn a_log_that_was_rewritten_as_a_whole_is_known_by_a_checkpoint_kept_elsewhere() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        live_a_day(&app, &idp).await;
        seal(&app).await;
        let (note, _) = checkpoint(&idp).await;
        // The intruder lets the server itself seal the forged log: after a restart it remembers nothing.
        for forged in [
            "UPDATE events SET request_id = 'forged' WHERE kind = 'user.created'",
            "DELETE FROM audit_tiles",
            "UPDATE audit_heads SET size = 0, checkpoint = NULL",
        ] {
            app.database.tamper(forged).await;
        }
        let app = app.restart().await;
        seal(&app).await;
        assert!(look_through(&app, &[]).await.is_good(), "nothing on the machine tells");
        let report = look_through(&app, &[note]).await;
        assert!(
            report.findings.iter().any(|found| found.fault.as_str() == "older_checkpoint"),
            "{:?}",
            report.findings
        );
        app.finish().await;
    }
}
