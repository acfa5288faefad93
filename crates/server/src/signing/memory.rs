//! Signatures that this process has made or verified, so that it does not calculate them again.
//!
//! A challenge is signed here, read back for the response, and read back once more with the response and the binding
//! as evidence: the same texts under the same keys. Whether a signature is good depends on key, text and signature
//! alone, so a good one stays good; what is remembered is the digest of all three. Somebody who rewrites a row changes
//! the digest, and the arithmetic is done. Only that is spared: every claim is read and compared each time.
//!
//! What this process signs itself it believes as it was made. Must never remember anything but the outcome.

use countersign_core::digest::Digest;
use countersign_proto::jose::{PublicKey, VerifySignature, base64url};
use std::time::Duration;

use moka::{policy::EvictionPolicy, sync::Cache};

/// Signatures remembered at most: some 100 bytes each, and a sign-in has three.
const CAPACITY: u64 = 100_000;
/// Longer than a challenge lives and its result is told.
const REMEMBERED: Duration = Duration::from_secs(1_200);

/// See the module.
pub struct VerifiedSignatures {
    good: Cache<[u8; 32], ()>,
}

impl Default for VerifiedSignatures {
    /// Nothing remembered.
    fn default() -> Self {
        // The newest, not the most wanted: those of a sign-in are wanted twice, and then never again.
        let good = Cache::builder().max_capacity(CAPACITY).eviction_policy(EvictionPolicy::lru());
        Self { good: good.time_to_live(REMEMBERED).build() }
    }
}

impl VerifiedSignatures {
    /// Remembers a compact JWS that this process has just signed with the private half of `key`.
    pub fn remember_own(&self, key: &PublicKey, token: &str) {
        let Some((message, signature)) = token.rsplit_once('.') else { return };
        if let Some(signature) = base64url::decode(signature) {
            self.good.insert(digest(key, message.as_bytes(), &signature), ());
        }
    }
}

impl VerifySignature for VerifiedSignatures {
    fn verifies(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let digest = digest(key, message, signature);
        if self.good.get(&digest).is_some() {
            return true;
        }
        let is_good = key.verifies(message, signature);
        if is_good {
            self.good.insert(digest, ());
        }
        is_good
    }
}

/// Key and signature have fixed lengths, so no two triples spell the same bytes.
fn digest(key: &PublicKey, message: &[u8], signature: &[u8]) -> [u8; 32] {
    Digest::of([&key.to_sec1(), signature, message].concat()).0
}

#[cfg(test)]
mod tests {
    use countersign_proto::jose::SigningKey;

    use super::*;

    #[test]
    fn what_is_remembered_is_good_and_nothing_that_differs_in_a_bit_is() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let memory = VerifiedSignatures::default();
        let signature = key.signature(b"text").unwrap();
        for _ in 0..2 {
            assert!(memory.verifies(&key.public_key(), b"text", &signature));
            assert!(!memory.verifies(&key.public_key(), b"texT", &signature));
            assert!(!memory.verifies(&other.public_key(), b"text", &signature));
            let mut bent = signature;
            bent[63] ^= 1;
            assert!(!memory.verifies(&key.public_key(), b"text", &bent));
        }
    }

    #[test]
    fn a_full_memory_keeps_the_newest() {
        let key = SigningKey::generate().unwrap().public_key();
        let memory = VerifiedSignatures::default();
        let numbered = |number: u64| digest(&key, &number.to_be_bytes(), &[0; 64]);
        for number in 0..CAPACITY + CAPACITY / 4 {
            memory.good.insert(numbered(number), ());
        }
        memory.good.run_pending_tasks();
        assert!(memory.good.get(&numbered(CAPACITY + CAPACITY / 4 - 1)).is_some());
        assert!(memory.good.entry_count() <= CAPACITY);
    }

    #[test]
    fn an_own_token_is_known_and_a_changed_one_is_not() {
        let key = SigningKey::generate().unwrap();
        let memory = VerifiedSignatures::default();
        let signature = key.signature(b"a.b").unwrap();
        memory.remember_own(&key.public_key(), &format!("a.b.{}", base64url::encode(signature)));
        assert!(memory.good.contains_key(&digest(&key.public_key(), b"a.b", &signature)));
        assert!(!memory.verifies(&key.public_key(), b"a.c", &signature));
    }
}
