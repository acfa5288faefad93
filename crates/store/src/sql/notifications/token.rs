//! What a verdict says about the device's token: gone, refused for good, or in order again.
//!
//! Only of the token that was tried: the row must still say that it was registered at that time, and be that very
//! token (clocks of two nodes may coincide). A device that registers again while its old token is found to be dead
//! loses nothing: whichever of the two commits first, the other sees it, because the device's row is locked. Nor does
//! it lose the push: that goes out again, to the token of now.

use std::collections::{BTreeMap, HashSet};

use countersign_core::{
    ports::notifications::{FinishNotification, NotificationVerdict},
    wake::WakeKey,
};
use countersign_proto::{
    ids::{DeviceId, NotificationId, TenantId},
    push::PushBinding,
    timestamp::Timestamp,
};
use serde_json::json;

use super::super::{Columns, Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const CHANGES: &rows::Columns = &[
    ("r_device_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_registered_at", Type::Integer),
    ("r_push", Type::Text),
    ("r_is_gone", Type::Flag),
    ("r_refusal", Type::Text),
    ("r_refused_at", Type::Integer),
];

const CONDEMNED: &rows::Columns = &[
    ("r_id", Type::Id),
    ("r_device_id", Type::Id),
    ("r_tenant_id", Type::Id),
    ("r_registered_at", Type::Integer),
    ("r_push", Type::Text),
];

/// See the module.
pub(super) struct Statements {
    superseded: Statement,
    change_tokens: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            superseded: Statement::new(format!(
                "-- superseded
                SELECT r_id, push_channel FROM {condemned} CROSS JOIN devices
                WHERE devices.id = r_device_id AND devices.tenant_id = r_tenant_id
                  AND devices.push_channel <> 'none' AND devices.push_token_gone = 0
                  AND (devices.push_updated_at <> r_registered_at OR devices.push <> r_push)",
                condemned = dialect::row_source(1, CONDEMNED),
            )),
            change_tokens: Statement::new(format!(
                "-- change_tokens
                UPDATE devices SET
                    push_token_gone = CASE WHEN r_is_gone THEN 1 ELSE push_token_gone END,
                    push = CASE WHEN r_is_gone THEN $2 ELSE push END,
                    push_undeliverable = r_refusal, push_undeliverable_at = r_refused_at
                FROM {changes}
                WHERE devices.id = r_device_id AND devices.tenant_id = r_tenant_id
                  AND devices.push_updated_at = r_registered_at AND devices.push = r_push",
                changes = dialect::row_source(1, CHANGES),
            )),
        }
    }
}

/// Whether the verdict may change the device's row, which is then locked before the batch does anything.
pub(in super::super) fn changes_device(command: &FinishNotification) -> bool {
    match command.verdict {
        NotificationVerdict::TokenGone(_) | NotificationVerdict::Undeliverable(_) => true,
        NotificationVerdict::Delivered => command.leased.was_undeliverable,
        NotificationVerdict::RetryAt(..)
        | NotificationVerdict::PutBack(_)
        | NotificationVerdict::Rejected(_)
        | NotificationVerdict::Expired(_) => false,
    }
}

/// What is known of each token that was tried; of several verdicts on one token the last counts, and `TokenGone`
/// over all others.
#[derive(Default)]
pub(super) struct TokenChanges(BTreeMap<(DeviceId, Timestamp, String), TokenChange>);

struct TokenChange {
    tenant_id: TenantId,
    is_gone: bool,
    refusal: Option<(String, Timestamp)>,
}

impl TokenChanges {
    pub(super) fn add(&mut self, command: &FinishNotification) -> Result<(), Failure> {
        if !changes_device(command) {
            return Ok(());
        }
        let leased = &command.leased;
        let refusal = match &command.verdict {
            NotificationVerdict::Undeliverable(reason) => Some((reason.clone(), command.at)),
            _ => None,
        };
        let is_gone = matches!(command.verdict, NotificationVerdict::TokenGone(_));
        let token = (leased.device_id, leased.push_updated_at, rows::json(&leased.push)?);
        if self.0.get(&token).is_none_or(|known| !known.is_gone) {
            self.0.insert(token, TokenChange { tenant_id: leased.tenant_id, is_gone, refusal });
        }
        Ok(())
    }
}

impl Tx<'_> {
    /// Those whose verdict condemns a token in whose place the device has another by now, which may be good. The
    /// devices are locked.
    pub(super) async fn superseded(
        &mut self,
        commands: &[&FinishNotification],
    ) -> Result<HashSet<NotificationId>, Failure> {
        let mut condemned = Vec::new();
        for FinishNotification { leased, verdict, .. } in commands {
            if matches!(verdict, NotificationVerdict::TokenGone(_) | NotificationVerdict::Undeliverable(_)) {
                condemned.push(json!({"r_id": rows::id(leased.id), "r_device_id": rows::id(leased.device_id),
                    "r_tenant_id": rows::id(leased.tenant_id), "r_push": rows::json(&leased.push)?,
                    "r_registered_at": rows::time(leased.push_updated_at)}));
            }
        }
        let mut superseded = HashSet::new();
        if condemned.is_empty() {
            return Ok(superseded);
        }
        let statements = self.statements();
        let find = query(&statements.notifications.token.superseded).bind(rows::to_parameter(CONDEMNED, condemned));
        for row in &self.fetch_all(find).await? {
            let row = Columns::new("devices", row);
            superseded.insert(row.id("r_id")?);
            self.wake(WakeKey::Outbox(row.word("push_channel")?));
        }
        Ok(superseded)
    }

    /// Marks and clears. The devices are locked.
    pub(super) async fn change_tokens(&mut self, changes: &TokenChanges) -> Result<(), Failure> {
        if changes.0.is_empty() {
            return Ok(());
        }
        let row = |((device_id, registered_at, push), change): (&(DeviceId, Timestamp, String), &TokenChange)| {
            let refusal = change.refusal.as_ref();
            json!({
                "r_device_id": rows::id(*device_id),
                "r_tenant_id": rows::id(change.tenant_id),
                "r_registered_at": rows::time(*registered_at),
                "r_push": push,
                "r_is_gone": change.is_gone,
                "r_refusal": refusal.map(|(reason, _)| reason),
                "r_refused_at": refusal.map(|(_, since)| rows::time(*since)),
            })
        };
        let parameter = rows::to_parameter(CHANGES, changes.0.iter().map(row).collect());
        let none = rows::json(&PushBinding::None)?;
        let statements = self.statements();
        let change = query(&statements.notifications.token.change_tokens).bind(parameter).bind(none);
        self.execute(change).await.map(|_| ())
    }
}
