//! A developer's key, as Apple's portal would give it out.

use std::io;

use countersign_proto::jose::PublicKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

/// A key for provider tokens: Apple knows its public half, the server its private one.
#[derive(Clone)]
pub struct DeveloperKey {
    /// Ten characters, the `kid` of its tokens.
    pub key_id: String,
    /// Ten characters, the `iss` of its tokens.
    pub team_id: String,
    /// The public half.
    pub public_key: PublicKey,
    /// The `.p8` file: PKCS #8 in PEM.
    pub private_pem: String,
}

impl DeveloperKey {
    /// A fresh one.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn generate(key_id: &str, team_id: &str) -> io::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        let public_key = PublicKey::from_sec1(key.public_key_raw()).map_err(io::Error::other)?;
        let private_pem = key.serialize_pem();
        Ok(Self { key_id: key_id.to_owned(), team_id: team_id.to_owned(), public_key, private_pem })
    }
}

impl std::fmt::Debug for DeveloperKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeveloperKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use p256::pkcs8::DecodePrivateKey as _;

    use super::*;

    #[test]
    fn the_private_half_reads_as_a_p8_file_and_belongs_to_the_public_one() {
        let key = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
        let secret = p256::SecretKey::from_pkcs8_pem(&key.private_pem).unwrap();
        assert_eq!(secret.public_key().to_sec1_bytes().as_ref(), key.public_key.to_sec1());
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
}
