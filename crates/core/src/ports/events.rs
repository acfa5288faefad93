//! The append-only log, read back.

use async_trait::async_trait;
use countersign_proto::{ids::TenantId, timestamp::Timestamp};

use super::StoreError;
use crate::event::{EventKind, Subjects};

/// One row of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// Our id.
    pub id: countersign_proto::ids::EventId,
    /// 1, 2, 3 … without gaps, in the tenant.
    pub position: i64,
    /// What happened.
    pub kind: EventKind,
    /// `api_client`, `device`, `operator`, `system`.
    pub actor_kind: String,
    /// The API client's or device's id.
    pub actor_id: Option<String>,
    /// What it is about.
    pub subjects: Subjects,
    /// The request that caused it.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
    /// Ids, digests and fixed words.
    pub body: serde_json::Map<String, serde_json::Value>,
}

/// Events.
#[async_trait]
pub trait Events: Send + Sync {
    /// Gives the tenant's committed events that have no position yet the next ones; at most `limit`; returns how
    /// many.
    ///
    /// Positions are given after the commit, under a lock on the tenant's head: a reader that has seen position
    /// `n` never misses an earlier one, however many nodes write.
    async fn position_events(&self, tenant_id: TenantId, limit: u32) -> Result<u64, StoreError>;
    /// Tenants above `after` with events that have no position yet, in order, at most `limit`.
    async fn unpositioned_tenants(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>, StoreError>;
    /// Events with a position above `after`, in order, at most `limit`.
    async fn events(&self, tenant_id: TenantId, after: i64, limit: u32) -> Result<Vec<EventRecord>, StoreError>;
}
