//! The profile, attacked. Every forged token here is properly signed unless the test is about the signature:
//! what is refused is refused for the reason under test.

use serde_json::{Value, json};

use super::claims::*;
use super::*;

mod claim_types;
mod headers;
mod keys;
mod kinds;
mod payloads;
pub(crate) mod samples;
mod shapes;
mod signatures;
mod vectors;

/// A key that is the same in every run; `seed` from 1.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_private_bytes(&[seed; 32]).unwrap()
}

/// Signs any header and payload, however wrong.
fn forge(key: &SigningKey, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
    let signature = key.signature(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url::encode(signature))
}

/// The header that this kind should have.
fn header(key: &SigningKey, kind: Kind) -> Value {
    match kind.key_member() {
        KeyMember::Kid => json!({"alg": "ES256", "typ": kind.typ(), "kid": key.thumbprint()}),
        KeyMember::Jwk => json!({"alg": "ES256", "typ": kind.typ(), "jwk": key.public_key().to_jwk()}),
    }
}

/// Why `token` is not even parsed.
fn refusal(kind: Kind, token: &(impl AsRef<[u8]> + ?Sized)) -> Refusal {
    Unverified::parse(kind, token).unwrap_err()
}

/// Reads the claims of a token as a holder of `key` sent it, as JSON.
fn read(kind: Kind, key: &SigningKey, token: &str) -> Result<Value, Refusal> {
    fn claims<C: Claims>(verified: &Verified<'_>) -> Result<Value, Refusal> {
        let claims: C = verified.claims()?;
        let read = serde_json::to_value(&claims).unwrap();
        // Whoever asks when a token was signed is told what was signed.
        assert_eq!(read["iat"], json!(claims.iat()));
        Ok(read)
    }
    let verified = Unverified::parse(kind, token)?.verify(&key.public_key())?;
    match kind {
        Kind::Registration => claims::<RegistrationClaims>(&verified),
        Kind::Proof => claims::<ProofClaims>(&verified),
        Kind::Response => claims::<ResponseClaims>(&verified),
        Kind::PushUpdate => claims::<PushUpdateClaims>(&verified),
        Kind::KeyRotation => claims::<KeyRotationClaims>(&verified),
        Kind::KeyProof => claims::<KeyProofClaims>(&verified),
        Kind::Deregistration => claims::<DeregistrationClaims>(&verified),
        Kind::Dispute => claims::<DisputeClaims>(&verified),
        Kind::ClientProof => claims::<ClientProofClaims>(&verified),
        Kind::Binding => claims::<BindingClaims>(&verified),
        Kind::Challenge => claims::<ChallengeClaims>(&verified),
        Kind::Result => claims::<ResultClaims>(&verified),
        Kind::Policy => claims::<PolicyClaims>(&verified),
    }
}
