//! Devices' keys, believed only with the server's own signature over them (protocol 4.5).
//!
//! A key and its binding never change, so what was verified once may be kept. Whether the device is active and
//! the key still its current one does change: [`Keyring::fresh`] reads it, and the store's conditional write
//! requires it. A key of a device that was active, without a valid binding, is an unknown key and an alarm:
//! nobody who can write the database can bring a key in.

use std::{sync::Arc, time::Duration};

use countersign_core::{
    device::{DeviceVersions, StoredBinding, StoredKey},
    ports::{Store, StoreError},
    verify::Signer,
};
use countersign_proto::{
    ids::UserId,
    jose::{PublicKey, Thumbprint},
    timestamp::Timestamp,
    vocabulary::DeviceStatus,
};
use moka::sync::Cache;

use crate::{alarm, signing::ServerKeys};

/// Keys kept at most: about 1 KiB each.
const CAPACITY: u64 = 100_000;
/// Kept so long at most: a statement names its person, whom another node may have been told to forget.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// A key that the server has signed to be a device's.
#[derive(Debug, Clone)]
pub struct BoundKey {
    /// Whose key.
    pub signer: Signer,
    /// The key.
    pub public_key: PublicKey,
    /// The tenant's id of the user, as the statement says.
    pub external_id: String,
    /// Whether the device answers challenges, as the statement says.
    pub answers: bool,
    /// When the statement was made, in Unix seconds.
    pub bound_at: i64,
    /// The statement.
    pub binding: StoredBinding,
}

/// A key with what its device is right now.
#[derive(Debug, Clone)]
pub struct FreshKey {
    /// Whose key.
    pub signer: Signer,
    /// The key.
    pub public_key: PublicKey,
    /// The device now.
    pub status: DeviceStatus,
    /// When the device was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Present once the device became active.
    pub bound: Option<Arc<BoundKey>>,
    /// How old the device is, as it told.
    pub versions: DeviceVersions,
    /// Whether the device's organisation has been disabled.
    pub is_tenant_disabled: bool,
}

/// The keys.
pub struct Keyring {
    store: Arc<dyn Store>,
    keys: Arc<ServerKeys>,
    verified: Cache<Thumbprint, Arc<BoundKey>>,
}

impl Keyring {
    /// An empty ring over the store.
    pub fn new(store: Arc<dyn Store>, keys: Arc<ServerKeys>) -> Self {
        Self { store, keys, verified: Cache::builder().max_capacity(CAPACITY).time_to_live(KEPT).build() }
    }

    /// A bound key, perhaps from memory: for responses, whose write requires that it is still current.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn bound(&self, thumbprint: &Thumbprint) -> Result<Option<Arc<BoundKey>>, StoreError> {
        if let Some(known) = self.verified.get(thumbprint) {
            return Ok(Some(known));
        }
        Ok(self.fresh(thumbprint).await?.and_then(|key| key.bound))
    }

    /// The key and its device's state, read now. `None`: unknown, replaced, or not signed by us.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fresh(&self, thumbprint: &Thumbprint) -> Result<Option<FreshKey>, StoreError> {
        let Some(stored) = self.store.key(thumbprint).await?.filter(|key| key.is_current) else {
            self.verified.invalidate(thumbprint);
            return Ok(None);
        };
        Ok(self.believe(thumbprint, stored))
    }

    /// Forgets a key that the store says is no longer current.
    pub fn forget(&self, thumbprint: &Thumbprint) {
        self.verified.invalidate(thumbprint);
    }

    /// Forgets what was verified: the server's own keys have changed.
    pub fn forget_all(&self) {
        self.verified.invalidate_all();
    }

    /// Forgets all keys of a person who was erased.
    pub fn forget_user(&self, id: UserId) {
        let of_user = self.verified.iter().filter(|(_, key)| key.signer.user_id == id);
        of_user.for_each(|(thumbprint, _)| self.verified.invalidate(thumbprint.as_ref()));
    }

    fn believe(&self, thumbprint: &Thumbprint, stored: StoredKey) -> Option<FreshKey> {
        let StoredKey { device_id, tenant_id, user_id, role, device_status: status, revoked_at, .. } = stored;
        let signer = Signer { device_id, tenant_id, user_id, role };
        let public_key = PublicKey::from_sec1(&stored.public_key).ok().filter(|key| key.thumbprint() == *thumbprint);
        let Some(public_key) = public_key else {
            alarm::raise("device_key_corrupt", &device_id.to_string());
            return None;
        };
        // Until it is confirmed a device has no binding; it may do next to nothing (protocol 4.4).
        let may_lack_binding = matches!(status, DeviceStatus::PendingConfirmation | DeviceStatus::Revoked);
        let bound = match stored.binding {
            None if may_lack_binding => None,
            None => {
                alarm::raise("device_binding_missing", &device_id.to_string());
                return None;
            }
            Some(binding) => Some(self.verify(thumbprint, signer, public_key, binding)?),
        };
        let (versions, is_tenant_disabled) = (stored.versions, stored.is_tenant_disabled);
        Some(FreshKey { signer, public_key, status, revoked_at, bound, versions, is_tenant_disabled })
    }

    fn verify(
        &self,
        thumbprint: &Thumbprint,
        signer: Signer,
        public_key: PublicKey,
        binding: StoredBinding,
    ) -> Option<Arc<BoundKey>> {
        let known = self.verified.get(thumbprint).filter(|known| known.binding == binding && known.signer == signer);
        if known.is_some() {
            return known;
        }
        let Some(claims) = self.keys.binds(&binding, &signer, &public_key) else {
            self.verified.invalidate(thumbprint);
            alarm::raise("device_binding_invalid", &signer.device_id.to_string());
            return None;
        };
        let (answers, bound_at) = (claims.purpose.is_none(), claims.iat);
        let external_id = claims.external_id;
        let bound = Arc::new(BoundKey { signer, public_key, external_id, answers, bound_at, binding });
        self.verified.insert(thumbprint.clone(), Arc::clone(&bound));
        Some(bound)
    }
}
