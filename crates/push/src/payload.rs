//! What a provider gets to see (protocol 8.1): fixed texts and ids, nothing else.
//!
//! No user, application, number, address or text of a challenge: details are pulled by the device. Each kind has its
//! localisation keys for the app's own table and a fixed English text for an app that has none:
//!
//! | kind | title key, body key, category |
//! |---|---|
//! | `challenge` | `COUNTERSIGN_CHALLENGE_TITLE`, `COUNTERSIGN_CHALLENGE_BODY`, `COUNTERSIGN_CHALLENGE` |
//! | `notice` | `COUNTERSIGN_NOTICE_TITLE`, `COUNTERSIGN_NOTICE_BODY`, `COUNTERSIGN_NOTICE` |
//! | `test` | `COUNTERSIGN_TEST_TITLE`, `COUNTERSIGN_TEST_BODY`, `COUNTERSIGN_TEST` |
//! | `withdrawn` | none: it removes an alert and shows none |
//!
//! The members that the app reads are the same everywhere: `v` (1), `kind`, `notification_id`, `device_id` and, where
//! it is about one, `challenge_id`. In APNs and Web Push they stand beside what the platform reads, in FCM in `data`,
//! where every value is a string.
//!
//! To add a kind: its arm in [`alert`], its line above and in the tests.

use countersign_core::ports::notifications::{LeasedNotification, NotificationKind};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, NotificationId},
    timestamp::Timestamp,
};
use serde::Serialize;

/// The texts of a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alert {
    pub(crate) title_key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) body_key: &'static str,
    pub(crate) body: &'static str,
    pub(crate) category: &'static str,
}

/// What a kind shows; `None`: nothing.
pub(crate) const fn alert(kind: NotificationKind) -> Option<Alert> {
    match kind {
        NotificationKind::Challenge => Some(Alert {
            title_key: "COUNTERSIGN_CHALLENGE_TITLE",
            title: "Sign-in request",
            body_key: "COUNTERSIGN_CHALLENGE_BODY",
            body: "Open the app to answer it.",
            category: "COUNTERSIGN_CHALLENGE",
        }),
        NotificationKind::Notice => Some(Alert {
            title_key: "COUNTERSIGN_NOTICE_TITLE",
            title: "Your sign-in devices",
            body_key: "COUNTERSIGN_NOTICE_BODY",
            body: "Something has changed. Open the app to see what.",
            category: "COUNTERSIGN_NOTICE",
        }),
        NotificationKind::Test => Some(Alert {
            title_key: "COUNTERSIGN_TEST_TITLE",
            title: "Test",
            body_key: "COUNTERSIGN_TEST_BODY",
            body: "Notifications reach this device.",
            category: "COUNTERSIGN_TEST",
        }),
        NotificationKind::Withdrawn => None,
    }
}

/// What the app reads.
#[derive(Debug, Serialize)]
pub(crate) struct Ids {
    v: u8,
    kind: &'static str,
    notification_id: NotificationId,
    device_id: DeviceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge_id: Option<ChallengeId>,
}

impl Ids {
    pub(crate) fn of(notification: &LeasedNotification) -> Self {
        Self {
            v: 1,
            kind: notification.kind.as_str(),
            notification_id: notification.id,
            device_id: notification.device_id,
            challenge_id: notification.challenge_id,
        }
    }
}

/// What a later push about the same thing replaces: the challenge's id, else the notification's.
pub(crate) fn collapse_id(notification: &LeasedNotification) -> String {
    match notification.challenge_id {
        Some(id) => id.to_string(),
        None => notification.id.to_string(),
    }
}

/// Whole seconds from `now` until the push is worth nothing.
pub(crate) fn seconds_left(notification: &LeasedNotification, now: Timestamp) -> u64 {
    notification.expires_at.millis_since(now) / 1_000
}
