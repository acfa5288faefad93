//! The server's own keys: what it signs, and what proves that it did.
//!
//! The private keys live in one file (mode 0600), never in the database: who can rewrite the database can make
//! the server refuse, but not approve. The signing keys in it may change while the server runs
//! ([`ServerKeys::reload`]); what seals rows never does.
//! To add a kind that the server signs: its claims in `countersign-proto`, then [`ServerKeys::sign`].

mod key_file;
mod memory;
mod ring;
pub mod rotation;
mod seals;
mod webhook;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use countersign_core::{
    device::{KeyRole, StoredBinding},
    entropy::{Entropy, new_id},
    verify::Signer,
};
use countersign_proto::{
    ids::{BindingId, ChallengeId, DeviceId, TenantId, UserId},
    jose::{
        Claims, Jwks, Kind, PublicKey, ServerKey, SigningError, Thumbprint,
        claims::{BindingClaims, ConfirmationKey},
        verify_server_by,
    },
    timestamp::Timestamp,
    vocabulary::EnrollmentPurpose,
};

use zeroize::Zeroizing;

use self::ring::Ring;
pub use self::{
    key_file::KeyFileError,
    memory::VerifiedSignatures,
    seals::{Sealed, Seals},
    webhook::WebhookKeys,
};

/// The server's keys.
pub struct ServerKeys {
    issuer: String,
    /// Issuers that this server was before: only for whoever looks through what was signed then.
    formerly: Vec<String>,
    path: PathBuf,
    ring: RwLock<Arc<Ring>>,
    seals: Seals,
    memory: VerifiedSignatures,
    vapid_key: Zeroizing<[u8; 32]>,
}

/// The server could not sign: its key or its random source is broken. Becomes a bare 500.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SignFailure(#[from] pub countersign_proto::jose::SigningError);

impl ServerKeys {
    /// Loads the key file; makes it if `may_create` and it does not exist.
    ///
    /// # Errors
    /// [`KeyFileError`], in one line.
    pub fn open(
        path: &Path,
        may_create: bool,
        issuer: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeyFileError> {
        let file = key_file::open_or_create(path, may_create, now, entropy)?;
        let ring = Ring::of(&file).ok_or_else(|| KeyFileError::corrupt(path))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            formerly: Vec::new(),
            path: path.to_owned(),
            ring: RwLock::new(Arc::new(ring)),
            seals: Seals::new(file.mac_key()),
            memory: VerifiedSignatures::default(),
            vapid_key: file.vapid_key(),
        })
    }

    /// The same keys, for an auditor of a server that had other public URLs before: what it signed then is what it signed.
    /// A server never has any: nobody signs in by an address that it has left.
    #[must_use]
    pub fn formerly(self, issuers: Vec<String>) -> Self {
        Self { formerly: issuers, ..self }
    }

    /// Whether this server signs, or for an auditor has signed, under this name.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        issuer == self.issuer || self.formerly.iter().any(|former| former == issuer)
    }

    /// Reads the file again; whether its signing keys have changed. Who keeps what was verified forgets it then.
    ///
    /// # Errors
    /// [`KeyFileError`]: the old keys stay in use.
    pub fn reload(&self) -> Result<bool, KeyFileError> {
        let file = key_file::read(&self.path)?;
        let own = self.seals.derive("this file");
        if *Seals::new(file.mac_key()).derive("this file") != *own || *file.vapid_key() != *self.vapid_key {
            return Err(KeyFileError::Foreign { path: self.path.clone() });
        }
        let ring = Ring::of(&file).ok_or_else(|| KeyFileError::corrupt(&self.path))?;
        // Also if only a private half has gone: what left the file leaves the memory.
        let has_changed = !self.ring().is_same(&ring);
        if has_changed {
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        }
        Ok(has_changed)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `iss` and `aud` of all signatures.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What `/.well-known/jwks.json` shows.
    pub fn jwks(&self) -> Jwks {
        self.ring().published.clone()
    }

    /// Finds one of our public keys, for verification.
    pub fn find(&self, thumbprint: &Thumbprint) -> Option<ServerKey> {
        self.ring().find(thumbprint)
    }

    /// Reads a token that we signed.
    ///
    /// # Errors
    /// We did not sign this.
    pub fn verify<C: Claims>(&self, token: &str) -> Result<C, countersign_proto::jose::Refusal> {
        verify_server_by(token, &|thumbprint| self.find(thumbprint), &self.memory)
    }

    /// Signs the claims of a kind.
    ///
    /// # Errors
    /// [`SignFailure`].
    pub fn sign<C: Claims>(&self, claims: &C) -> Result<String, SignFailure> {
        let ring = self.ring();
        let key = ring.signer_at(claims.iat()).ok_or(SigningError::Library)?;
        let token = key.sign(C::KIND, claims)?;
        // What is read back; results only go out.
        if matches!(C::KIND, Kind::Challenge | Kind::Binding) {
            self.memory.remember_own(&key.public_key(), &token);
        }
        Ok(token)
    }

    /// Whether the key in use signs what its published half verifies.
    ///
    /// # Errors
    /// [`SignFailure`].
    pub fn check_signing(&self, now: Timestamp) -> Result<(), SignFailure> {
        let text = b"countersign readiness";
        let ring = self.ring();
        let key = ring.signer_at(now.as_seconds()).ok_or(SigningError::Library)?;
        let signature = key.signature(text)?;
        let is_good = key.public_key().verifies(text, &signature);
        if is_good { Ok(()) } else { Err(SignFailure(SigningError::Library)) }
    }

    /// Signs the statement that these keys are this device's (protocol 4.5).
    ///
    /// # Errors
    /// [`SignFailure`].
    pub fn sign_binding(
        &self,
        subject: &BindingSubject<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<StoredBinding, SignFailure> {
        let id: BindingId = new_id(now, entropy);
        let claims = BindingClaims {
            iss: self.issuer.clone(),
            aud: subject.device_id.to_string(),
            sub: subject.user_id.to_string(),
            tenant: subject.tenant_id.to_string(),
            external_id: subject.external_id.to_owned(),
            iat: now.as_seconds(),
            jti: id.to_string(),
            cnf: ConfirmationKey { jwk: subject.device_key.to_jwk() },
            uv_jwk: subject.uv_key.map(PublicKey::to_jwk),
            purpose: Some(subject.purpose).filter(|purpose| *purpose != EnrollmentPurpose::Approval),
        };
        Ok(StoredBinding { id, jws: self.sign(&claims)? })
    }

    /// What we signed, if it says that `key` is this device's key of this role.
    pub fn binds(&self, binding: &StoredBinding, signer: &Signer, key: &PublicKey) -> Option<BindingClaims> {
        let claims = self.verify::<BindingClaims>(&binding.jws).ok()?;
        let jwk = match signer.role {
            KeyRole::Device => Some(&claims.cnf.jwk),
            KeyRole::UserVerification => claims.uv_jwk.as_ref(),
        };
        let is_theirs = self.is_issuer(&claims.iss)
            && claims.aud == signer.device_id.to_string()
            && claims.sub == signer.user_id.to_string()
            && claims.tenant == signer.tenant_id.to_string()
            && claims.jti == binding.id.to_string()
            && jwk == Some(&key.to_jwk());
        is_theirs.then_some(claims)
    }

    /// Whether `number` is the one that we signed into the challenge as `number_mac`.
    pub fn is_right_number(&self, number_mac: Option<&str>, challenge_id: ChallengeId, number: &str) -> bool {
        number_mac.is_some_and(|mac| self.seals.holds(mac, &Sealed::Number { challenge_id, number }))
    }

    /// The private key of Web Push (RFC 8292).
    pub fn vapid_key(&self) -> Zeroizing<[u8; 32]> {
        self.vapid_key.clone()
    }

    /// Verifies signatures that will be verified again, of ours and of devices.
    pub const fn memory(&self) -> &VerifiedSignatures {
        &self.memory
    }

    /// MACs over rows that carry no signature.
    pub const fn seals(&self) -> &Seals {
        &self.seals
    }
}

/// Whose keys a binding states.
#[derive(Debug, Clone, Copy)]
pub struct BindingSubject<'a> {
    /// The device.
    pub device_id: DeviceId,
    /// Its user.
    pub user_id: UserId,
    /// Its organisation.
    pub tenant_id: TenantId,
    /// The tenant's id of the user.
    pub external_id: &'a str,
    /// What it is for.
    pub purpose: EnrollmentPurpose,
    /// Its key.
    pub device_key: &'a PublicKey,
    /// Its second key.
    pub uv_key: Option<&'a PublicKey>,
}

impl std::fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerKeys").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
