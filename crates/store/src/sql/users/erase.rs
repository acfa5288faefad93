//! Erasing somebody (protocol 10.8): the barrier, and an empty row in the person's place.
//!
//! One transaction under the user's row, with all of the user's devices locked: nobody makes, decides or ends a challenge
//! of the user, or registers a device, meanwhile. When it is committed nobody acts for the person any more on any node,
//! and the name is free. The past may be long, and is blanked afterwards (`blank.rs`); the row in `erasures` says so
//! until that is done, whoever dies in between.
//!
//! Never deletes an event: those hold ids and digests only. To erase one more thing: here if somebody could act with it,
//! else in `blank.rs`.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    event::{Event, EventKind, Subjects},
    ports::{
        StoreError,
        tenants::Quota,
        users::{EraseUserOutcome, Erasure},
    },
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, TenantId, UserId},
    push::PushBinding,
    vocabulary::{ChallengeReason, ChallengeStatus, RevokeReason, Word as _},
};
use uuid::Uuid;

use super::super::{
    Columns, Database, Outcome, Plain, Row, Tx, challenges::Ended, devices::push_json, enrollments::OpenEnrollments,
    query,
};
use crate::failure::Failure;

/// Begins to erase somebody.
pub(super) struct EraseUser {
    pub(super) stamp: Stamp,
    pub(super) id: UserId,
}

#[async_trait]
impl Plain for EraseUser {
    type Reply = EraseUserOutcome;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<EraseUserOutcome>, Failure> {
        tx.require_actor(&self.stamp).await?;
        let tenant_id = self.stamp.tenant_id;
        tx.lock_user(tenant_id, self.id).await?;
        if super::record(tx, tenant_id, self.id).await?.is_none() {
            return Ok(Outcome::Rollback(match is_unfinished(tx, tenant_id, self.id).await? {
                true => EraseUserOutcome::Unfinished,
                false => EraseUserOutcome::NotFound,
            }));
        }
        tx.cancel_open_enrollments(&self.stamp, self.id, OpenEnrollments::Erased, ChallengeReason::UserErased.as_str())
            .await?;
        // After the enrollments, with which the devices go that wait for a confirmation.
        let devices = live_devices(self, tx).await?;
        tx.lock_devices(&devices.iter().map(|id| (tenant_id, *id)).collect::<Vec<_>>()).await?;
        let ended = end_challenges(self, tx).await?;
        revoke_devices(self, tx).await?;
        empty(self, tx).await?;
        tx.insert_events(events(self, &devices, &ended)).await?;
        let ended: Vec<_> = ended
            .iter()
            .map(|(challenge_id, _)| Ended { stamp: &self.stamp, challenge_id: *challenge_id, decided_by: None })
            .collect();
        // Takes back what nobody is sending, and wakes whoever waits.
        tx.withdraw(&ended).await?;
        // Also what that has queued: there is no address to send it to any more.
        let delete = "-- delete_notifications_of_erased
            DELETE FROM notifications WHERE tenant_id = $2
                AND device_id IN (SELECT id FROM devices WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1))";
        tx.execute(query(delete).bind(self.id.as_uuid()).bind(tenant_id.as_uuid())).await?;
        for id in devices {
            tx.wake(WakeKey::Device(id));
        }
        tx.count_down(tenant_id, Quota::Users).await?;
        Ok(Outcome::Commit(EraseUserOutcome::Begun))
    }
}

async fn is_unfinished(tx: &mut Tx<'_>, tenant_id: TenantId, id: UserId) -> Result<bool, Failure> {
    let begun = query("-- begun_erasure\nSELECT user_id FROM erasures WHERE user_id = $1 AND tenant_id = $2");
    Ok(tx.fetch_optional(begun.bind(id.as_uuid()).bind(tenant_id.as_uuid())).await?.is_some())
}

/// The devices that are not revoked. Nobody adds one while the user's row is held.
async fn live_devices(command: &EraseUser, tx: &mut Tx<'_>) -> Result<Vec<DeviceId>, Failure> {
    let live = query(
        "-- devices_to_revoke
        SELECT id FROM devices WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1) AND status <> 'revoked' ORDER BY id",
    );
    let live = live.bind(command.id.as_uuid()).bind(command.stamp.tenant_id.as_uuid());
    let rows = tx.fetch_all(live).await?;
    Ok(rows.iter().map(|row| Columns::new("devices", row).id("id")).collect::<Result<_, _>>()?)
}

/// Ends what waits: cancelled, or expired if its time was up and nobody has said so yet.
async fn end_challenges(command: &EraseUser, tx: &mut Tx<'_>) -> Result<Vec<(ChallengeId, ChallengeStatus)>, Failure> {
    let end = query(
        "-- end_challenges_of_erased
        UPDATE challenges SET
            status = CASE WHEN expires_at > $3 THEN 'cancelled' ELSE 'expired' END,
            reason = CASE WHEN expires_at > $3 THEN 'user_erased' ELSE NULL END,
            decided_at = CASE WHEN expires_at > $3 THEN $4 ELSE expires_at END,
            decision_id = $5, number = NULL, code = NULL
        WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1) AND status = 'pending'
        RETURNING id, status",
    )
    .bind(command.id.as_uuid())
    .bind(command.stamp.tenant_id.as_uuid())
    .bind(command.stamp.at.as_millis())
    .bind(command.stamp.at.floor_to_second().as_millis())
    .bind(command.stamp.command_id.as_uuid());
    let mut ended = Vec::new();
    for row in &tx.fetch_all(end).await? {
        let row = Columns::new("challenges", row);
        ended.push((row.id("id")?, row.word("status")?));
    }
    Ok(ended)
}

async fn revoke_devices(command: &EraseUser, tx: &mut Tx<'_>) -> Result<(), Failure> {
    let none = PushBinding::None;
    let revoke = query(
        "-- revoke_devices_of_erased
        UPDATE devices SET status = 'revoked', revoked_at = $3, revoke_reason = $4, decision_id = $5,
            push_channel = $6, push = $7, push_token_gone = 0, push_undeliverable = NULL, push_undeliverable_at = NULL
        WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1) AND status <> 'revoked'",
    )
    .bind(command.id.as_uuid())
    .bind(command.stamp.tenant_id.as_uuid())
    .bind(command.stamp.at.as_millis())
    .bind(RevokeReason::Other.as_str())
    .bind(command.stamp.command_id.as_uuid())
    .bind(none.channel().as_str())
    .bind(push_json(&none)?);
    tx.execute(revoke).await.map(|_| ())
}

/// Leaves of the user's row what the log names, and notes what is left to do. The version moves: a challenge that was
/// signed meanwhile is not written.
async fn empty(command: &EraseUser, tx: &mut Tx<'_>) -> Result<(), Failure> {
    let empty = query(
        "-- empty_user
        UPDATE users SET external_id = $3, display_name = NULL, erased_at = $4, device_count = 0,
            pending_challenges = 0, consecutive_failures = 0, locked_until = NULL,
            devices_version = devices_version + 1, recent_pushes = '', pushes_since_approval = 0,
            pushes_stopped_until = NULL, consecutive_denials = 0, reported_at = NULL, reported_by = NULL
        WHERE id = $1 AND tenant_id = $2 AND erased_at IS NULL",
    )
    .bind(command.id.as_uuid())
    .bind(command.stamp.tenant_id.as_uuid())
    // Nobody can be called so: no name begins with white space.
    .bind(format!(" {}", command.id))
    .bind(command.stamp.at.as_millis());
    if tx.execute(empty).await? != 1 {
        // The row is held and was just read.
        return Err(sqlx::Error::RowNotFound.into());
    }
    let begin = query("-- begin_erasure\nINSERT INTO erasures (user_id, tenant_id, begun_at) VALUES ($1, $2, $3)")
        .bind(command.id.as_uuid())
        .bind(command.stamp.tenant_id.as_uuid())
        .bind(command.stamp.at.as_millis());
    tx.execute(begin).await.map(|_| ())
}

fn events(command: &EraseUser, devices: &[DeviceId], ended: &[(ChallengeId, ChallengeStatus)]) -> Vec<Event> {
    let user = Subjects { user_id: Some(command.id), ..Subjects::default() };
    let event = |kind, subjects| Event::new(&command.stamp, kind, subjects);
    let revoked = devices.iter().map(|id| {
        let subjects = Subjects { device_id: Some(*id), ..user };
        event(EventKind::DeviceRevoked, subjects).with("reason", RevokeReason::Other.as_str())
    });
    let ended = ended.iter().map(|(id, status)| {
        let subjects = Subjects { challenge_id: Some(*id), ..user };
        match status {
            ChallengeStatus::Expired => event(EventKind::ChallengeExpired, subjects),
            _ => event(EventKind::ChallengeCancelled, subjects).with("reason", ChallengeReason::UserErased.as_str()),
        }
    });
    ended.chain(revoked).chain([event(EventKind::UserErased, user)]).collect()
}

/// Says that nothing is left.
pub(super) struct FinishErasure(pub(super) Erasure);

#[async_trait]
impl Plain for FinishErasure {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        let finish = query("-- finish_erasure\nDELETE FROM erasures WHERE user_id = $1 AND tenant_id = $2");
        tx.execute(finish.bind(self.0.user_id.as_uuid()).bind(self.0.tenant_id.as_uuid())).await?;
        Ok(Outcome::Commit(()))
    }
}

/// Erasures that are not finished, behind this user's, in the order of their users.
pub(super) async fn unfinished(
    database: &Database,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Erasure>, StoreError> {
    let unfinished = "-- unfinished_erasures
        SELECT user_id, tenant_id FROM erasures WHERE user_id > $1 ORDER BY user_id LIMIT $2";
    let unfinished = query(unfinished).bind(after.map_or(Uuid::nil(), UserId::as_uuid)).bind(i64::from(limit));
    let read = |row: &Row| {
        let row = Columns::new("erasures", row);
        Ok(Erasure { user_id: row.id("user_id")?, tenant_id: row.id("tenant_id")? })
    };
    database.fetch_all(unfinished).await?.iter().map(read).collect()
}
