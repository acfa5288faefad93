//! Deliveries: what became of the pushes of a challenge, per addressed device.

use std::collections::BTreeMap;

use countersign_core::ports::notifications::FinishNotification;
use countersign_proto::{
    ids::{ChallengeId, DeviceId},
    timestamp::Timestamp,
    vocabulary::{DeliveryState, Word as _},
};
use serde_json::json;

use super::{
    super::{
        Columns, Tx,
        challenges::{Withdrawn, withdrawal},
        dialect, query,
    },
    verdict::LAST_ERROR,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CHANGES: &rows::Columns = &[
    ("r_challenge_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_state", Type::Text),
    ("r_attempts", Type::Integer),
    ("r_error", Type::Text),
    ("r_now", Type::Integer),
];
const KEYS: &rows::Columns = &[("r_challenge_id", Type::Id), ("r_device_id", Type::Id)];

/// See the module.
pub(super) struct Statements {
    update_deliveries: Statement,
    late_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // At least once: the first time that the provider took it is when the phone could ring.
            update_deliveries: Statement::new(format!(
                "-- update_deliveries
                UPDATE deliveries SET state = r_state, attempts = r_attempts, {LAST_ERROR}, updated_at = r_now,
                    accepted_at = CASE WHEN r_state = 'delivered' THEN COALESCE(accepted_at, r_now)
                                       ELSE accepted_at END
                FROM {changes}
                WHERE deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id",
                changes = dialect::row_source(1, CHANGES),
            )),
            late_deliveries: Statement::new(format!(
                "-- late_deliveries
                SELECT deliveries.challenge_id AS challenge_id, deliveries.device_id AS device_id, channel
                FROM {keys} CROSS JOIN challenges CROSS JOIN deliveries
                WHERE challenges.id = r_challenge_id AND challenges.status NOT IN ('pending', 'expired')
                  AND deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id
                  AND (challenges.device_id IS NULL OR challenges.device_id <> r_device_id)",
                keys = dialect::row_source(1, KEYS),
            )),
        }
    }
}

/// A delivery's.
pub(super) type Key = (ChallengeId, DeviceId);

/// Each delivery once (a statement applies only one of two changes of a row), in the order in which everybody meets
/// them.
pub(super) type DeliveryChanges = BTreeMap<Key, DeliveryChange>;

/// What a finished or expired notification makes of its delivery.
pub(super) struct DeliveryChange {
    pub(super) state: DeliveryState,
    pub(super) attempts: i64,
    pub(super) error: Option<String>,
    pub(super) at: Timestamp,
}

impl Tx<'_> {
    pub(super) async fn update_deliveries(&mut self, changes: &DeliveryChanges) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let row = |((challenge_id, device_id), change): (&Key, &DeliveryChange)| {
            json!({
                "r_challenge_id": rows::id(*challenge_id),
                "r_device_id": rows::id(*device_id),
                "r_state": change.state.as_str(),
                "r_attempts": change.attempts,
                "r_error": change.error,
                "r_now": rows::time(change.at),
            })
        };
        let parameter = rows::to_parameter(CHANGES, changes.iter().map(row).collect());
        let statements = self.statements();
        self.execute(query(&statements.notifications.delivery.update_deliveries).bind(parameter)).await.map(|_| ())
    }

    /// A push that arrives after its challenge has ended is withdrawn like one that arrived before.
    pub(super) async fn withdraw_late<'c>(
        &mut self,
        delivered: &[Key],
        commands: impl Iterator<Item = &'c FinishNotification>,
    ) -> Result<(), Failure> {
        if delivered.is_empty() {
            return Ok(());
        }
        let key = |(challenge_id, device_id): &Key| json!({"r_challenge_id": rows::id(*challenge_id), "r_device_id": rows::id(*device_id)});
        let parameter = rows::to_parameter(KEYS, delivered.iter().map(key).collect());
        let statements = self.statements();
        let late = query(&statements.notifications.delivery.late_deliveries).bind(parameter);
        let mut channels = BTreeMap::new();
        for row in &self.fetch_all(late).await? {
            let row = Columns::new("deliveries", row);
            channels.insert((row.id("challenge_id")?, row.id("device_id")?), row.word("channel")?);
        }
        let mut withdrawals = Vec::new();
        for command in commands {
            let leased = &command.leased;
            let Some(challenge_id) = leased.challenge_id else { continue };
            // Removed: one withdrawal per delivery.
            if let Some(channel) = channels.remove(&(challenge_id, leased.device_id)) {
                let (tenant_id, device_id) = (leased.tenant_id, leased.device_id);
                let of = Withdrawn { tenant_id, challenge_id, device_id, channel };
                withdrawals.extend(withdrawal(leased.lease, command.at, of));
            }
        }
        self.insert_notifications(withdrawals).await
    }
}
