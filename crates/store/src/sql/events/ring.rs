//! Ringing for notices (protocol 8.7): an event that a user's devices are told of also rings them.
//!
//! Queued in the transaction of the event: a command that is run again finds itself and queues nothing. However much
//! happens, a device has one notice that waits (`insert_notifications`): the outbox is bounded by the devices, and
//! whoever makes much happen rings nobody more often. Costs nothing unless such an event is written.
//! To ring for one more kind of event: its entry in [`EventKind::NOTICES`].

use std::collections::{BTreeMap, HashMap};

use countersign_core::{
    event::{Event, EventKind, derived_id},
    limits::{NOTICE_PUSH_SECONDS, UNDELIVERABLE_RETRY_SECONDS},
    ports::notifications::NotificationKind,
};
use countersign_proto::ids::{DeviceId, EventId, Id};
use serde_json::json;

use super::super::{Columns, Tx, dialect, notifications::NewNotification, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const NOTICES: &rows::Columns =
    &[("r_id", Type::Id), ("r_tenant_id", Type::Id), ("r_user_id", Type::Id), ("r_retry_from", Type::Integer)];

/// See the module.
pub(super) struct Statements {
    devices_to_ring: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // Not locked: whoever leases the push looks at the device again.
            devices_to_ring: Statement::new(format!(
                "-- devices_to_ring
                SELECT r_id, devices.id AS device_id
                FROM {notices} CROSS JOIN devices
                WHERE devices.user_id = r_user_id AND devices.tenant_id = r_tenant_id
                  AND devices.status = 'active' AND devices.push_channel <> 'none' AND devices.push_token_gone = 0
                  AND (devices.push_undeliverable_at IS NULL OR devices.push_undeliverable_at <= r_retry_from)",
                notices = dialect::row_source(1, NOTICES),
            )),
        }
    }
}

/// Those of the events that devices are told of: mostly none.
pub(super) fn notices(events: &[Event]) -> HashMap<EventId, Event> {
    let is_notice = |event: &&Event| EventKind::NOTICES.contains(&event.kind) && event.subjects.user_id.is_some();
    events.iter().filter(is_notice).map(|event| (event.id, event.clone())).collect()
}

impl Tx<'_> {
    /// Queues a push to each of the user's devices that is to be told of one of these events.
    pub(super) async fn ring(&mut self, notices: &HashMap<EventId, Event>) -> Result<(), Failure> {
        if notices.is_empty() {
            return Ok(());
        }
        let row = |event: &Event| {
            json!({"r_id": rows::id(event.id), "r_tenant_id": rows::id(event.tenant_id),
                "r_user_id": event.subjects.user_id.map(rows::id),
                "r_retry_from": rows::time(event.at.plus_seconds(-UNDELIVERABLE_RETRY_SECONDS))})
        };
        let parameter = rows::to_parameter(NOTICES, notices.values().map(row).collect());
        let statements = self.statements();
        // Of several events one per device: the latest, which lives longest.
        let mut pushes = BTreeMap::new();
        for row in &self.fetch_all(query(&statements.events.ring.devices_to_ring).bind(parameter)).await? {
            let row = Columns::new("devices", row);
            let device_id = row.id("device_id")?;
            let event = notices.get(&row.id("r_id")?).filter(|event| is_told(event, device_id));
            let Some(push) = event.map(|event| push(event, device_id)) else { continue };
            let latest = pushes.entry(device_id).or_insert_with(|| push.clone());
            if push.expires_at > latest.expires_at {
                *latest = push;
            }
        }
        self.insert_notifications(pushes.into_values().collect()).await
    }
}

/// Whether a device is told of an event by a push: not one that it brought about, nor one about itself. What concerns
/// the person as a whole is for everybody.
fn is_told(event: &Event, device_id: DeviceId) -> bool {
    let id = device_id.to_string();
    // Whoever takes a place knows that it is taken: it is the same phone.
    let takes_its_place = event.body.get("superseded_by").and_then(serde_json::Value::as_str) == Some(id.as_str());
    let is_own = event.subjects.device_id == Some(device_id) || event.actor_id == Some(id) || takes_its_place;
    event.kind.concerns_every_device() || !is_own
}

fn push(event: &Event, device_id: DeviceId) -> NewNotification {
    // The event's id follows from its command.
    let command_id = Id::from_uuid(event.id.as_uuid());
    NewNotification {
        id: derived_id(event.at, command_id, &format!("notice {device_id}")),
        tenant_id: event.tenant_id,
        kind: NotificationKind::Notice,
        device_id,
        challenge_id: None,
        due_at: event.at,
        expires_at: event.at.plus_seconds(NOTICE_PUSH_SECONDS),
    }
}
