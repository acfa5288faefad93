//! An older database that was put back: noticed at the start from the checkpoints that were kept elsewhere.
//!
//! What was lost cannot be known: keys that were revoked since are alive again, challenges that were answered wait again.
//! So the server does not start, until somebody says that it is meant; then everything that waits ends, because it may
//! have ended differently. To void one more kind of thing: its line in `void`.

use std::sync::atomic::Ordering;

use countersign_core::{
    actor::{Actor, Stamp},
    entropy::{Entropy, new_id},
    ports::{
        StoreError,
        audit::RecordRestored,
        challenges::{Close, CloseChallenge, CloseOutcome},
        enrollments::CancelEnrollmentOutcome,
    },
};
use countersign_proto::{audit::Checkpoint, ids::TenantId, timestamp::Timestamp};

use super::{Audit, AuditError, folder};

/// Things of one kind in one portion.
const PORTION: u32 = 500;

/// What keeps the server from starting. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum RestoredError {
    /// The database does not answer.
    #[error("the database does not answer: {0}")]
    Store(#[from] StoreError),
    /// The folder of checkpoints cannot be used.
    #[error("audit.checkpoint_folder cannot be used: {0}")]
    Folder(std::io::Error),
    /// A file in it is not ours.
    #[error(
        "the checkpoint of organisation {0} in audit.checkpoint_folder is not signed by this server's log key: is this \
         the right folder, and the right key file?"
    )]
    Foreign(TenantId),
    /// The database is older.
    #[error(
        "the database is not the one that was here last: of {count} organisation(s) it lacks what was sealed; of {first} \
         {lost} events were sealed, {there} are here. If a backup was put back on purpose, start once with \
         `countersign serve --accept-restored-database`: all that is pending is then cancelled"
    )]
    Older {
        /// How many organisations' logs have lost something.
        count: usize,
        /// One of them.
        first: TenantId,
        /// How many of its events were sealed.
        lost: u64,
        /// How many there are.
        there: u64,
    },
}

/// A log that has lost something.
#[derive(Debug)]
struct Lost {
    tenant_id: TenantId,
    kept: Checkpoint,
    there: u64,
}

impl Audit {
    /// Makes sure, before anybody is served, that the database is not older than what left the machine. With
    /// `is_accepted` voids what is pending, writes down what was lost, and puts the old checkpoints aside.
    ///
    /// # Errors
    /// [`RestoredError`].
    pub async fn check_not_older(
        &self,
        is_accepted: bool,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(), RestoredError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut lost = Vec::new();
        for (tenant_id, note) in folder::read_all(folder).await.map_err(RestoredError::Folder)? {
            let kept = self.open(tenant_id, &note).map_err(|_| RestoredError::Foreign(tenant_id))?;
            let (size, root) = (kept.size, kept.root);
            match self.is_lost(tenant_id, kept).await? {
                Some(found) => lost.push(found),
                None => self.remember(tenant_id, size, root),
            }
        }
        self.has_read_folder.store(true, Ordering::SeqCst);
        let Some(first) = lost.first() else { return Ok(()) };
        if !is_accepted {
            let (first, lost_size, there) = (first.tenant_id, first.kept.size, first.there);
            return Err(RestoredError::Older { count: lost.len(), first, lost: lost_size, there });
        }
        let stamp = |tenant_id| Stamp {
            command_id: new_id(now, entropy),
            actor: Actor::Operator,
            tenant_id,
            request_id: "start".to_owned(),
            at: now,
        };
        self.void(&stamp).await?;
        for Lost { tenant_id, kept, there } in lost {
            let lost_root = kept.root.to_string();
            let command = RecordRestored { stamp: stamp(tenant_id), lost_size: kept.size, lost_root, size: there };
            // An organisation that the backup does not know has no log to write this into.
            if self.store.tenant(tenant_id).await?.is_some() {
                self.store.record_restored(command).await?;
            }
            let aside = folder::put_aside(folder, tenant_id, kept.size, now.as_seconds()).await;
            let aside = aside.map_err(RestoredError::Folder)?;
            tracing::warn!(tenant.id = %tenant_id, sealed = kept.size, found = there, kept_as = %aside.display(),
                "an older database is accepted");
        }
        Ok(())
    }

    async fn is_lost(&self, tenant_id: TenantId, kept: Checkpoint) -> Result<Option<Lost>, StoreError> {
        let head = match self.head(tenant_id).await {
            Ok(head) => head.checkpoint,
            Err(AuditError::Store(error)) => return Err(error),
            Err(_) => return Ok(Some(Lost { tenant_id, kept, there: 0 })),
        };
        let continues = head.size >= kept.size
            && match self.begins_with(tenant_id, head.size, head.root, kept.size, kept.root).await {
                Ok(continues) => continues,
                Err(AuditError::Store(error)) => return Err(error),
                Err(_) => false,
            };
        Ok((!continues).then_some(Lost { tenant_id, kept, there: head.size }))
    }

    /// Ends all that waits, of every organisation: each may have ended differently in what was lost.
    async fn void(&self, stamp: &(dyn Fn(TenantId) -> Stamp + Sync)) -> Result<(), StoreError> {
        loop {
            let mut has_ended = false;
            for due in self.store.due_challenges(Timestamp::NEVER, PORTION).await? {
                let close = |how| {
                    let stamp = stamp(due.tenant_id);
                    self.store.close_challenge(CloseChallenge {
                        stamp,
                        challenge_id: due.id,
                        user_id: due.user_id,
                        how,
                    })
                };
                // By now it may also have run out.
                for how in [Close::DatabaseRestored, Close::Expire] {
                    has_ended |= matches!(close(how).await?, CloseOutcome::Closed);
                }
            }
            for due in self.store.due_enrollments(Timestamp::NEVER, PORTION).await? {
                let cancelled = self.store.cancel_enrollment(stamp(due.tenant_id), due.id).await?;
                has_ended |= matches!(cancelled, CancelEnrollmentOutcome::Cancelled);
                has_ended |= self.store.expire_enrollment(stamp(due.tenant_id), due.id).await?;
            }
            has_ended |= self.store.expire_notifications(Timestamp::NEVER, PORTION).await? > 0;
            if !has_ended {
                return Ok(());
            }
        }
    }
}
