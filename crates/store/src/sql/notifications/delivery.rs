//! Deliveries: what became of the pushes of a challenge, per addressed device.

use std::collections::BTreeMap;

use countersign_proto::{
    ids::{ChallengeId, DeviceId, Id, NotificationId, TenantId},
    timestamp::Timestamp,
    vocabulary::{DeliveryState, PushChannel, Word as _},
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
                SELECT deliveries.challenge_id AS challenge_id, deliveries.device_id AS device_id, channel,
                    challenges.device_id AS decided_by
                FROM {keys} CROSS JOIN challenges CROSS JOIN deliveries
                WHERE challenges.id = r_challenge_id AND challenges.status NOT IN ('pending', 'expired')
                  AND deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id",
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

/// Of deliveries whose challenge has ended, the channel that was rung; none for the device that decided, which needs no
/// withdrawal.
pub(super) type Late = BTreeMap<Key, Option<PushChannel>>;

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

    /// Those of the deliveries whose challenge was ended otherwise than by its time.
    pub(super) async fn late(&mut self, keys: &[Key]) -> Result<Late, Failure> {
        let mut late = BTreeMap::new();
        if keys.is_empty() {
            return Ok(late);
        }
        let key = |(challenge_id, device_id): &Key| json!({"r_challenge_id": rows::id(*challenge_id), "r_device_id": rows::id(*device_id)});
        let parameter = rows::to_parameter(KEYS, keys.iter().map(key).collect());
        let statements = self.statements();
        let find = query(&statements.notifications.delivery.late_deliveries).bind(parameter);
        for row in &self.fetch_all(find).await? {
            let row = Columns::new("deliveries", row);
            let (key, channel) = ((row.id("challenge_id")?, row.id("device_id")?), row.word("channel")?);
            let decided_by = row.optional_id("decided_by")?;
            late.insert(key, Some(channel).filter(|_| decided_by != Some(key.1)));
        }
        Ok(late)
    }

    /// A push that rings after its challenge has ended is withdrawn like one that rang before. Each of the jobs goes in
    /// the same transaction, so that there is one withdrawal of each.
    pub(super) async fn withdraw_late(&mut self, late: &Late, sent: impl Iterator<Item = Sent>) -> Result<(), Failure> {
        let withdraw = |Sent { id, tenant_id, key, at }| {
            let (challenge_id, device_id) = key;
            let of = Withdrawn { tenant_id, challenge_id, device_id, channel: (*late.get(&key)?)? };
            withdrawal(Id::from_uuid(NotificationId::as_uuid(id)), at, of)
        };
        self.insert_notifications(sent.filter_map(withdraw).collect()).await
    }
}

/// A challenge's push that the provider took, or may have taken.
pub(super) struct Sent {
    pub(super) id: NotificationId,
    pub(super) tenant_id: TenantId,
    pub(super) key: Key,
    pub(super) at: Timestamp,
}
