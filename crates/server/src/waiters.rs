//! Held reads: entries in memory, woken by commits, each with a deadline.
//!
//! However many wake at once, so many go on at a time ([`Waiters::turn`]): a stop, or one challenge with thousands of
//! readers, must not fill the store's queues for everybody else. No wake-up is lost: register, read, then wait. A wake-up before the wait leaves a permit. A waiter holds no
//! connection, no buffer of its own and never asks the database by itself: one task per node does, once a
//! second, for all of them ([`crate::worker::poll`]). A full table answers as if `wait` were 0.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use countersign_core::wake::{WakeKey, WakeSink};
use countersign_proto::{
    ids::{ApiClientId, ChallengeId, DeviceId},
    timestamp::Timestamp,
};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::{clock::Clock, outbox::Outbox};

/// Held reads that have been woken and read again, at a time.
const TURNS: usize = 256;

struct Entry {
    id: u64,
    notify: Notify,
    superseded: AtomicBool,
    /// For a challenge: whether the waiter has seen that it awaits its code.
    has_seen_code: AtomicBool,
    /// For a device: the inbox that the waiter has seen.
    known: Mutex<Option<BTreeSet<ChallengeId>>>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<WakeKey, Vec<Arc<Entry>>>,
    held: usize,
    held_by_client: HashMap<ApiClientId, usize>,
}

/// All held reads of this node.
pub struct Waiters {
    table: Mutex<Table>,
    outbox: Arc<Outbox>,
    capacity: usize,
    next_id: AtomicU64,
    stopping: AtomicBool,
    turns: Semaphore,
}

impl Waiters {
    /// An empty table for so many held reads.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            outbox: Arc::default(),
            capacity,
            next_id: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            turns: Semaphore::new(TURNS),
        })
    }

    /// What rings for the dispatcher: commits wake both.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each critical section leaves the table whole, so a panic elsewhere cannot have torn it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait. `None`: the table is full or the server stops; answer at once.
    ///
    /// Call this before the first read, so that a change between read and wait is heard.
    pub fn register(self: &Arc<Self>, key: WakeKey) -> Option<Waiter> {
        self.register_for(key, None)
    }

    /// The same for an API client, which gets at most half of the table: no single key keeps all others from
    /// waiting.
    pub fn register_for(self: &Arc<Self>, key: WakeKey, client: Option<ApiClientId>) -> Option<Waiter> {
        let mut table = self.table();
        if table.held >= self.capacity || self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        if let Some(client) = client {
            let held = table.held_by_client.entry(client).or_default();
            if *held >= self.capacity.div_ceil(2) {
                return None;
            }
            *held += 1;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            id,
            notify: Notify::new(),
            superseded: AtomicBool::new(false),
            has_seen_code: AtomicBool::new(false),
            known: Mutex::default(),
        });
        let entries = table.entries.entry(key).or_default();
        if matches!(key, WakeKey::Device(_)) {
            // One held read per device: a newer one ends the older with the current set (protocol 5.2).
            for older in entries.iter() {
                older.superseded.store(true, Ordering::SeqCst);
                older.notify.notify_one();
            }
        }
        entries.push(Arc::clone(&entry));
        table.held += 1;
        metrics::gauge!("countersign_held_reads").increment(1.0);
        Some(Waiter { key, client, entry, waiters: Arc::clone(self) })
    }

    fn forget(&self, key: WakeKey, client: Option<ApiClientId>, id: u64) {
        let mut table = self.table();
        if let Some(client) = client
            && let Some(held) = table.held_by_client.get_mut(&client)
        {
            *held -= 1;
            if *held == 0 {
                table.held_by_client.remove(&client);
            }
        }
        if let Some(entries) = table.entries.get_mut(&key) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                table.entries.remove(&key);
            }
            table.held -= 1;
            metrics::gauge!("countersign_held_reads").decrement(1.0);
        }
    }

    /// Ends all held reads with what is true now, and refuses new ones.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for entry in self.table().entries.values().flatten() {
            entry.notify.notify_one();
        }
    }

    /// Whether [`Self::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits for the turn of a held read that was woken; it lasts until the permit is dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.turns.acquire().await.ok()
    }

    /// How many reads are held.
    pub fn count(&self) -> usize {
        self.table().held
    }

    /// The challenges that somebody waits for.
    pub fn challenges(&self) -> Vec<ChallengeId> {
        let table = self.table();
        let ids = table.entries.keys().filter_map(|key| match key {
            WakeKey::Challenge(id) => Some(*id),
            WakeKey::Device(_) | WakeKey::Outbox(_) | WakeKey::Webhooks => None,
        });
        ids.collect()
    }

    /// The devices that wait.
    pub fn devices(&self) -> Vec<DeviceId> {
        let table = self.table();
        let ids = table.entries.keys().filter_map(|key| match key {
            WakeKey::Device(id) => Some(*id),
            WakeKey::Challenge(_) | WakeKey::Outbox(_) | WakeKey::Webhooks => None,
        });
        ids.collect()
    }

    /// Wakes the challenge's waiters that have not seen that it awaits its code.
    pub fn tell_of_code(&self, id: ChallengeId) {
        let table = self.table();
        for entry in table.entries.get(&WakeKey::Challenge(id)).into_iter().flatten() {
            if !entry.has_seen_code.load(Ordering::SeqCst) {
                entry.notify.notify_one();
            }
        }
    }

    /// Wakes the device's waiters that have seen another inbox than this one.
    pub fn compare_inbox(&self, device_id: DeviceId, inbox: &BTreeSet<ChallengeId>) {
        let table = self.table();
        for entry in table.entries.get(&WakeKey::Device(device_id)).into_iter().flatten() {
            let known = entry.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.as_ref().is_some_and(|known| known != inbox) {
                entry.notify.notify_one();
            }
        }
    }
}

impl WakeSink for Waiters {
    fn wake(&self, keys: &[WakeKey]) {
        {
            let table = self.table();
            for entry in keys.iter().filter_map(|key| table.entries.get(key)).flatten() {
                entry.notify.notify_one();
            }
        }
        for key in keys {
            match key {
                WakeKey::Outbox(channel) => self.outbox.ring(*channel),
                WakeKey::Webhooks => self.outbox.ring_for_webhooks(),
                WakeKey::Challenge(_) | WakeKey::Device(_) => {}
            }
        }
    }
}

/// One held read. Leaves the table when dropped, also when its client hangs up.
pub struct Waiter {
    key: WakeKey,
    client: Option<ApiClientId>,
    entry: Arc<Entry>,
    waiters: Arc<Waiters>,
}

impl Waiter {
    /// That a challenge's waiter has seen that it awaits its code, for the node's poller.
    pub fn has_seen_code(&self) {
        self.entry.has_seen_code.store(true, Ordering::SeqCst);
    }

    /// What a device's waiter has seen, for the node's poller.
    pub fn has_seen(&self, inbox: BTreeSet<ChallengeId>) {
        *self.entry.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(inbox);
    }

    /// Waits for a wake-up or for `until`. `false`: answer now, whatever is true; also if the clock was set back, for by
    /// what has passed the read has been held for long enough.
    pub async fn wait(&self, clock: &dyn Clock, until: Timestamp) -> bool {
        if !self.may_go_on() {
            return false;
        }
        tokio::select! {
            () = self.entry.notify.notified() => self.may_go_on(),
            () = clock.sleep_until(until) => clock.now() >= until,
        }
    }

    fn may_go_on(&self) -> bool {
        !self.waiters.is_stopping() && !self.entry.superseded.load(Ordering::SeqCst)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.forget(self.key, self.client, self.entry.id);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use countersign_core::entropy::new_id;

    use super::*;
    use crate::{clock::SystemClock, entropy::SystemEntropy};

    fn key() -> WakeKey {
        WakeKey::Challenge(new_id(Timestamp::from_seconds(1), &SystemEntropy::default()))
    }

    fn far() -> Timestamp {
        SystemClock.now().plus_seconds(60)
    }

    #[tokio::test]
    async fn a_wake_up_between_read_and_wait_is_heard() {
        let waiters = Waiters::new(10);
        let key = key();
        let waiter = waiters.register(key).unwrap();
        waiters.wake(&[key]);
        assert!(waiter.wait(&SystemClock, far()).await);
    }

    /// Sleeps as long as it was asked to, and is an hour behind then.
    struct SetBack;

    impl Clock for SetBack {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(1_000)
        }

        fn sleep_until(&self, _until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn a_read_that_was_held_while_the_clock_was_set_back_is_answered() {
        let waiter = Waiters::new(10).register(key()).unwrap();
        assert!(!waiter.wait(&SetBack, Timestamp::from_seconds(4_600)).await);
        assert!(waiter.wait(&SetBack, Timestamp::from_seconds(1_000)).await);
    }

    #[tokio::test]
    async fn a_newer_read_of_a_device_ends_the_older() {
        let waiters = Waiters::new(10);
        let key = WakeKey::Device(new_id(Timestamp::from_seconds(1), &SystemEntropy::default()));
        let older = waiters.register(key).unwrap();
        let _newer = waiters.register(key).unwrap();
        assert!(!older.wait(&SystemClock, far()).await);
    }

    #[test]
    fn a_full_table_refuses_and_a_dropped_waiter_makes_room() {
        let waiters = Waiters::new(1);
        let first = waiters.register(key()).unwrap();
        assert!(waiters.register(key()).is_none());
        drop(first);
        assert!(waiters.register(key()).is_some());
    }

    #[test]
    fn one_api_client_gets_at_most_half_of_the_table() {
        let waiters = Waiters::new(4);
        let entropy = SystemEntropy::default();
        let greedy = Some(new_id(Timestamp::from_seconds(1), &entropy));
        let first = waiters.register_for(key(), greedy).unwrap();
        let _second = waiters.register_for(key(), greedy).unwrap();
        assert!(waiters.register_for(key(), greedy).is_none());
        let _other = waiters.register_for(key(), Some(new_id(Timestamp::from_seconds(1), &entropy))).unwrap();
        drop(first);
        assert!(waiters.register_for(key(), greedy).is_some());
    }

    #[tokio::test]
    async fn a_stop_ends_held_reads_and_refuses_new_ones() {
        let waiters = Waiters::new(10);
        let waiter = waiters.register(key()).unwrap();
        waiters.stop();
        assert!(!waiter.wait(&SystemClock, far()).await);
        assert!(waiters.register(key()).is_none());
    }
}
