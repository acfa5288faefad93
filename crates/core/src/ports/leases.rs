//! Leases: which node does a kind of background work.
//!
//! A lease only spares work. Whoever holds one and stalls does no harm when it goes on after another has taken over:
//! each step of the work is a conditional write that lets one win.

use async_trait::async_trait;
use countersign_proto::{ids::Id, timestamp::Timestamp};

use super::StoreError;

/// Somebody who holds leases: a worker of a node, from its start to its end. Never constructed.
pub enum Holder {}

/// Whose a lease is.
pub type HolderId = Id<Holder>;

/// How much further ahead than asked for a lease may reach before it is taken for one of a clock that is wrong, in
/// milliseconds. A node whose clock is a year ahead must not keep everybody from working for a year.
pub const FAR_AHEAD_MILLIS: i64 = 60_000;

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeLease {
    /// The kind of work.
    pub name: &'static str,
    /// Who asks.
    pub holder: HolderId,
    /// The time of the node that asks: a lease that ends by then is free.
    pub now: Timestamp,
    /// Until when it is the holder's.
    pub until: Timestamp,
}

/// Leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease that nobody has, or that has run out, or renews the holder's own, in one conditional write.
    /// Whether it is the holder's now.
    async fn take_lease(&self, command: TakeLease) -> Result<bool, StoreError>;
    /// Gives a lease back, so that nobody waits for its end. Somebody else's stays.
    async fn give_back_lease(&self, name: &'static str, holder: HolderId) -> Result<(), StoreError>;
}
