//! Storing verdicts: what became of a push, in the job, its delivery or test push, the device's token and its push
//! health, all in one transaction.
//!
//! A verdict counts only while its lease stands in the row. Rows are met in one order by everybody: devices (locked
//! by the batch beforehand), notifications, deliveries, test pushes, push health.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

use countersign_core::ports::notifications::{
    FinishNotification, FinishOutcome, NotificationKind, NotificationVerdict,
};
use countersign_proto::{ids::NotificationId, timestamp::Timestamp, vocabulary::DeliveryState};
use serde_json::json;

use super::{
    super::{Columns, Tx, dialect, query, test_pushes::TestPushChange},
    delivery::{DeliveryChange, DeliveryChanges, Sent},
    health::Health,
    token::TokenChanges,
    verdict::state,
};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];
const VERDICTS: &rows::Columns =
    &[("r_id", Type::Id), ("r_lease", Type::Id), ("r_due_at", Type::Integer), ("r_was_tried", Type::Flag)];

/// See the module.
pub(super) struct Statements {
    end_leases: Statement,
    delete_notifications: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // The lock on the row: from here on nobody else leases it. In the devices' order, as notices are queued. The claim counted the attempt already.
            end_leases: Statement::new(format!(
                "-- end_leases
                UPDATE notifications SET lease = NULL, leased_until = NULL, due_at = r_due_at,
                    attempts = CASE WHEN r_was_tried OR attempts = 0 THEN attempts ELSE attempts - 1 END
                FROM (SELECT r_id, r_lease, r_due_at, r_was_tried FROM {verdicts} CROSS JOIN notifications
                      WHERE notifications.id = r_id AND notifications.lease = r_lease
                      ORDER BY notifications.device_id, notifications.id {lock}) AS r_held
                WHERE notifications.id = r_id AND notifications.lease = r_lease
                RETURNING id, attempts",
                verdicts = dialect::row_source(1, VERDICTS),
                lock = dialect::locking("FOR NO KEY UPDATE OF notifications"),
            )),
            delete_notifications: Statement::new(format!(
                "-- delete_notifications
                DELETE FROM notifications WHERE id IN (SELECT r_id FROM {ids})",
                ids = dialect::row_source(1, IDS),
            )),
        }
    }
}

/// A verdict whose lease held.
struct Finished<'a> {
    command: &'a FinishNotification,
    attempts: i64,
}

impl Tx<'_> {
    /// Stores verdicts on different notifications. The devices that they change are locked.
    pub(in super::super) async fn finish_notifications(
        &mut self,
        commands: &[&FinishNotification],
    ) -> Result<Vec<FinishOutcome>, Failure> {
        let superseded = self.superseded(commands).await?;
        let commands: Vec<_> = commands.iter().map(|command| read(command, &superseded)).collect();
        let attempts = self.end_leases(&commands).await?;
        let finished = |command: &FinishNotification| attempts.get(&command.leased.id).copied();
        let finished: Vec<_> =
            commands.iter().filter_map(|command| Some(Finished { command, attempts: finished(command)? })).collect();
        if !finished.is_empty() {
            self.store_verdicts(&finished).await?;
        }
        let outcome = |command: &Cow<'_, FinishNotification>| match attempts.contains_key(&command.leased.id) {
            true => FinishOutcome::Stored,
            false => FinishOutcome::StaleLease,
        };
        Ok(commands.iter().map(outcome).collect())
    }

    /// Gives the jobs back whose leases hold; returns how often each was tried.
    async fn end_leases(
        &mut self,
        commands: &[Cow<'_, FinishNotification>],
    ) -> Result<HashMap<NotificationId, i64>, Failure> {
        let row = |command: &Cow<'_, FinishNotification>| {
            let due_at = due_again(&command.verdict).unwrap_or(command.at);
            let was_tried = !matches!(command.verdict, NotificationVerdict::PutBack(_));
            let leased = &command.leased;
            json!({"r_id": rows::id(leased.id), "r_lease": rows::id(leased.lease), "r_due_at": rows::time(due_at),
                "r_was_tried": was_tried})
        };
        let verdicts = rows::to_parameter(VERDICTS, commands.iter().map(row).collect());
        let statements = self.statements();
        let mut attempts = HashMap::new();
        for row in &self.fetch_all(query(&statements.notifications.finish.end_leases).bind(verdicts)).await? {
            let row = Columns::new("notifications", row);
            attempts.insert(row.id("id")?, row.integer("attempts")?);
        }
        Ok(attempts)
    }

    async fn store_verdicts(&mut self, finished: &[Finished<'_>]) -> Result<(), Failure> {
        let is_done = |finished: &&Finished<'_>| due_again(&finished.command.verdict).is_none();
        let done: Vec<_> = finished.iter().filter(is_done).map(|finished| finished.command.leased.id).collect();
        self.delete_notifications(&done).await?;

        let deliveries: DeliveryChanges = finished.iter().filter_map(delivery_change).collect();
        self.update_deliveries(&deliveries).await?;
        let delivered: Vec<_> = finished.iter().filter_map(delivered).collect();
        let late = self.late(&delivered.iter().map(|sent| sent.key).collect::<Vec<_>>()).await?;
        self.withdraw_late(&late, delivered.into_iter()).await?;
        let tests: Vec<_> = finished.iter().filter_map(test_push_change).collect();
        self.update_test_pushes(&tests).await?;

        let mut tokens = TokenChanges::default();
        for finished in finished {
            tokens.add(finished.command)?;
        }
        self.change_tokens(&tokens).await?;
        self.record_health(&health(finished)).await.map(|_| ())
    }

    /// Removes jobs that are done with.
    pub(super) async fn delete_notifications(&mut self, ids: &[NotificationId]) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let parameter = rows::to_parameter(IDS, ids.iter().map(|id| json!({"r_id": rows::id(*id)})).collect());
        let statements = self.statements();
        self.execute(query(&statements.notifications.finish.delete_notifications).bind(parameter)).await.map(|_| ())
    }
}

/// What the verdict means now: if it condemns a token in whose place the device has another by now, the push is yet to
/// be tried. Ends, because the next claim reads the token of then.
fn read<'c>(command: &'c FinishNotification, superseded: &HashSet<NotificationId>) -> Cow<'c, FinishNotification> {
    match superseded.contains(&command.leased.id) {
        true => Cow::Owned(FinishNotification { verdict: NotificationVerdict::PutBack(command.at), ..command.clone() }),
        false => Cow::Borrowed(command),
    }
}

/// When the job is taken up again, if it is.
fn due_again(verdict: &NotificationVerdict) -> Option<Timestamp> {
    match verdict {
        NotificationVerdict::RetryAt(at, _) | NotificationVerdict::PutBack(at) => Some(*at),
        NotificationVerdict::Delivered
        | NotificationVerdict::TokenGone(_)
        | NotificationVerdict::Undeliverable(_)
        | NotificationVerdict::Rejected(_)
        | NotificationVerdict::Expired(_) => None,
    }
}

/// What the verdict makes of the delivery, if the notification has one.
fn delivery_change(finished: &Finished<'_>) -> Option<(super::delivery::Key, DeliveryChange)> {
    let (command, leased) = (finished.command, &finished.command.leased);
    let (state, error) = state(&command.verdict)?;
    let state = match (leased.kind, state) {
        (NotificationKind::Challenge, state) => state,
        // The phone was told; before that the delivery stays what it was.
        (NotificationKind::Withdrawn, DeliveryState::Delivered) => DeliveryState::Withdrawn,
        _ => return None,
    };
    let error = error.map(str::to_owned);
    let change = DeliveryChange { state, attempts: finished.attempts, error, at: command.at };
    Some(((leased.challenge_id?, leased.device_id), change))
}

/// A challenge's push that the provider took.
fn delivered(finished: &Finished<'_>) -> Option<Sent> {
    let FinishNotification { leased, verdict, at } = finished.command;
    let is_delivered = leased.kind == NotificationKind::Challenge && *verdict == NotificationVerdict::Delivered;
    let key = (leased.challenge_id?, leased.device_id);
    is_delivered.then_some(Sent { id: leased.id, tenant_id: leased.tenant_id, key, at: *at })
}

fn test_push_change(finished: &Finished<'_>) -> Option<TestPushChange> {
    let (command, leased) = (finished.command, &finished.command.leased);
    let (state, error) = state(&command.verdict)?;
    let error = error.map(str::to_owned);
    let change = TestPushChange { id: leased.id, state, attempts: finished.attempts, error, at: command.at };
    (leased.kind == NotificationKind::Test).then_some(change)
}

/// What is remembered of each device, once: later verdicts of a set over earlier ones.
fn health(finished: &[Finished<'_>]) -> BTreeMap<countersign_proto::ids::DeviceId, Health> {
    let mut devices = BTreeMap::new();
    for Finished { command, .. } in finished {
        let Some(state) = state(&command.verdict) else { continue };
        let health = devices.entry(command.leased.device_id).or_insert_with(|| Health::of(command.leased.tenant_id));
        match state {
            (DeliveryState::Delivered, _) => health.accepted_at = health.accepted_at.max(Some(command.at)),
            (_, Some(error)) => health.error = Some((error.to_owned(), command.at)),
            (_, None) => {}
        }
    }
    devices
}
