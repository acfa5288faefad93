//! What is known of each log from before: what this process has seen of it, and what the folder of checkpoints holds.
//! Whatever head comes later has to continue that; and the folder always gets the newest one.
//!
//! What is known is read *before* the head that is compared with it: the other way round a head would look put back that
//! was only overtaken in between. The folder is nobody's hindrance: one writer goes through it, and whoever seals only
//! says whose turn it is. To remember one more thing of a log: a member of `Audit`, its comparison in `compare`.

use std::{
    collections::BTreeSet,
    io,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use countersign_core::ports::StoreError;
use countersign_proto::{audit::Hash, ids::TenantId};

use super::{Audit, AuditError, folder};
use crate::alarm;

/// Logs that are looked at each time, one after the other: also those in which nothing happens.
const LOOKED_AROUND: u32 = 20;

/// Size and root.
pub(super) type Known = (u64, Hash);

/// Why a checkpoint is not in the folder.
enum Unwritten {
    Folder(io::Error),
    Audit(AuditError),
}

impl From<AuditError> for Unwritten {
    fn from(error: AuditError) -> Self {
        Self::Audit(error)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Audit {
    /// What a head that is read from now on must continue. Of a process that has not read the whole folder at its start
    /// (the command line) also what is there.
    pub(super) async fn known(&self, tenant_id: TenantId) -> Result<Option<Known>, AuditError> {
        let seen = lock(&self.seen).get(&tenant_id).copied();
        if seen.is_some() || self.has_read_folder.load(Ordering::SeqCst) {
            return Ok(seen);
        }
        // Nothing is signed that may contradict what was.
        let distrust = || self.distrust(tenant_id, "audit_checkpoint_file");
        let Some(folder) = &self.folder else { return Ok(None) };
        let Some(note) = folder::read(folder, tenant_id).await.map_err(|_| distrust())? else { return Ok(None) };
        let checkpoint = self.open(tenant_id, &note).map_err(|_| distrust())?;
        Ok(Some((checkpoint.size, checkpoint.root)))
    }

    /// Whether this head continues what was known before it was read.
    pub(super) async fn compare(
        &self,
        tenant_id: TenantId,
        known: Option<Known>,
        (size, root): Known,
    ) -> Result<(), AuditError> {
        let continues = match known {
            None => true,
            Some((known_size, _)) if known_size > size => false,
            Some((known_size, known_root)) if known_size == size => known_root == root,
            // Another node has sealed meanwhile.
            Some((known_size, known_root)) => self.begins_with(tenant_id, size, root, known_size, known_root).await?,
        };
        if continues {
            self.remember(tenant_id, size, root);
            return Ok(());
        }
        if !self.is_halted.swap(true, Ordering::SeqCst) {
            alarm::raise("audit_rolled_back", &tenant_id.to_string());
        }
        Err(AuditError::RolledBack)
    }

    /// Heads only grow.
    pub(super) fn remember(&self, tenant_id: TenantId, size: u64, root: Hash) {
        let mut seen = lock(&self.seen);
        let known = seen.entry(tenant_id).or_insert((size, root));
        if known.0 < size {
            *known = (size, root);
        }
    }

    /// Looks at a few logs, whoever seals them: a database that is put back is noticed on every node, and a checkpoint
    /// that is not in the folder gets there.
    ///
    /// # Errors
    /// [`AuditError::RolledBack`]; or the store does not answer.
    pub async fn look_around(&self) -> Result<(), AuditError> {
        for tenant_id in self.next_to_look_at().await? {
            match self.look_at(tenant_id).await {
                // Its alarm was raised; there are others.
                Ok(()) | Err(AuditError::Distrusted(_) | AuditError::BeyondEnd) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn look_at(&self, tenant_id: TenantId) -> Result<(), AuditError> {
        let known = self.known(tenant_id).await?;
        let head = match self.head(tenant_id).await {
            Ok(head) => (head.checkpoint.size, head.checkpoint.root),
            Err(AuditError::BeyondEnd) => (0, Hash::of_nothing()),
            Err(error) => return Err(self.without_corruption(tenant_id, error)),
        };
        self.compare(tenant_id, known, head).await?;
        self.is_due(tenant_id);
        Ok(())
    }

    async fn next_to_look_at(&self) -> Result<BTreeSet<TenantId>, StoreError> {
        let after = *lock(&self.looked_at);
        let page = self.store.tenants_with_logs(after, LOOKED_AROUND).await?;
        // Past the last one it begins again.
        let last = page.last().copied().filter(|_| page.len() >= LOOKED_AROUND as usize);
        let mut next: BTreeSet<_> = page.into_iter().collect();
        // Also those that the database does not know any more.
        let (from, to) =
            (after.map_or(Bound::Unbounded, Bound::Excluded), last.map_or(Bound::Unbounded, Bound::Included));
        next.extend(lock(&self.seen).range((from, to)).map(|(id, _)| *id));
        *lock(&self.looked_at) = last;
        Ok(next)
    }

    /// An organisation's checkpoint may not be in the folder: the writer looks.
    pub(super) fn is_due(&self, tenant_id: TenantId) {
        if self.folder.is_some() {
            lock(&self.unwritten).insert(tenant_id);
        }
    }

    /// Brings the newest checkpoints to the folder, if there is one, each only in the place of an older one that it
    /// continues; `false` if one could not be written: it is tried again. Never in the way of anything else.
    pub async fn write_out(&self) -> bool {
        let Some(folder) = &self.folder else { return true };
        // Of two that write the same file one would look before the other has written.
        let _turn = self.writing.lock().await;
        let due: Vec<_> = lock(&self.unwritten).iter().copied().collect();
        let mut is_done = true;
        for tenant_id in due {
            // First: what is sealed while this is written is due once more.
            lock(&self.unwritten).remove(&tenant_id);
            match self.write_newest(folder, tenant_id).await {
                Ok(()) => {}
                Err(Unwritten::Folder(error)) => {
                    self.is_due(tenant_id);
                    is_done = false;
                    metrics::counter!("countersign_audit_checkpoint_failures_total").increment(1);
                    tracing::error!(tenant.id = %tenant_id, %error, "a checkpoint could not be written to its folder");
                }
                Err(Unwritten::Audit(AuditError::Store(_))) => {
                    self.is_due(tenant_id);
                    is_done = false;
                }
                // Its alarm was raised.
                Err(Unwritten::Audit(_)) => {}
            }
        }
        is_done
    }

    async fn write_newest(&self, folder: &std::path::Path, tenant_id: TenantId) -> Result<(), Unwritten> {
        let note = folder::read(folder, tenant_id).await.map_err(Unwritten::Folder)?;
        let kept = note.map(|note| self.open(tenant_id, &note)).transpose();
        let kept = kept.map_err(|_| self.distrust(tenant_id, "audit_checkpoint_file"))?;
        let kept = kept.map(|checkpoint| (checkpoint.size, checkpoint.root));
        let head = match self.head(tenant_id).await {
            Ok(head) => head,
            Err(AuditError::BeyondEnd) => {
                return Ok(self.compare(tenant_id, kept, (0, Hash::of_nothing())).await?);
            }
            Err(error) => return Err(self.without_corruption(tenant_id, error).into()),
        };
        self.compare(tenant_id, kept, (head.checkpoint.size, head.checkpoint.root)).await?;
        if kept.is_none_or(|(size, _)| size < head.checkpoint.size) {
            folder::write(folder, tenant_id, &head.note).await.map_err(Unwritten::Folder)?;
        }
        Ok(())
    }

    /// A row that cannot be read is no outage: it is one log that is not what was signed.
    pub(super) fn without_corruption(&self, tenant_id: TenantId, error: AuditError) -> AuditError {
        match error {
            AuditError::Store(StoreError::Corrupt { .. }) => self.distrust(tenant_id, "audit_row_corrupt"),
            error => error,
        }
    }

    /// Notes whether an organisation's log can be sealed, and says so when that changes.
    pub(super) fn note_stuck<T>(&self, tenant_id: TenantId, outcome: &Result<T, AuditError>) {
        let mut stuck = lock(&self.stuck);
        match outcome {
            Ok(_) => _ = stuck.remove(&tenant_id),
            Err(error) => {
                if stuck.insert(tenant_id) {
                    tracing::warn!(tenant.id = %tenant_id, %error, "a log could not be sealed; it is tried again");
                }
            }
        }
    }

    /// How many organisations' logs could not be sealed when that was tried last.
    pub fn stuck_logs(&self) -> usize {
        lock(&self.stuck).len()
    }
}
