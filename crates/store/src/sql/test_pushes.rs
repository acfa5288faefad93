//! Test pushes: a record beside the outbox, so that an administrator sees what came of one.

use async_trait::async_trait;
use countersign_core::ports::{
    StoreError,
    test_pushes::{CreateTestPush, CreateTestPushOutcome, TestPushRecord, TestPushes},
};
use countersign_proto::ids::{DeviceId, NotificationId, TenantId};

use super::Database;

#[async_trait]
impl TestPushes for Database {
    async fn create_test_push(&self, _command: CreateTestPush) -> Result<CreateTestPushOutcome, StoreError> {
        Err(StoreError::Unavailable("test pushes are not stored yet".to_owned()))
    }

    async fn test_push(
        &self,
        _tenant_id: TenantId,
        _device_id: DeviceId,
        _id: NotificationId,
    ) -> Result<Option<TestPushRecord>, StoreError> {
        Ok(None)
    }
}
