//! Replacing a device's push channel (protocol 8.7).
//!
//! The one artefact whose replay state does not stop by itself, so its `jti` is remembered here, in the
//! transaction of the update.

use async_trait::async_trait;
use countersign_core::{
    limits::PUSH_UPDATE_JTI_SECONDS,
    ports::devices::{UpdatePush, UpdatePushOutcome},
};
use countersign_proto::vocabulary::{PushChannel, Word as _};

use super::{Columns, Outcome, Plain, Tx, push_json, query};
use crate::failure::Failure;

#[async_trait]
impl Plain for UpdatePush {
    type Reply = UpdatePushOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<UpdatePushOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        // The device's row comes first: two updates of one device queue up on it, so that of two equal `jti`s
        // the second sees the first.
        tx.lock_device(self.stamp.tenant_id, self.device_id).await?;
        let before = channel(self, tx).await?;
        let update = "-- update_push
            UPDATE devices SET push_channel = $4, push = $5, push_updated_at = $6, push_token_gone = 0,
                push_undeliverable = NULL, push_undeliverable_at = NULL,
                app_version = COALESCE($7, app_version), os_version = COALESCE($8, os_version)
            WHERE id = $1 AND tenant_id = $2 AND key_thumbprint = $3 AND status IN ('active', 'pending_confirmation')";
        let update = query(update)
            .bind(self.device_id.as_uuid())
            .bind(self.stamp.tenant_id.as_uuid())
            .bind(self.key.as_str())
            .bind(self.push.channel().as_str())
            .bind(push_json(&self.push)?)
            .bind(self.stamp.at.as_millis())
            .bind(self.app_version.as_deref())
            .bind(self.os_version.as_deref());
        if tx.execute(update).await? == 0 {
            return Ok(Outcome::Rollback(why_not(self, tx).await?));
        }
        if !remember_jti(self, tx).await? {
            return Ok(Outcome::Rollback(UpdatePushOutcome::Replayed));
        }
        if before != Some(self.push.channel()) {
            tx.move_notifications(self.stamp.tenant_id, self.device_id, self.push.channel()).await?;
        }
        Ok(Outcome::Commit(UpdatePushOutcome::Updated))
    }
}

/// The device's channel so far.
async fn channel(command: &UpdatePush, tx: &mut Tx<'_>) -> Result<Option<PushChannel>, Failure> {
    let channel = "-- push_channel
        SELECT id, push_channel FROM devices WHERE id = $1 AND tenant_id = $2";
    let channel = query(channel).bind(command.device_id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    let row = tx.fetch_optional(channel).await?;
    Ok(row.map(|row| Columns::new("devices", &row).word("push_channel")).transpose()?)
}

async fn why_not(command: &UpdatePush, tx: &mut Tx<'_>) -> Result<UpdatePushOutcome, Failure> {
    let now = "-- push_state
        SELECT id, status, key_thumbprint FROM devices WHERE id = $1 AND tenant_id = $2";
    let now = query(now).bind(command.device_id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    let Some(row) = tx.fetch_optional(now).await? else { return Ok(UpdatePushOutcome::StaleKey) };
    let columns = Columns::new("devices", &row);
    if columns.text("key_thumbprint")? != command.key.as_str() {
        return Ok(UpdatePushOutcome::StaleKey);
    }
    Ok(UpdatePushOutcome::NotActive(columns.word("status")?))
}

/// Remembers the `jti` for five minutes; `false` if it is remembered already.
async fn remember_jti(command: &UpdatePush, tx: &mut Tx<'_>) -> Result<bool, Failure> {
    let at = command.stamp.at;
    let forget = "-- forget_push_update_jti
        DELETE FROM push_update_jtis WHERE device_id = $1 AND jti = $2 AND expires_at <= $3";
    let forget = query(forget).bind(command.device_id.as_uuid()).bind(&command.jti).bind(at.as_millis());
    tx.execute(forget).await?;
    let remember = "-- remember_push_update_jti
        INSERT INTO push_update_jtis (device_id, jti, tenant_id, expires_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (device_id, jti) DO NOTHING";
    let remember = query(remember)
        .bind(command.device_id.as_uuid())
        .bind(&command.jti)
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(at.plus_seconds(PUSH_UPDATE_JTI_SECONDS).as_millis());
    Ok(tx.execute(remember).await? == 1)
}
