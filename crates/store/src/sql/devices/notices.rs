//! Notices: what a device is told of what happened to its user's registrations (protocol 5.1, 8.8).
//!
//! Reads the log, and writes nothing. Whether a notice may still be disputed is only a hint to the app: the dispute itself
//! judges again. To add a kind: its entry in [`EventKind::NOTICES`].

use countersign_core::{
    event::EventKind,
    ports::{
        StoreError,
        devices::{DeviceName, NoticeRecord},
    },
};
use countersign_proto::vocabulary::DeviceStatus;

use super::{
    super::{Columns, Row},
    dispute,
};
use crate::statement::Statement;

/// Events of sign-ins, none of which is a notice: word for word what the index `events_of_user` leaves out, which is how
/// the databases know that it fits. It is small however often somebody signs in.
pub(in super::super) const SIGN_INS: &str = "'challenge.created', 'challenge.approved', 'challenge.denied', 'challenge.expired', \
    'challenge.cancelled', 'challenge.reported'";

/// The kinds that the statement asks for, in the order of its parameters, from the fifth on.
pub(super) fn kinds() -> impl Iterator<Item = &'static EventKind> {
    EventKind::NOTICES.iter().chain(for_every_device())
}

/// Notices of a user that a device is shown, newest first.
pub(super) fn statement() -> Statement {
    let parameters = |first: usize, count: usize| {
        (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
    };
    let notices = format!(
        "-- notices
        SELECT events.id AS id, kind, at, devices.id AS device_id, devices.name AS name,
            devices.platform AS platform, devices.status AS status, devices.activated_at AS concerned_since,
            asking.activated_at AS asking_since, asking.purpose AS asking_purpose
        FROM events
        LEFT JOIN devices ON devices.id = events.device_id AND devices.tenant_id = events.tenant_id
        LEFT JOIN devices AS asking ON asking.id = $3 AND asking.tenant_id = $1 AND asking.user_id = $2
            AND asking.status = 'active' AND asking.id <> events.device_id
        WHERE events.tenant_id = $1 AND events.user_id = $2 AND at >= $4 AND kind IN ({kinds})
            AND kind NOT IN ({SIGN_INS})
            AND (events.device_id IS NULL OR events.device_id <> $3 OR kind IN ({for_every_device}))
        ORDER BY at DESC, events.id DESC LIMIT 50",
        kinds = parameters(5, EventKind::NOTICES.len()),
        for_every_device = parameters(5 + EventKind::NOTICES.len(), for_every_device().count()),
    );
    Statement::new(notices)
}

/// Notices that also the device is shown that they are about.
fn for_every_device() -> impl Iterator<Item = &'static EventKind> {
    EventKind::NOTICES.iter().filter(|kind| kind.concerns_every_device())
}

/// A row of it.
pub(super) fn read(row: &Row) -> Result<NoticeRecord, StoreError> {
    let columns = Columns::new("events", row);
    let kind = columns.text("kind")?;
    let kind = EventKind::NOTICES.into_iter().find(|notice| notice.as_str() == kind);
    let device = match columns.optional_id("device_id")? {
        Some(id) => Some(DeviceName { id, name: columns.text("name")?, platform: columns.word("platform")? }),
        None => None,
    };
    let (kind, at) = (kind.ok_or_else(|| columns.corrupt("kind"))?, columns.time("at")?);
    let status = columns.optional_word("status")?;
    let concerned_since = columns.optional_time("concerned_since")?;
    let asking = match columns.optional_word("asking_purpose")? {
        Some(purpose) => Some(dispute::Asking { purpose, since: columns.optional_time("asking_since")? }),
        None => None,
    };
    let is_live = matches!(status, Some(DeviceStatus::Active | DeviceStatus::PendingConfirmation));
    Ok(NoticeRecord {
        id: columns.id("id")?,
        kind,
        at,
        device,
        is_disputable: is_live && asking.is_some_and(|asking| dispute::may_dispute(kind, concerned_since, &asking)),
    })
}
