//! What the unit tests share: a clock that stands still, bytes that repeat. Never linked into the server.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use countersign_core::{
    clock::Clock,
    entropy::Entropy,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{ids::Id, push::PushBinding, timestamp::Timestamp};

/// Where every test begins.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A clock that stands still until a test moves it. Clones are the same clock.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<Timestamp>>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(NOW)))
    }
}

impl TestClock {
    pub(crate) fn advance_millis(&self, millis: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus_millis(millis);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn sleep_until(&self, _until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        unreachable!("no sender sleeps")
    }
}

/// 1, 2, 3 and so on: different each time, the same in each run.
#[derive(Default)]
pub(crate) struct Counting(Mutex<u8>);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        for byte in buffer {
            *next = next.wrapping_add(1);
            *byte = *next;
        }
    }
}

/// An id that is the same in each run.
pub(crate) fn id<K>(last: u8) -> Id<K> {
    format!("01890a5d-ac96-774b-bcce-b302099a80{last:02x}").parse().unwrap()
}

/// A notification to this device, leased for 10 s and worth sending for 120.
pub(crate) fn notification(kind: NotificationKind, push: PushBinding) -> LeasedNotification {
    LeasedNotification {
        id: id(1),
        tenant_id: id(2),
        kind,
        device_id: id(3),
        challenge_id: matches!(kind, NotificationKind::Challenge | NotificationKind::Withdrawn).then(|| id(4)),
        push,
        push_updated_at: NOW.plus_seconds(-3_600),
        was_undeliverable: false,
        attempts: 0,
        expires_at: NOW.plus_seconds(120),
        lease: id(5),
        leased_until: NOW.plus_seconds(10),
    }
}
