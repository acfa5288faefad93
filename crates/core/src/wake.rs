//! What a change wakes: held reads of callers and devices.
//!
//! A wake-up is a hint: whoever is woken reads the state again. Losing one costs at most a second (each node
//! asks the database once a second for what its waiters wait for), never an answer.

use countersign_proto::{
    ids::{ChallengeId, DeviceId},
    vocabulary::PushChannel,
};

/// What somebody may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WakeKey {
    /// The challenge's status.
    Challenge(ChallengeId),
    /// The set of challenges that wait for this device's answer.
    Device(DeviceId),
    /// Pushes for this channel were queued. Said on the node that queued them only: one dispatcher is enough, and every node's looks
    /// by itself once a second.
    Outbox(PushChannel),
    /// Messages to webhooks were queued: likewise.
    Webhooks,
}

/// Where the store reports, after a commit, what has changed. Must not block and must not fail.
pub trait WakeSink: Send + Sync {
    /// Wakes whoever on this node waits for one of these.
    fn wake(&self, keys: &[WakeKey]);
}
