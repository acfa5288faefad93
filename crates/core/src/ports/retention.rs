//! What is deleted when it has been kept for as long as the settings say, a portion at a time.
//!
//! Ids begin with the time at which they were made: what is old is found by its key, in the key's order, without an
//! index that each sign-in would pay for. Events are kept, and so are devices and their keys: a key that was revoked
//! stays refused. To add a kind: a method here, its statement in `store/src/sql/retention.rs`, its line in
//! `server/src/worker/forget.rs`.

use async_trait::async_trait;
use countersign_proto::{
    ids::{ChallengeId, EnrollmentId, TenantId},
    timestamp::Timestamp,
};

use super::StoreError;

/// A portion to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget<I> {
    /// Of this organisation, or of all.
    pub tenant_id: Option<TenantId>,
    /// Only what was made before, and has ended.
    pub made_before: Timestamp,
    /// Only what is newer than this: where the portion before stopped, so that nobody wades again through what was
    /// deleted a moment ago.
    pub after: Option<I>,
    /// At most so many.
    pub limit: u32,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten<I> {
    /// How many.
    pub count: u32,
    /// The newest of them.
    pub last: Option<I>,
}

/// Deleting what is old.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Deletes challenges that have ended, with their deliveries: from then on they are unknown. What happened to them
    /// stays in the log.
    async fn forget_challenges(&self, command: Forget<ChallengeId>) -> Result<Forgotten<ChallengeId>, StoreError>;
    /// Deletes enrollments that have ended, however they did. The device of a completed one stays.
    async fn forget_enrollments(&self, command: Forget<EnrollmentId>) -> Result<Forgotten<EnrollmentId>, StoreError>;
    /// The note that says until when challenges may have been deleted: an organisation's own, or (`None`) that of all.
    async fn forgotten(&self, tenant_id: Option<TenantId>) -> Result<Option<String>, StoreError>;
    /// Puts `note` in the place of `before`. Whether that was still there: else somebody has put another one.
    async fn put_forgotten(
        &self,
        tenant_id: Option<TenantId>,
        before: Option<String>,
        note: String,
    ) -> Result<bool, StoreError>;
}
