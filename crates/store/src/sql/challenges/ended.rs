//! What follows when a challenge ends, however it ends: the user's counters, pushes that are no longer wanted,
//! wake-ups. And the barrier's second half: ending what a device that is gone leaves behind.

use std::collections::{BTreeSet, HashMap};

use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects, derived_id},
    limits::{DENIAL_PAUSES_SECONDS, FAILURES_UNTIL_ENDLESS_LOCK},
    ports::notifications::NotificationKind,
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, CommandId, DeviceId, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, DeliveryState, PushChannel, Word as _},
};
use serde_json::{Value, json};

use super::{
    super::{Columns, Tx, dialect, notifications::NewNotification, query},
    reported::Report,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

/// How long a withdrawal is worth sending.
const WITHDRAWAL_SECONDS: i64 = 60;

const ENDED: &rows::Columns = &[("r_challenge_id", Type::Id)];
const UNSENT: &rows::Columns = &[("r_challenge_id", Type::Id), ("r_device_id", Type::Id), ("r_now", Type::Integer)];
const USERS: &rows::Columns = &[
    ("r_user_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_ended", Type::Integer),
    ("r_resets", Type::Flag),
    ("r_is_failure", Type::Flag),
    ("r_limit", Type::Integer),
    ("r_locked_until", Type::Integer),
    ("r_locks", Type::Flag),
    ("r_approves", Type::Flag),
    ("r_denies", Type::Flag),
    // Until when nobody is rung, if this is the first denial in a row (or none), the second, the third, a further one.
    ("r_stop", Type::Integer),
    ("r_stop_second", Type::Integer),
    ("r_stop_third", Type::Integer),
    ("r_stop_further", Type::Integer),
    ("r_reported_at", Type::Integer),
    ("r_reported_by", Type::Text),
];

/// See the module.
pub(super) struct Statements {
    settle_users: Statement,
    deliveries_of: Statement,
    drop_unsent: Statement,
    withdraw_deliveries: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let ended = dialect::row_source(1, ENDED);
        Self {
            settle_users: Statement::new(format!(
                "-- settle_users
                UPDATE users SET
                    pending_challenges = pending_challenges - r_ended,
                    consecutive_failures = CASE
                        WHEN r_resets THEN 0
                        WHEN r_is_failure THEN consecutive_failures + 1
                        ELSE consecutive_failures END,
                    locked_until = CASE
                        WHEN r_resets THEN NULL
                        WHEN r_locks OR (r_is_failure AND consecutive_failures + 1 >= $2) THEN $3
                        WHEN r_is_failure AND consecutive_failures + 1 >= r_limit THEN r_locked_until
                        ELSE locked_until END,
                    pushes_since_approval = CASE WHEN r_approves THEN 0 ELSE pushes_since_approval END,
                    consecutive_denials = CASE
                        WHEN r_approves THEN 0
                        WHEN r_denies THEN consecutive_denials + 1
                        ELSE consecutive_denials END,
                    pushes_stopped_until = CASE
                        WHEN {stop} > COALESCE(pushes_stopped_until, 0) THEN {stop}
                        ELSE pushes_stopped_until END,
                    reported_at = COALESCE(r_reported_at, reported_at),
                    reported_by = COALESCE(r_reported_by, reported_by)
                FROM {rows} WHERE users.id = r_user_id AND users.tenant_id = r_tenant_id
                RETURNING id, locked_until",
                rows = dialect::row_source(1, USERS),
                stop = "CASE WHEN NOT r_denies OR consecutive_denials < 1 THEN r_stop
                             WHEN consecutive_denials < 2 THEN r_stop_second
                             WHEN consecutive_denials < 3 THEN r_stop_third
                             ELSE r_stop_further END",
            )),
            deliveries_of: Statement::new(format!(
                "-- deliveries_of
                SELECT challenge_id, device_id, channel, state
                FROM {ended} CROSS JOIN deliveries WHERE challenge_id = r_challenge_id"
            )),
            // A push that is being sent at this moment stays: whoever sends it says what became of it; if nobody does,
            // the claim after its lease ends it.
            drop_unsent: Statement::new(format!(
                "-- drop_unsent
                DELETE FROM notifications
                WHERE challenge_id IN (SELECT r_challenge_id FROM {ended})
                  AND kind = 'challenge' AND (leased_until IS NULL OR leased_until <= $2)
                RETURNING challenge_id, device_id, attempts"
            )),
            withdraw_deliveries: Statement::new(format!(
                "-- withdraw_deliveries
                UPDATE deliveries SET state = 'withdrawn', updated_at = r_now
                FROM {rows}
                WHERE deliveries.challenge_id = r_challenge_id AND deliveries.device_id = r_device_id",
                rows = dialect::row_source(1, UNSENT),
            )),
        }
    }
}

/// A challenge that has just ended in this transaction.
pub(in super::super) struct Ended<'a> {
    pub(in super::super) stamp: &'a Stamp,
    pub(in super::super) challenge_id: ChallengeId,
    /// The device that decided: it needs no withdrawal.
    pub(in super::super) decided_by: Option<DeviceId>,
}

/// What happens to a user's counters.
pub(super) struct UserChange<'a> {
    pub(super) stamp: &'a Stamp,
    pub(super) user_id: UserId,
    /// How many of the user's challenges have ended.
    pub(super) ended: usize,
    pub(super) effect: Effect,
    /// And somebody else tries to sign in as the user.
    pub(super) report: Option<Report<'a>>,
}

/// See [`UserChange`].
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Effect {
    /// Nothing else.
    Released,
    /// The person approved; if a right number or code proves it, no failure is remembered.
    Approval { is_proven: bool },
    /// The person denied: the second in a row stops pushes for a while, the next ones for longer (protocol 9).
    Denial,
    /// A wrong number or code was given (protocol 9): the `limit`th in a row locks.
    Failure { limit: u32, locked_until: Timestamp },
}

/// `user.locked`: the log says until when, so that a lock that somebody took away behind the server's back is missed.
pub(super) fn locked(stamp: &Stamp, subjects: Subjects, until: Timestamp) -> Event {
    Event::new(stamp, EventKind::UserLocked, subjects).with("until", until.to_string())
}

fn user_row(change: &UserChange<'_>) -> Value {
    let (limit, locked_until) = match change.effect {
        Effect::Failure { limit, locked_until } => (Some(limit), Some(rows::time(locked_until))),
        Effect::Released | Effect::Approval { .. } | Effect::Denial => (None, None),
    };
    let report = change.report.as_ref();
    let now = change.stamp.at;
    let quiet_until = report.map(|report| now.plus_seconds(report.quiet_seconds));
    let [second, third, further] =
        DENIAL_PAUSES_SECONDS.map(|seconds| quiet_until.max(Some(now.plus_seconds(seconds))).map(rows::time));
    json!({
        "r_user_id": rows::id(change.user_id),
        "r_tenant_id": rows::id(change.stamp.tenant_id),
        "r_ended": change.ended,
        "r_resets": change.effect == Effect::Approval { is_proven: true },
        "r_is_failure": matches!(change.effect, Effect::Failure { .. }),
        "r_limit": limit,
        "r_locked_until": locked_until,
        "r_locks": report.is_some_and(|report| report.locks),
        "r_approves": matches!(change.effect, Effect::Approval { .. }),
        "r_denies": change.effect == Effect::Denial,
        "r_stop": quiet_until.map(rows::time),
        "r_stop_second": second,
        "r_stop_third": third,
        "r_stop_further": further,
        "r_reported_at": report.map(|_| rows::time(now)),
        "r_reported_by": report.map(|report| report.by.as_str()),
    })
}

impl Tx<'_> {
    /// Moves the counters of users, each of which is named once and locked. Returns the locks that hold then.
    pub(super) async fn settle_users(
        &mut self,
        changes: &[UserChange<'_>],
    ) -> Result<HashMap<UserId, Option<Timestamp>>, Failure> {
        let mut locks = HashMap::new();
        if changes.is_empty() {
            return Ok(locks);
        }
        let statements = self.statements();
        let settle = query(&statements.challenges.ended.settle_users)
            .bind(rows::to_parameter(USERS, changes.iter().map(user_row).collect()))
            .bind(i64::from(FAILURES_UNTIL_ENDLESS_LOCK))
            .bind(Timestamp::NEVER.as_millis());
        for row in &self.fetch_all(settle).await? {
            let row = Columns::new("users", row);
            locks.insert(row.id("id")?, row.optional_time("locked_until")?);
        }
        Ok(locks)
    }

    /// Takes back pushes that were not sent, queues withdrawals of those that were, wakes whoever waits.
    pub(in super::super) async fn withdraw(&mut self, ended: &[Ended<'_>]) -> Result<(), Failure> {
        let Some(latest) = ended.iter().map(|ended| ended.stamp.at).max() else { return Ok(()) };
        let row = |ended: &Ended<'_>| json!({"r_challenge_id": rows::id(ended.challenge_id)});
        let parameter = rows::to_parameter(ENDED, ended.iter().map(row).collect());
        let ended: HashMap<_, _> = ended.iter().map(|ended| (ended.challenge_id, ended)).collect();
        let statements = self.statements();
        let statements = &statements.challenges.ended;
        for id in ended.keys() {
            self.wake(WakeKey::Challenge(*id));
        }
        let mut has_unsent = false;
        let mut rang = Vec::new();
        let mut channels = HashMap::new();
        for row in &self.fetch_all(query(&statements.deliveries_of).bind(&parameter)).await? {
            let row = Columns::new("deliveries", row);
            let key = (row.id("challenge_id")?, row.id("device_id")?);
            self.wake(WakeKey::Device(key.1));
            channels.insert(key, row.word("channel")?);
            match row.word("state")? {
                DeliveryState::Queued | DeliveryState::Retrying => has_unsent = true,
                DeliveryState::Delivered => rang.push(key),
                _ => {}
            }
        }
        if has_unsent {
            rang.extend(self.drop_unsent(&parameter, latest).await?);
        }
        let withdraw = |key: (ChallengeId, DeviceId)| {
            let ended = ended.get(&key.0).filter(|ended| ended.decided_by != Some(key.1))?;
            let (tenant_id, channel) = (ended.stamp.tenant_id, *channels.get(&key)?);
            let of = Withdrawn { tenant_id, challenge_id: key.0, device_id: key.1, channel };
            withdrawal(ended.stamp.command_id, ended.stamp.at, of)
        };
        self.insert_notifications(rang.into_iter().filter_map(withdraw).collect()).await
    }

    /// Takes back pushes that nobody is sending. Returns those that were tried: whoever tried last may have died before
    /// saying that it rang, or never had the provider's answer.
    async fn drop_unsent(&mut self, ended: &str, now: Timestamp) -> Result<Vec<(ChallengeId, DeviceId)>, Failure> {
        let statements = self.statements();
        let statements = &statements.challenges.ended;
        let drop = query(&statements.drop_unsent).bind(ended).bind(now.as_millis());
        // In the order in which everybody meets deliveries: other nodes write what was seen of the same ones.
        let mut unsent = BTreeSet::new();
        let mut tried = Vec::new();
        for row in &self.fetch_all(drop).await? {
            let row = Columns::new("notifications", row);
            let key = (row.id("challenge_id")?, row.id("device_id")?);
            unsent.insert(key);
            tried.extend((row.integer("attempts")? > 0).then_some(key));
        }
        let row = |(challenge_id, device_id): (ChallengeId, DeviceId)| {
            json!({"r_challenge_id": rows::id(challenge_id), "r_device_id": rows::id(device_id),
                "r_now": rows::time(now)})
        };
        let unsent = rows::to_parameter(UNSENT, unsent.into_iter().map(row).collect());
        self.execute(query(&statements.withdraw_deliveries).bind(unsent)).await?;
        Ok(tried)
    }

    /// The barrier's second half: ends (`cancelled`, with `reason`) the user's pending challenges that were
    /// addressed to this device and, by now, to no other active one, and those whose code this device was shown: no
    /// other can show it. Returns them. Call it after the device's status was changed, with user and device locked:
    /// then nobody can make or decide one of them meanwhile.
    pub(in super::super) async fn cancel_challenges_of(
        &mut self,
        stamp: &Stamp,
        user_id: UserId,
        device_id: DeviceId,
        reason: ChallengeReason,
    ) -> Result<Vec<ChallengeId>, Failure> {
        let cancel = query(
            "-- cancel_challenges_of
            UPDATE challenges
            SET status = 'cancelled', reason = $5, decided_at = $6, decision_id = $7, number = NULL, code = NULL
            WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $1 AND users.id = $2)
              AND status = 'pending' AND expires_at > $4
              AND EXISTS (SELECT 1 FROM deliveries
                          WHERE deliveries.challenge_id = challenges.id AND deliveries.device_id = $3)
              AND (challenges.device_id = $3
                   OR NOT EXISTS (SELECT 1 FROM deliveries CROSS JOIN devices
                                  WHERE deliveries.challenge_id = challenges.id AND devices.id = deliveries.device_id
                                    AND devices.status = 'active'))
            RETURNING id",
        )
        .bind(stamp.tenant_id.as_uuid())
        .bind(user_id.as_uuid())
        .bind(device_id.as_uuid())
        .bind(stamp.at.as_millis())
        .bind(reason.as_str())
        .bind(stamp.at.floor_to_second().as_millis())
        .bind(stamp.command_id.as_uuid());
        let rows = self.fetch_all(cancel).await?;
        let ids: Vec<ChallengeId> =
            rows.iter().map(|row| Columns::new("challenges", row).id("id")).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(ids);
        }
        let release = query(
            "-- release_user
            UPDATE users SET pending_challenges = pending_challenges - $3 WHERE tenant_id = $1 AND id = $2",
        );
        let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        self.execute(release.bind(stamp.tenant_id.as_uuid()).bind(user_id.as_uuid()).bind(count)).await?;
        let event = |id: &ChallengeId| {
            let subjects = Subjects {
                user_id: Some(user_id),
                device_id: Some(device_id),
                challenge_id: Some(*id),
                ..Subjects::default()
            };
            Event::new(stamp, EventKind::ChallengeCancelled, subjects).with("reason", reason.as_str())
        };
        self.insert_events(ids.iter().map(event).collect()).await?;
        let ended: Vec<_> =
            ids.iter().map(|id| Ended { stamp, challenge_id: *id, decided_by: Some(device_id) }).collect();
        self.withdraw(&ended).await?;
        Ok(ids)
    }
}

/// A delivery to take back.
pub(in super::super) struct Withdrawn {
    pub(in super::super) tenant_id: TenantId,
    pub(in super::super) challenge_id: ChallengeId,
    pub(in super::super) device_id: DeviceId,
    pub(in super::super) channel: PushChannel,
}

/// The push that takes back a delivered one (protocol 8.6); browsers get none.
pub(in super::super) fn withdrawal(command_id: CommandId, at: Timestamp, of: Withdrawn) -> Option<NewNotification> {
    matches!(of.channel, PushChannel::Apns | PushChannel::Fcm).then(|| NewNotification {
        id: derived_id(at, command_id, &format!("withdrawn {} {}", of.challenge_id, of.device_id)),
        tenant_id: of.tenant_id,
        kind: NotificationKind::Withdrawn,
        device_id: of.device_id,
        challenge_id: Some(of.challenge_id),
        due_at: at,
        expires_at: at.plus_seconds(WITHDRAWAL_SECONDS),
    })
}
