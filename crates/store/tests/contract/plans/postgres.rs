//! What PostgreSQL says about its plans: of a prepared statement, with whatever parameters (the generic plan).

use serde_json::Value;

use super::{Plan, filled::SMALL};
use crate::kit::Database;

/// More rows than a batch, a page or the outbox of one person has.
const MANY_ROWS: f64 = 1_000.0;

pub(crate) async fn plan(database: &Database, statement: &str) -> Result<Plan, sqlx::Error> {
    // Without a number the planner would count on a tenth of everything.
    let statement = with_limits(statement);
    let told = database.explain_postgres(&statement).await?;
    let mut plan = Plan { text: serde_json::to_string_pretty(&told).unwrap(), ..Plan::default() };
    walk(&told[0]["Plan"], &mut plan);
    Ok(plan)
}

/// `LIMIT $3` as a number.
fn with_limits(statement: &str) -> String {
    let mut parts = statement.split("LIMIT $");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("LIMIT 200");
        text.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    text
}

fn walk(node: &Value, plan: &mut Plan) {
    let kind = node["Node Type"].as_str().unwrap();
    let table = node["Relation Name"].as_str().unwrap_or_default();
    if let Some(index) = node["Index Name"].as_str() {
        plan.indexes.insert(index.to_owned());
        if node["Index Cond"].is_null() && !SMALL.contains(&table) {
            plan.findings.insert(format!("reads all of {table}{index}"));
        }
    }
    if kind == "Seq Scan" && !SMALL.contains(&table) {
        plan.findings.insert(format!("reads all of {table}"));
    }
    let children = node["Plans"].as_array().map_or(&[][..], Vec::as_slice);
    if kind.contains("Sort") && children.iter().any(|child| child["Plan Rows"].as_f64().unwrap() > MANY_ROWS) {
        plan.findings.insert("sorts".to_owned());
    }
    for child in children {
        walk(child, plan);
    }
}
