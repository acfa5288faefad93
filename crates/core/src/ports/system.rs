//! The store itself: health and housekeeping.

use async_trait::async_trait;
use countersign_proto::timestamp::Timestamp;

use super::StoreError;

/// Housekeeping.
#[async_trait]
pub trait System: Send + Sync {
    /// Whether the database takes a durable write and its migrations are the ones this program knows.
    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError>;
    /// Forgets replies, idempotency keys, `jti`s and test pushes whose time is up; at most `limit` of each; returns how many.
    async fn forget_expired(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// Finishes the batches that wait, then refuses further writes. Idempotent.
    async fn close(&self);
}
