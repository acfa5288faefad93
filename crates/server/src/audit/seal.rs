//! Seals: gives events their positions, appends them to the tree, signs its head.
//!
//! Safe beside other sealers, and after a crash anywhere: the head moves in one conditional write, from the size that was
//! found; whoever comes second starts again from what is there then. Events, tiles and head are read from a database
//! that may have been rewritten: a head that is not signed, tiles that do not lead to its root, a log that is shorter
//! than it was, end it. An event that was changed *before* it was sealed is sealed as it is found.

use std::{
    ops::Bound,
    sync::{PoisonError, atomic::Ordering},
};

use countersign_core::ports::audit::{SealAudit, StoredTile};
use countersign_proto::{
    audit::{Checkpoint, Hash, Tiles, leaf_hash_of},
    ids::TenantId,
    timestamp::Timestamp,
};

use super::{Audit, AuditError, Head, folder, shown};
use crate::alarm;

/// Events in one seal.
const PORTION: u32 = 1_000;
/// Quiet logs that are looked at each time.
const LOOKED_AROUND: usize = 20;
/// Seals in a row on behalf of somebody who waits; the sealer does the rest.
const PORTIONS_FOR_A_READER: usize = 5;

/// What came of sealing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The head now; `None` if nothing has happened yet.
    pub head: Option<Head>,
    /// Whether there may be more to seal.
    pub has_more: bool,
}

impl Audit {
    /// Seals at most one portion.
    ///
    /// # Errors
    /// [`AuditError`], with its alarm.
    pub async fn seal(&self, tenant_id: TenantId, now: Timestamp) -> Result<Sealed, AuditError> {
        if self.is_halted() {
            return Err(AuditError::RolledBack);
        }
        let positioned = self.store.position_events(tenant_id, PORTION).await?;
        let Some(stored) = self.store.audit_head(tenant_id).await? else {
            self.compare_with_seen(tenant_id, 0, Hash::of_nothing()).await?;
            return Ok(Sealed { head: None, has_more: false });
        };
        let head = self.believe(tenant_id, &stored)?;
        let root = head.as_ref().map_or_else(Hash::of_nothing, |head| head.checkpoint.root);
        self.compare_with_seen(tenant_id, stored.size, root).await?;
        if i64::try_from(stored.size).is_ok_and(|size| size == stored.positioned) {
            return Ok(Sealed { head, has_more: positioned >= u64::from(PORTION) });
        }
        let Some(sealed) = self.append(tenant_id, stored.size, root, now).await? else {
            // Somebody else was faster.
            return Ok(Sealed { head, has_more: true });
        };
        let has_more = i64::try_from(sealed.checkpoint.size).is_ok_and(|size| size < stored.positioned);
        self.remember(tenant_id, sealed.checkpoint.size, sealed.checkpoint.root);
        metrics::counter!("countersign_audit_seals_total").increment(1);
        self.write_out(tenant_id, &sealed.note).await;
        Ok(Sealed { head: Some(sealed), has_more: has_more || positioned >= u64::from(PORTION) })
    }

    /// The head with all that had happened when this was called, unless that is very much.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn newest(&self, tenant_id: TenantId, now: Timestamp) -> Result<Option<Head>, AuditError> {
        for _ in 1..PORTIONS_FOR_A_READER {
            let sealed = self.seal(tenant_id, now).await?;
            if !sealed.has_more {
                return Ok(sealed.head);
            }
        }
        Ok(self.seal(tenant_id, now).await?.head)
    }

    /// Looks at a few of the logs in which nothing happens: a database that is put back is noticed there, too.
    ///
    /// # Errors
    /// [`AuditError::RolledBack`]; or the store does not answer.
    pub async fn look_around(&self) -> Result<(), AuditError> {
        for tenant_id in self.next_to_look_at() {
            let Some(stored) = self.store.audit_head(tenant_id).await? else {
                self.compare_with_seen(tenant_id, 0, Hash::of_nothing()).await?;
                continue;
            };
            if let Ok(head) = self.believe(tenant_id, &stored) {
                let root = head.map_or_else(Hash::of_nothing, |head| head.checkpoint.root);
                self.compare_with_seen(tenant_id, stored.size, root).await?;
            }
        }
        Ok(())
    }

    fn next_to_look_at(&self) -> Vec<TenantId> {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let after = looked_at.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<_> = seen.range((after, Bound::Unbounded)).take(LOOKED_AROUND).map(|(id, _)| *id).collect();
        // Past the last one it begins again.
        *looked_at = next.last().copied().filter(|_| next.len() == LOOKED_AROUND);
        next
    }

    /// Writes checkpoints out that could not be written before.
    pub async fn write_out_again(&self) {
        let waiting: Vec<_> = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        for tenant_id in waiting {
            let Ok(Some(stored)) = self.store.audit_head(tenant_id).await else { continue };
            if let Ok(Some(head)) = self.believe(tenant_id, &stored) {
                self.write_out(tenant_id, &head.note).await;
            }
        }
    }

    async fn append(
        &self,
        tenant_id: TenantId,
        size: u64,
        root: Hash,
        now: Timestamp,
    ) -> Result<Option<Head>, AuditError> {
        let mut tiles = self.tiles(tenant_id, Tiles::edge(size)).await?;
        if tiles.hash_over(0..size) != Some(root) {
            return Err(self.distrust(tenant_id, "audit_tree"));
        }
        let leaves = self.leaves(tenant_id, size).await?;
        let changed = tiles.append(size, &leaves).ok_or_else(|| self.distrust(tenant_id, "audit_tree"))?;
        let new_size = size.saturating_add(leaves.len() as u64);
        // The edge of the larger tree is among what was read and what has changed.
        let root = tiles.hash_over(0..new_size).ok_or_else(|| self.distrust(tenant_id, "audit_tree"))?;
        let checkpoint = Checkpoint { origin: self.origin(tenant_id), size: new_size, root };
        let note = checkpoint.sign(&self.key);
        let command = SealAudit {
            tenant_id,
            old_size: size,
            size: new_size,
            checkpoint: note.clone(),
            sealed_at: now,
            tiles: changed.into_iter().map(|id| StoredTile { id, hashes: tiles.bytes(id) }).collect(),
        };
        let has_won = self.store.seal_audit(command).await?;
        Ok(has_won.then_some(Head { checkpoint, note }))
    }

    /// The leaves of the next events.
    async fn leaves(&self, tenant_id: TenantId, size: u64) -> Result<Vec<Hash>, AuditError> {
        let after = i64::try_from(size).map_err(|_| self.distrust(tenant_id, "audit_head_size"))?;
        let events = self.store.events(tenant_id, after, PORTION).await;
        let events = events.map_err(|error| match error {
            countersign_core::ports::StoreError::Corrupt { .. } => self.distrust(tenant_id, "audit_event_corrupt"),
            error => error.into(),
        })?;
        let mut leaves = Vec::with_capacity(events.len());
        for (event, position) in events.into_iter().zip(after.saturating_add(1)..) {
            if event.position != position {
                return Err(self.distrust(tenant_id, "audit_position"));
            }
            let leaf = serde_json::to_value(shown(event)).ok().and_then(|event| leaf_hash_of(&event).ok());
            leaves.push(leaf.ok_or_else(|| self.distrust(tenant_id, "audit_event_corrupt"))?);
        }
        if leaves.is_empty() {
            return Err(self.distrust(tenant_id, "audit_position"));
        }
        Ok(leaves)
    }

    /// Whether this head continues what this process has seen, or what the folder had when it started.
    async fn compare_with_seen(&self, tenant_id: TenantId, size: u64, root: Hash) -> Result<(), AuditError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant_id).copied();
        let (seen_size, seen_root) = match (seen, &self.folder) {
            (Some(seen), _) => seen,
            (None, None) => return Ok(self.remember(tenant_id, size, root)),
            (None, Some(folder)) => match folder::read(folder, tenant_id).await {
                Ok(None) => return Ok(self.remember(tenant_id, size, root)),
                // Nobody's sign-in waits for this; but nothing is signed that may contradict what was.
                Err(_) => return Err(self.distrust(tenant_id, "audit_checkpoint_file")),
                Ok(Some(note)) => {
                    let checkpoint = self.open(tenant_id, &note);
                    let checkpoint = checkpoint.map_err(|_| self.distrust(tenant_id, "audit_checkpoint_file"))?;
                    (checkpoint.size, checkpoint.root)
                }
            },
        };
        let continues = match seen_size.cmp(&size) {
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => seen_root == root,
            // Another node has sealed meanwhile.
            std::cmp::Ordering::Less => self.begins_with(tenant_id, size, root, seen_size, seen_root).await?,
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
    fn remember(&self, tenant_id: TenantId, size: u64, root: Hash) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(tenant_id).or_insert((size, root));
        if known.0 < size {
            *known = (size, root);
        }
    }

    /// Keeps the checkpoint off the machine, if there is a folder for that. Never in the way of anything: what could not
    /// be written is written later.
    async fn write_out(&self, tenant_id: TenantId, note: &str) {
        let Some(folder) = &self.folder else { return };
        let written = folder::write(folder, tenant_id, note).await;
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => _ = unwritten.remove(&tenant_id),
            Err(error) => {
                unwritten.insert(tenant_id);
                metrics::counter!("countersign_audit_checkpoint_failures_total").increment(1);
                tracing::error!(tenant.id = %tenant_id, %error, "a checkpoint could not be written to its folder");
            }
        }
    }
}
