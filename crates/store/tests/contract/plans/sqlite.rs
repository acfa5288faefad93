//! What SQLite says about its plans (<https://sqlite.org/eqp.html>).

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, filled::SMALL};
use crate::kit::Database;

/// Sources of rows that are no tables: the parameter's rows, and parts of the statement, whose own lines say what they
/// cost.
fn is_bounded(name: &str, parts: &BTreeSet<String>) -> bool {
    name == "json_each" || name == "CONSTANT" || name.starts_with('(') || parts.contains(name)
}

pub(crate) async fn plan(database: &Database, statement: &str) -> Result<Plan, sqlx::Error> {
    let mut plan = Plan::default();
    let tables = aliases(statement);
    let mut parts = BTreeSet::from(["r".to_owned()]);
    let lines = database.explain_sqlite(statement).await?;
    // Then what is sorted is what a batch's rows lead to.
    let begins_with_parameter = lines.first().is_some_and(|line| line.starts_with("SCAN json_each"));
    for line in lines {
        plan.text.push_str(&format!("    {line}\n"));
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(index) = words.iter().position(|word| *word == "INDEX").and_then(|at| words.get(at + 1)) {
            plan.indexes.insert((*index).to_owned());
        }
        let table = |name: &str| tables.get(name).map_or_else(|| name.to_owned(), Clone::clone);
        match words.as_slice() {
            ["CO-ROUTINE" | "MATERIALIZE", name] => _ = parts.insert((*name).to_owned()),
            ["SCAN", name, ..] if !is_bounded(name, &parts) && !SMALL.contains(name) => {
                plan.findings.insert(format!("reads all of {}", table(name)));
            }
            ["SEARCH", name, ..] if line.contains("AUTOMATIC") && !is_bounded(name, &parts) => {
                plan.findings.insert(format!("indexes all of {}", table(name)));
            }
            // A page, or a portion, of one organisation's rows ends; all of them may be all that there are.
            ["SEARCH", name, ..] if line.ends_with("(tenant_id=?)") && !statement.contains("LIMIT") => {
                plan.findings.insert(format!("reads an organisation's {}", table(name)));
            }
            ["USE", "TEMP", "B-TREE", ..] if !begins_with_parameter => _ = plan.findings.insert("sorts".to_owned()),
            _ => {}
        }
    }
    Ok(plan)
}

/// `table AS alias`.
fn aliases(statement: &str) -> BTreeMap<String, String> {
    let words: Vec<_> = statement.split_whitespace().collect();
    let named = words.windows(3).filter(|three| three[1] == "AS");
    named.map(|three| (three[2].to_owned(), three[0].to_owned())).collect()
}
