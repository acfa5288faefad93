//! The secrets of webhooks, and the signatures that they make (Standard Webhooks: `v1` and `v1a`).
//!
//! A secret is never stored: it follows from the key file, the webhook's id and an id of its own, a new one with each
//! rotation: no secret ever comes back, not even after an old database was put back. Who reads the database learns none; who loses the key file loses them all. To add a scheme: its key here, its
//! identifier in [`WebhookKeys::signatures`].

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_proto::{
    ids::{WebhookId, WebhookSecretId},
    jose::SigningError,
};
use zeroize::Zeroizing;

use super::{Seals, SignFailure};

/// One of a webhook's secrets, with the key that goes with it.
pub struct WebhookKeys {
    secret: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl WebhookKeys {
    /// The keys that follow from this id.
    ///
    /// # Errors
    /// [`SignFailure`].
    pub fn of(seals: &Seals, webhook_id: WebhookId, secret_id: WebhookSecretId) -> Result<Self, SignFailure> {
        let secret = seals.derive(&format!("webhook secret {webhook_id} {secret_id}"));
        let seed = seals.derive(&format!("webhook key {webhook_id} {secret_id}"));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| SigningError::Library)?;
        Ok(Self { secret, pair })
    }

    /// `whsec_` and base64: verifies `v1`. Shown once.
    pub fn secret(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.secret.as_slice()))
    }

    /// `whpk_` and base64: verifies `v1a`.
    pub fn public_key(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.pair.public_key().as_ref()))
    }

    /// Both signatures of a message, with a blank between them.
    ///
    /// An id of ours is a UUID and a timestamp digits: neither has the full stop that parts them from what follows.
    pub fn signatures(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice()), &signed);
        let signature = self.pair.sign(&signed);
        format!("v1,{} v1a,{}", STANDARD.encode(tag.as_ref()), STANDARD.encode(signature.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use countersign_core::entropy::new_id;
    use countersign_proto::timestamp::Timestamp;

    use super::*;
    use crate::entropy::SystemEntropy;

    fn id<K>() -> countersign_proto::ids::Id<K> {
        new_id(Timestamp::from_seconds(1_800_000_000), &SystemEntropy::default())
    }

    fn decoded(text: &str, prefix: &str) -> Vec<u8> {
        STANDARD.decode(text.strip_prefix(prefix).unwrap()).unwrap()
    }

    #[test]
    fn each_webhook_and_each_rotation_has_keys_of_its_own_and_the_same_ones_each_time() {
        let seals = Seals::new(b"key file");
        let (one, other) = (id(), id());
        let (secret, rotated) = (id(), id());
        let keys = |seals: &Seals, id, secret| {
            let keys = WebhookKeys::of(seals, id, secret).unwrap();
            (keys.secret(), keys.public_key())
        };
        let first = keys(&seals, one, secret);
        assert_eq!(first, keys(&seals, one, secret));
        let others =
            [keys(&seals, one, rotated), keys(&seals, other, secret), keys(&Seals::new(b"another"), one, secret)];
        assert!(others.iter().all(|keys| keys.0 != first.0 && keys.1 != first.1));
        assert_eq!(decoded(&first.0, "whsec_").len(), 32);
        assert_ne!(decoded(&first.0, "whsec_"), decoded(&first.1, "whpk_"));
    }

    #[test]
    fn both_signatures_are_over_the_id_the_time_and_the_body() {
        let keys = WebhookKeys::of(&Seals::new(b"key file"), id(), id()).unwrap();
        let header = keys.signatures("message", 1_800_000_000, b"{\"type\":\"x\"}");
        let signed = b"message.1800000000.{\"type\":\"x\"}";
        let (symmetric, asymmetric) = header.split_once(' ').unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &decoded(&keys.secret(), "whsec_"));
        assert!(hmac::verify(&secret, signed, &decoded(symmetric, "v1,")).is_ok());
        let public_key = UnparsedPublicKey::new(&ED25519, decoded(&keys.public_key(), "whpk_"));
        assert!(public_key.verify(signed, &decoded(asymmetric, "v1a,")).is_ok());
        assert!(public_key.verify(b"message.1800000001.{\"type\":\"x\"}", &decoded(asymmetric, "v1a,")).is_err());
    }
}
