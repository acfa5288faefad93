//! Several devices of one user at once: all of them revoked, or those whose place a new registration takes.
//!
//! Each is revoked exactly as an administrator would revoke it, one after the other, in the transaction that holds the
//! user's row: no device of the user is added, or changes its status, meanwhile. Never touches another user's device,
//! whatever an app says of its installation.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    device::{StatusChange, Transition, transition},
    ports::devices::{ChangeDeviceStatus, RevokeAllDevices},
};
use countersign_proto::{
    ids::{DeviceId, UserId},
    vocabulary::RevokeReason,
};

use super::{
    super::{Columns, Outcome, Plain, Query, Room, Tx, enrollments::OpenEnrollments, query},
    status,
};
use crate::failure::Failure;

#[async_trait]
impl Plain for RevokeAllDevices {
    type Reply = Option<Vec<DeviceId>>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<Option<Vec<DeviceId>>>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        tx.lock_user(tenant_id, self.user_id).await?;
        let user = "-- user_of_devices
            SELECT id FROM users WHERE id = $1 AND tenant_id = $2 AND erased_at IS NULL";
        let user = query(user).bind(self.user_id.as_uuid()).bind(tenant_id.as_uuid());
        if tx.fetch_optional(user).await?.is_none() {
            return Ok(Outcome::Rollback(None));
        }
        let live = "-- live_devices_of_user
            SELECT devices.id AS id FROM users CROSS JOIN devices
            WHERE users.id = $1 AND users.tenant_id = $2 AND devices.user_id = users.id AND devices.status <> 'revoked'";
        let live = query(live).bind(self.user_id.as_uuid()).bind(tenant_id.as_uuid());
        let revoked = revoke_each(tx, &self.stamp, live, self.reason, None).await?;
        // Those of waiting devices ended with them; tickets that nobody has used yet end here.
        tx.cancel_open_enrollments(&self.stamp, self.user_id, OpenEnrollments::All, "devices_revoked").await?;
        Ok(Outcome::Commit(Some(revoked)))
    }

    fn room(&self) -> Room {
        Room::Reserved
    }
}

/// Revokes the user's other registrations of the same installed app, for the same purpose: `device_id` has just become
/// active, and takes their place. One without an installation takes nobody's. The user's row is held.
pub(in super::super) async fn supersede(
    tx: &mut Tx<'_>,
    stamp: &Stamp,
    user_id: UserId,
    device_id: DeviceId,
) -> Result<(), Failure> {
    let superseded = "-- superseded_devices
        SELECT former.id AS id
        FROM devices AS latest CROSS JOIN devices AS former
        WHERE latest.id = $1 AND latest.tenant_id = $2 AND latest.user_id = $3
            AND former.user_id = $3 AND former.tenant_id = $2 AND former.id <> $1
            AND former.installation_id = latest.installation_id AND former.purpose = latest.purpose
            AND former.status IN ('active', 'suspended')";
    let superseded =
        query(superseded).bind(device_id.as_uuid()).bind(stamp.tenant_id.as_uuid()).bind(user_id.as_uuid());
    revoke_each(tx, stamp, superseded, RevokeReason::Replaced, Some(device_id)).await?;
    Ok(())
}

/// Revokes the devices that `which` names, all of one user whose row is held.
async fn revoke_each(
    tx: &mut Tx<'_>,
    stamp: &Stamp,
    which: Query<'_>,
    reason: RevokeReason,
    superseded_by: Option<DeviceId>,
) -> Result<Vec<DeviceId>, Failure> {
    let mut ids: Vec<DeviceId> = Vec::new();
    for row in &tx.fetch_all(which).await? {
        ids.push(Columns::new("devices", row).id("id")?);
    }
    // Sorted here: a user's devices are few, and the index that finds them need not be the one that sorts them.
    ids.sort_unstable();
    let owned: Vec<_> = ids.iter().map(|id| (stamp.tenant_id, *id)).collect();
    tx.lock_devices(&owned).await?;
    let mut revoked = Vec::with_capacity(ids.len());
    for device_id in ids {
        let change = StatusChange::Revoke(reason);
        let command = ChangeDeviceStatus { stamp: stamp.clone(), device_id, change, key: None, reply: None };
        let Some(device) = status::read(&command, tx).await? else { continue };
        if let Transition::To(to) = transition(device.status, change) {
            status::change(&command, tx, &device, to, superseded_by).await?;
            revoked.push(device_id);
        }
    }
    Ok(revoked)
}
