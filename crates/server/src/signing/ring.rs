//! The signing keys as one reading of the key file gave them.
//!
//! Which key signs is a question of the `iat` that is signed, not of a clock: the newest key that signs from then on and
//! was not retired before. So a result that is told again after a rotation still carries a key that verifiers accept
//! for its time. A revoked key signs nothing.

use std::collections::HashMap;

use countersign_proto::{
    jose::{Jwks, ServerKey, SigningKey, Thumbprint},
    timestamp::Timestamp,
};

use super::key_file::KeyFile;

/// See the module.
pub(super) struct Ring {
    pub(super) published: Jwks,
    by_thumbprint: HashMap<Thumbprint, ServerKey>,
    signers: Vec<Signer>,
}

struct Signer {
    key: SigningKey,
    signs_from: Timestamp,
    retired_at: Option<Timestamp>,
}

impl Ring {
    /// `None` if one of the keys is none, or none can sign.
    pub(super) fn of(file: &KeyFile) -> Option<Self> {
        let published = file.jwks();
        let mut by_thumbprint = HashMap::new();
        for key in &published.keys {
            let thumbprint: Thumbprint = key.kid.parse().ok()?;
            let found = published.find(&thumbprint)?;
            by_thumbprint.insert(thumbprint, found);
        }
        let live = file.keys.iter().filter(|entry| entry.revoked_at.is_none());
        let signers: Vec<_> = live
            .filter_map(|entry| {
                let (signs_from, retired_at) = (entry.signs_from, entry.retired_at);
                entry.signing_key().map(|key| Signer { key, signs_from, retired_at })
            })
            .collect();
        (!signers.is_empty()).then_some(Self { published, by_thumbprint, signers })
    }

    /// Whether it publishes the same, and signs with the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let names = |ring: &Self| ring.signers.iter().map(|signer| signer.key.thumbprint().clone()).collect::<Vec<_>>();
        self.published == other.published && names(self) == names(other)
    }

    pub(super) fn find(&self, thumbprint: &Thumbprint) -> Option<ServerKey> {
        self.by_thumbprint.get(thumbprint).copied()
    }

    /// The key that signs what says `iat`, unix seconds. Before all keys it is the oldest: a clock that was set back
    /// must not silence the server.
    pub(super) fn signer_at(&self, iat: i64) -> Option<&SigningKey> {
        let is_live = |signer: &&Signer| signer.retired_at.is_none_or(|retired_at| iat <= retired_at.as_seconds());
        let due = self.signers.iter().filter(is_live).filter(|signer| signer.signs_from.as_seconds() <= iat);
        let due = due.max_by_key(|signer| signer.signs_from);
        let signer = due.or_else(|| self.signers.iter().filter(is_live).min_by_key(|signer| signer.signs_from));
        signer.map(|signer| &signer.key)
    }
}
