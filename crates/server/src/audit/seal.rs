//! Seals: gives events their positions, appends them to the tree, signs its head.
//!
//! Safe beside other sealers, and after a crash anywhere: the head moves in one conditional write, from the size that was
//! found; whoever comes second starts again from what is there then. Events, tiles and head are read from a database
//! that may have been rewritten: a head that is not signed, tiles that do not lead to its root, a log that is shorter
//! than it was, end it. An event that was changed *before* it was sealed is sealed as it is found.

use countersign_core::ports::audit::{SealAudit, StoredTile};
use countersign_proto::{
    audit::{Checkpoint, Hash, Tiles, leaf_hash_of},
    ids::TenantId,
    timestamp::Timestamp,
};

use super::{Audit, AuditError, Head, shown};

/// Events in one seal.
const PORTION: u32 = 1_000;
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
        let sealed = self.seal_portion(tenant_id, now).await;
        let sealed = sealed.map_err(|error| self.without_corruption(tenant_id, error));
        self.note_stuck(tenant_id, &sealed);
        sealed
    }

    async fn seal_portion(&self, tenant_id: TenantId, now: Timestamp) -> Result<Sealed, AuditError> {
        if self.is_halted() {
            return Err(AuditError::RolledBack);
        }
        // Before anything else is read: see `kept.rs`.
        let known = self.known(tenant_id).await?;
        let positioned = self.store.position_events(tenant_id, PORTION).await?;
        let Some(stored) = self.store.audit_head(tenant_id).await? else {
            self.compare(tenant_id, known, (0, Hash::of_nothing())).await?;
            return Ok(Sealed { head: None, has_more: false });
        };
        let head = self.believe(tenant_id, &stored)?;
        let root = head.as_ref().map_or_else(Hash::of_nothing, |head| head.checkpoint.root);
        self.compare(tenant_id, known, (stored.size, root)).await?;
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
        self.is_due(tenant_id);
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
}
