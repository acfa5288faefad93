//! What devices were seen to do: gathered in memory and written a set at a time, in portions that hold nobody up.

use std::collections::BTreeMap;

use async_trait::async_trait;
use countersign_core::ports::notifications::Sightings;
use countersign_proto::{
    ids::{ChallengeId, DeviceId},
    timestamp::Timestamp,
};
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

/// Rows that are written by one command. A caller may have gathered tens of thousands; nobody else's commit waits for
/// more than so many of them.
const AT_ONCE: usize = 500;

/// A set of what was seen, each row once.
#[derive(Default)]
pub(super) struct Seen {
    devices: BTreeMap<DeviceId, Health>,
    fetches: BTreeMap<(ChallengeId, DeviceId), Timestamp>,
}

/// What was seen, in sets that are written one after the other. Each row is in one of them, whatever was seen how often.
pub(super) fn chunks(sightings: &Sightings) -> Vec<Seen> {
    let mut fetches = BTreeMap::new();
    for (challenge_id, device_id, at) in &sightings.fetches {
        let first = fetches.entry((*challenge_id, *device_id)).or_insert(*at);
        *first = (*first).min(*at);
    }
    let mut devices = BTreeMap::new();
    for (tenant_id, device_id, at) in &sightings.pulls {
        let health = devices.entry(*device_id).or_insert_with(|| Health::of(*tenant_id));
        health.pulled_at = health.pulled_at.max(Some(*at));
    }
    for (tenant_id, device_id, at) in &sightings.answers {
        let health = devices.entry(*device_id).or_insert_with(|| Health::of(*tenant_id));
        health.answered_at = health.answered_at.max(Some(*at));
    }
    let mut chunks = Vec::new();
    let (mut devices, mut fetches) = (devices.into_iter().peekable(), fetches.into_iter().peekable());
    while devices.peek().is_some() || fetches.peek().is_some() {
        let devices: BTreeMap<_, _> = devices.by_ref().take(AT_ONCE).collect();
        let fetches = fetches.by_ref().take(AT_ONCE - devices.len()).collect();
        chunks.push(Seen { devices, fetches });
    }
    chunks
}

#[async_trait]
impl Plain for Seen {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        let mut written = 0;
        if !self.fetches.is_empty() {
            let fetch = |((challenge_id, device_id), at): (&(ChallengeId, DeviceId), &Timestamp)| {
                json!({"r_challenge_id": rows::id(*challenge_id), "r_device_id": rows::id(*device_id),
                    "r_at": rows::time(*at)})
            };
            let parameter = rows::to_parameter(FETCHES, self.fetches.iter().map(fetch).collect());
            let statements = tx.statements();
            written += tx.execute(query(&statements.notifications.sightings.record_fetches).bind(parameter)).await?;
        }
        written += tx.record_health(&self.devices).await?;
        Ok(if written == 0 { Outcome::Rollback(()) } else { Outcome::Commit(()) })
    }
}

#[cfg(test)]
mod tests {
    use countersign_proto::ids::Id;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn no_portion_is_larger_than_allowed_and_each_row_is_in_one() {
        let id = |number: u16| Uuid::from_u128(u128::from(number));
        let at = Timestamp::from_seconds(1);
        let mut sightings = Sightings::default();
        for number in 0..1_300 {
            sightings.pulls.push((Id::from_uuid(id(1)), Id::from_uuid(id(number)), at));
            sightings.fetches.push((Id::from_uuid(id(number)), Id::from_uuid(id(2)), at));
            sightings.fetches.push((Id::from_uuid(id(number)), Id::from_uuid(id(2)), at));
        }
        let sizes: Vec<_> = chunks(&sightings).iter().map(|some| (some.devices.len(), some.fetches.len())).collect();
        assert_eq!(sizes, [(500, 0), (500, 0), (300, 200), (0, 500), (0, 500), (0, 100)]);
        assert!(chunks(&Sightings::default()).is_empty());
    }
}
