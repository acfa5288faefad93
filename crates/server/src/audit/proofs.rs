//! Proofs from the tiles: that an event is in the log, that a later log continues an earlier one.
//!
//! Each is verified against the signed head before it leaves: tiles that were rewritten prove nothing.

use std::ops::Range;

use countersign_core::ports::audit::AuditHead;
use countersign_proto::{
    audit::{Hash, Tiles, consistency_path, inclusion_path, verify_consistency, verify_inclusion},
    ids::TenantId,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Audit, AuditError, Head};

/// That an event is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InclusionProof {
    /// The event's position; its leaf has the index `position` − 1.
    pub position: u64,
    /// Of how many events.
    pub size: u64,
    /// The event's leaf, base64.
    #[schema(value_type = String)]
    pub leaf: Hash,
    /// The root of the tree of that size, base64.
    #[schema(value_type = String)]
    pub root: Hash,
    /// RFC 9162 section 2.1.3, base64.
    #[schema(value_type = Vec<String>)]
    pub hashes: Vec<Hash>,
}

/// That a log continues an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsistencyProof {
    /// The size of the earlier one.
    pub from: u64,
    /// Of the later one.
    pub to: u64,
    /// The root of the earlier one, base64.
    #[schema(value_type = String)]
    pub from_root: Hash,
    /// Of the later one.
    #[schema(value_type = String)]
    pub to_root: Hash,
    /// RFC 9162 section 2.1.4, base64.
    #[schema(value_type = Vec<String>)]
    pub hashes: Vec<Hash>,
}

impl Audit {
    /// Proves that the event at `position` is among the first `size`, or all that are sealed.
    ///
    /// # Errors
    /// [`AuditError::BeyondEnd`]; else as the others.
    pub async fn inclusion(
        &self,
        tenant_id: TenantId,
        position: u64,
        size: Option<u64>,
    ) -> Result<InclusionProof, AuditError> {
        let head = self.head(tenant_id).await?;
        let size = size.unwrap_or(head.checkpoint.size);
        if position == 0 || position > size || size > head.checkpoint.size {
            return Err(AuditError::BeyondEnd);
        }
        let index = position - 1;
        let root = self.root_at(tenant_id, &head, size).await?;
        let path = inclusion_path(index, size);
        let mut ranges = path.clone();
        ranges.push(index..position);
        let mut hashes = self.hashes(tenant_id, &ranges).await?;
        let leaf = hashes.pop().ok_or(AuditError::BeyondEnd)?;
        if !verify_inclusion(leaf, index, size, &hashes, root) {
            return Err(self.distrust(tenant_id, "audit_tree"));
        }
        Ok(InclusionProof { position, size, leaf, root, hashes })
    }

    /// Proves that the log of `to` events, or all that are sealed, begins with that of `from`.
    ///
    /// # Errors
    /// [`AuditError::BeyondEnd`]; else as the others.
    pub async fn consistency(
        &self,
        tenant_id: TenantId,
        from: u64,
        to: Option<u64>,
    ) -> Result<ConsistencyProof, AuditError> {
        let head = self.head(tenant_id).await?;
        let to = to.unwrap_or(head.checkpoint.size);
        if from == 0 || from > to || to > head.checkpoint.size {
            return Err(AuditError::BeyondEnd);
        }
        let to_root = self.root_at(tenant_id, &head, to).await?;
        let from_root = self.hashes(tenant_id, std::slice::from_ref(&(0..from))).await?;
        let from_root = from_root.first().copied().ok_or(AuditError::BeyondEnd)?;
        let hashes = self.hashes(tenant_id, &consistency_path(from, to)).await?;
        if !verify_consistency(from, from_root, to, to_root, &hashes) {
            return Err(self.distrust(tenant_id, "audit_tree"));
        }
        Ok(ConsistencyProof { from, to, from_root, to_root, hashes })
    }

    /// Whether the tree of `size` with this root begins with that of `old_size` and `old_root`.
    pub(super) async fn begins_with(
        &self,
        tenant_id: TenantId,
        size: u64,
        root: Hash,
        old_size: u64,
        old_root: Hash,
    ) -> Result<bool, AuditError> {
        let hashes = self.hashes(tenant_id, &consistency_path(old_size, size)).await?;
        Ok(verify_consistency(old_size, old_root, size, root, &hashes))
    }

    /// The hashes of the perfect subtrees over the first `size` events.
    pub(super) async fn peaks(&self, tenant_id: TenantId, size: u64) -> Result<Vec<Hash>, AuditError> {
        let ids = Tiles::needed(std::slice::from_ref(&(0..size))).into_iter().collect();
        let tiles = self.tiles(tenant_id, ids).await?;
        tiles.peaks(size).ok_or_else(|| self.distrust(tenant_id, "audit_tree"))
    }

    /// The head that is stored, believed; unlike [`Self::newest`] it writes nothing.
    pub(super) async fn head(&self, tenant_id: TenantId) -> Result<Head, AuditError> {
        let stored: Option<AuditHead> = self.store.audit_head(tenant_id).await?;
        let head = stored.map(|stored| self.believe(tenant_id, &stored)).transpose()?.flatten();
        head.ok_or(AuditError::BeyondEnd)
    }

    /// The root at a size, of which the signed head is known to be a continuation.
    async fn root_at(&self, tenant_id: TenantId, head: &Head, size: u64) -> Result<Hash, AuditError> {
        let root = self.hashes(tenant_id, std::slice::from_ref(&(0..size))).await?;
        let root = root.first().copied().ok_or(AuditError::BeyondEnd)?;
        let (full, signed) = (head.checkpoint.size, head.checkpoint.root);
        if self.begins_with(tenant_id, full, signed, size, root).await? {
            Ok(root)
        } else {
            Err(self.distrust(tenant_id, "audit_tree"))
        }
    }

    async fn hashes(&self, tenant_id: TenantId, ranges: &[Range<u64>]) -> Result<Vec<Hash>, AuditError> {
        let tiles = self.tiles(tenant_id, Tiles::needed(ranges).into_iter().collect()).await?;
        let hashes = ranges.iter().map(|range| tiles.hash_over(range.clone())).collect::<Option<Vec<_>>>();
        hashes.ok_or_else(|| self.distrust(tenant_id, "audit_tree"))
    }
}
