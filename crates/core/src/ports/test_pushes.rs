//! Test pushes: an administrator rings a device to see whether it can be rung.

use async_trait::async_trait;
use countersign_proto::{
    ids::{DeviceId, NotificationId, TenantId},
    timestamp::Timestamp,
    vocabulary::{DeliveryState, DeviceStatus, PushChannel},
};

use super::StoreError;
use crate::actor::Stamp;

/// Queues a test push: the record, its notification and `device.push_tested` in one transaction.
#[derive(Debug, Clone)]
pub struct CreateTestPush {
    /// Who, where, when.
    pub stamp: Stamp,
    /// The record's id, and the notification's.
    pub id: NotificationId,
    /// Which device.
    pub device_id: DeviceId,
    /// Not worth sending from then on.
    pub expires_at: Timestamp,
    /// Refused while the device's newest test push is not older than this.
    pub not_after_another_since: Timestamp,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateTestPushOutcome {
    /// Queued.
    Queued(TestPushRecord),
    /// No such device in this tenant.
    NotFound,
    /// Only active devices are rung.
    NotActive(DeviceStatus),
    /// The device has no push channel, or its token is gone.
    NoChannel,
    /// Another test push was made just before.
    TooSoon,
}

/// A test push and what came of it; kept for [`crate::limits::TEST_PUSH_KEPT_SECONDS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPushRecord {
    /// Our id, also the provider's request id.
    pub id: NotificationId,
    /// The device.
    pub device_id: DeviceId,
    /// Its channel when the test was made.
    pub channel: PushChannel,
    /// How the push fares.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Our code and the provider's status.
    pub last_error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the state last changed.
    pub updated_at: Timestamp,
}

/// Test pushes.
#[async_trait]
pub trait TestPushes: Send + Sync {
    /// Queues one.
    async fn create_test_push(&self, command: CreateTestPush) -> Result<CreateTestPushOutcome, StoreError>;
    /// By id, of this device.
    async fn test_push(
        &self,
        tenant_id: TenantId,
        device_id: DeviceId,
        id: NotificationId,
    ) -> Result<Option<TestPushRecord>, StoreError>;
}
