//! ES256 tokens for providers (RFC 7515, 7518 section 3.4), signed deterministically (RFC 6979): the same key and
//! claims give the same bytes on every node and after every restart, with nothing shared but the key.
//!
//! Only signs, and only for providers: the protocol's own artefacts are `countersign-proto`'s.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::DecodePrivateKey as _,
};
use serde::Serialize;

/// A private P-256 key. Wiped when dropped; not printable.
pub(crate) struct Key(SigningKey);

impl Key {
    /// From PKCS#8 PEM.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        p256::SecretKey::from_pkcs8_pem(pem.trim()).ok().map(|key| Self(SigningKey::from(key)))
    }

    /// From the scalar.
    pub(crate) fn from_scalar(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    /// The public key: the uncompressed point, 65 bytes in b64u.
    pub(crate) fn public_b64u(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.verifying_key().to_sec1_point(false).as_bytes())
    }

    /// A compact JWS over `header` and `claims`.
    pub(crate) fn sign(&self, header: &impl Serialize, claims: &impl Serialize) -> String {
        let part = |value: Vec<u8>| URL_SAFE_NO_PAD.encode(value);
        // Structs of strings and numbers always serialise; an empty part would be refused by the provider.
        let header = part(serde_json::to_vec(header).unwrap_or_default());
        let claims = part(serde_json::to_vec(claims).unwrap_or_default());
        let mut token = format!("{header}.{claims}");
        let signature: Signature = self.0.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.to_bytes(), &mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_claims_are_the_same_token_and_it_verifies() {
        use p256::ecdsa::signature::Verifier as _;
        let key = Key::from_scalar(&[7; 32]).unwrap();
        let token = key.sign(&("ES256",), &[1, 2, 3]);
        assert_eq!(token, Key::from_scalar(&[7; 32]).unwrap().sign(&("ES256",), &[1, 2, 3]));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        key.0.verifying_key().verify(signed.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert!(Key::from_scalar(&[0; 32]).is_none());
        assert!(Key::from_scalar(&[255; 32]).is_none());
        assert!(Key::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").is_none());
    }
}
