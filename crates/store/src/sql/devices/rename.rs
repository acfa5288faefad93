//! Another name for a device (protocol 10.7). Names are for people: nothing is decided by one.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    device::DeviceRecord,
    event::{Event, EventKind, Subjects},
    ports::devices::{RenameDevice, RenameDeviceOutcome},
};
use countersign_proto::{ids::DeviceId, vocabulary::DeviceStatus};

use super::{
    super::{Outcome, Plain, Tx, query},
    by_id, device,
};
use crate::failure::Failure;

#[async_trait]
impl Plain for RenameDevice {
    type Reply = RenameDeviceOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<RenameDeviceOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        // Held: whoever erases the person revokes the device first, and no name comes back after that.
        tx.lock_device(self.stamp.tenant_id, self.device_id).await?;
        let rename = "-- rename_device
            UPDATE devices SET name = $3 WHERE id = $1 AND tenant_id = $2 AND status <> 'revoked' AND name <> $3";
        let rename = query(rename).bind(self.device_id.as_uuid()).bind(self.stamp.tenant_id.as_uuid()).bind(&self.name);
        let is_renamed = tx.execute(rename).await? == 1;
        let Some(device) = read(&self.stamp, self.device_id, tx).await? else {
            return Ok(Outcome::Rollback(RenameDeviceOutcome::NotFound));
        };
        if !is_renamed {
            let is_revoked = device.status == DeviceStatus::Revoked;
            let already = || RenameDeviceOutcome::Already(Box::new(device));
            return Ok(Outcome::Rollback(if is_revoked { RenameDeviceOutcome::Revoked } else { already() }));
        }
        let (user_id, device_id) = (Some(device.user.id), Some(device.id));
        let subjects = Subjects { user_id, device_id, ..Subjects::default() };
        tx.insert_events(vec![Event::new(&self.stamp, EventKind::DeviceRenamed, subjects)]).await?;
        Ok(Outcome::Commit(RenameDeviceOutcome::Renamed(Box::new(device))))
    }
}

async fn read(stamp: &Stamp, id: DeviceId, tx: &mut Tx<'_>) -> Result<Option<DeviceRecord>, Failure> {
    let statements = tx.statements();
    let row = tx.fetch_optional(by_id(&statements.devices, stamp.tenant_id, id)).await?;
    Ok(row.as_ref().map(device).transpose()?)
}
