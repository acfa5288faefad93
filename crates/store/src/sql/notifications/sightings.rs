//! What devices were seen to do: hints for operators, gathered in memory and written a set at a time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use countersign_core::ports::notifications::Sightings;
use serde_json::json;

use super::{
    super::{Outcome, Plain, Tx, dialect, query},
    health::Health,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const FETCHES: &rows::Columns = &[("r_challenge_id", Type::Id), ("r_device_id", Type::Id), ("r_at", Type::Integer)];

/// See the module.
pub(super) struct Statements {
    record_fetches: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // Locked in order before they are written: verdicts on the same deliveries come from other nodes.
            record_fetches: Statement::new(format!(
                "-- record_fetches
                UPDATE deliveries SET fetched_at = r_at
                FROM (SELECT r_challenge_id, r_device_id, r_at FROM {fetches} CROSS JOIN deliveries
                      WHERE deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id
                        AND (deliveries.fetched_at IS NULL OR deliveries.fetched_at > r_at)
                      ORDER BY r_challenge_id, r_device_id {lock}) AS r_seen
                WHERE deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id
                  AND (deliveries.fetched_at IS NULL OR deliveries.fetched_at > r_at)",
                fetches = dialect::row_source(1, FETCHES),
                lock = dialect::locking("FOR NO KEY UPDATE OF deliveries"),
            )),
        }
    }
}

#[async_trait]
impl Plain for Sightings {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        // Each row once, whatever was seen how often.
        let mut fetches = BTreeMap::new();
        for (challenge_id, device_id, at) in &self.fetches {
            let first = fetches.entry((*challenge_id, *device_id)).or_insert(*at);
            *first = (*first).min(*at);
        }
        if !fetches.is_empty() {
            let fetches = fetches.into_iter().map(|((challenge_id, device_id), at)| {
                json!({"r_challenge_id": rows::id(challenge_id), "r_device_id": rows::id(device_id),
                    "r_at": rows::time(at)})
            });
            let parameter = rows::to_parameter(FETCHES, fetches.collect());
            let statements = tx.statements();
            tx.execute(query(&statements.notifications.sightings.record_fetches).bind(parameter)).await?;
        }
        let mut devices = BTreeMap::new();
        for (tenant_id, device_id, at) in &self.pulls {
            let health = devices.entry(*device_id).or_insert_with(|| Health::of(*tenant_id));
            health.pulled_at = health.pulled_at.max(Some(*at));
        }
        tx.record_health(&devices).await?;
        Ok(Outcome::Commit(()))
    }
}
