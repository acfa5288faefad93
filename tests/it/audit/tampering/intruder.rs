//! Somebody who writes the database: random deeds, one at a time, each undone before the next.
//!
//! Values are what is there already, what a person would think of, or a valid value of the column's type, so that columns
//! that are empty everywhere are written, too. To add a sort of deed: in [`Intruder::strike`]; of value: in
//! [`Intruder::value`].

use std::collections::BTreeMap;

use countersign_tests::{Database, Db};

use super::TABLES;

/// Words that mean something somewhere.
const WORDS: [&str; 12] = [
    "approved",
    "denied",
    "pending",
    "cancelled",
    "expired",
    "completed",
    "claimed",
    "active",
    "revoked",
    "suspended",
    "admin",
    "none",
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

/// A column, and what the database says that it holds.
#[derive(Clone)]
struct Column {
    name: String,
    sort: String,
}

/// See the module.
pub(super) struct Intruder<'a> {
    database: &'a Database,
    dice: Dice,
    columns: BTreeMap<&'static str, Vec<Column>>,
}

/// What the intruder did: for the report.
pub(super) struct Deed {
    pub(super) table: &'static str,
    /// None: the whole row.
    pub(super) column: Option<String>,
    /// How many rows were before it, in the order of their keys.
    pub(super) offset: usize,
    /// A row more.
    pub(super) is_insertion: bool,
    pub(super) sql: String,
}

/// What names a row of this table.
pub(super) fn key_of(table: &str) -> &'static [&'static str] {
    TABLES.iter().find(|(name, _)| *name == table).map(|(_, key)| *key).unwrap()
}

impl<'a> Intruder<'a> {
    pub(super) async fn enter(database: &'a Database, seed: u64) -> Self {
        let mut columns = BTreeMap::new();
        for (table, _) in TABLES {
            let names = match database.db() {
                Db::Sqlite => format!("SELECT name || ' ' || type FROM pragma_table_info('{table}') ORDER BY cid"),
                Db::Postgres => format!(
                    "SELECT column_name::text || ' ' || data_type::text FROM information_schema.columns \
                     WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
                ),
            };
            let of_table = database.texts(&names).await;
            let column = |text: &String| {
                let (name, sort) = text.split_once(' ').unwrap();
                Column { name: name.to_owned(), sort: sort.to_lowercase() }
            };
            columns.insert(table, of_table.iter().map(column).collect());
            database.tamper(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
        Self { database, dice: Dice(seed), columns }
    }

    /// A random deed; `None` if the database refuses it, or if it changes nothing.
    pub(super) async fn strike(&mut self) -> Option<Deed> {
        let (table, key) = *self.dice.of(&TABLES);
        let count = self.database.number(&format!("SELECT count(*) FROM {table}")).await;
        let offset = self.dice.below(usize::try_from(count).unwrap());
        let key = key.join(", ");
        let row = format!("({key}) = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {offset})");
        let what = self.dice.below(10);
        let (column, sql) = match what {
            0 => (None, format!("DELETE FROM {table} WHERE {row}")),
            1 => (None, self.copy_of(table, &row)),
            _ => {
                let column = self.dice.of(&self.columns[table]).clone();
                let other = self.dice.below(usize::try_from(count).unwrap());
                let name = &column.name;
                let other = format!("(SELECT {name} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {other})");
                let value = self.value(&column, &other);
                let sql =
                    format!("UPDATE {table} SET {name} = {value} WHERE {row} AND {name} IS DISTINCT FROM {value}");
                (Some(column.name), sql)
            }
        };
        let changed = self.database.try_tamper(&sql).await?;
        (changed > 0).then_some(Deed { table, column, offset, is_insertion: what == 1, sql })
    }

    fn fresh_id(&mut self) -> String {
        let id = format!("01890a5d-ac96-774b-bcce-{:012x}", self.dice.below(1 << 40));
        self.database.id(&id)
    }

    /// The same row once more, under another name.
    fn copy_of(&mut self, table: &str, row: &str) -> String {
        let fresh = self.fresh_id();
        let number = self.dice.below(1 << 20) + 1_000;
        let value = |column: &Column| match (table, column.name.as_str()) {
            ("device_keys", "thumbprint") => format!("'{}'", "A".repeat(43)),
            (_, "id") => fresh.clone(),
            ("events", "position") | ("audit_tiles", "tile") | ("policy_versions", "version") => number.to_string(),
            _ => column.name.clone(),
        };
        let names = self.names(table);
        let values: Vec<_> = self.columns[table].iter().map(value).collect();
        format!("INSERT INTO {table} ({names}) SELECT {} FROM {table} WHERE {row}", values.join(", "))
    }

    fn names(&self, table: &str) -> String {
        self.columns[table].iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn value(&mut self, column: &Column, other: &str) -> String {
        let name = &column.name;
        match self.dice.below(10) {
            0 => "NULL".to_owned(),
            1 => format!("{name} + {}", 1_000 + self.dice.below(100_000)),
            2 => format!("{name} - {}", 1_000 + self.dice.below(100_000)),
            3 => format!("{name} || 'x'"),
            4 => format!("replace({name}, '7', '2')"),
            5 => format!("'{}'", self.dice.of(&WORDS)),
            6 | 7 => self.valid(&column.sort),
            _ => other.to_owned(),
        }
    }

    /// A value that the column takes.
    fn valid(&mut self, sort: &str) -> String {
        match sort {
            "bigint" | "integer" | "smallint" => match self.dice.below(3) {
                0 => self.dice.below(10).to_string(),
                _ => (1_700_000_000_000 + self.dice.below(1 << 40)).to_string(),
            },
            "blob" | "uuid" => self.fresh_id(),
            "bytea" => format!("decode('{:032x}', 'hex')", self.dice.below(1 << 40)),
            "boolean" => self.dice.of(&["true", "false"]).to_string(),
            _ => format!("'{:x}'", self.dice.below(1 << 40)),
        }
    }

    /// Everything as it was, also what verifying has moved: an event that lost its position gets another.
    pub(super) async fn repent(&self, table: &'static str) {
        let head = "UPDATE tenants SET event_head = (SELECT kept.event_head FROM kept_tenants AS kept \
                    WHERE kept.id = tenants.id)";
        let mut steps = vec!["BEGIN".to_owned(), head.to_owned()];
        steps.extend(self.restoring("audit_heads"));
        steps.extend(self.restoring(table));
        steps.push("COMMIT".to_owned());
        self.database.tamper(&steps.join(";\n")).await;
    }

    fn restoring(&self, table: &'static str) -> [String; 3] {
        let keys = key_of(table);
        let key = keys.join(", ");
        let same: Vec<_> = keys.iter().map(|name| format!("kept.{name} = {table}.{name}")).collect();
        let kept: Vec<_> = self.columns[table].iter().map(|column| format!("kept.{}", column.name)).collect();
        [
            format!("DELETE FROM {table} WHERE ({key}) NOT IN (SELECT {key} FROM kept_{table})"),
            format!("INSERT INTO {table} SELECT * FROM kept_{table} WHERE ({key}) NOT IN (SELECT {key} FROM {table})"),
            format!(
                "UPDATE {table} SET ({}) = (SELECT {} FROM kept_{table} AS kept WHERE {})",
                self.names(table),
                kept.join(", "),
                same.join(" AND ")
            ),
        ]
    }
}
