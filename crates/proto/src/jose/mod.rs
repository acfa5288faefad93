//! The strict JOSE profile: protocol section 2 (RFC 7515, 7518, 7519, 8725), correct by construction.
//!
//! A token goes one way only: [`Unverified::parse`] (rules 1–3, no claim is looked at), then
//! [`Unverified::verify`] with the key that its header names (rules 4 and 5), then [`Verified::claims`]
//! (rule 6); there is no other path to a claim. The server reads devices with it, devices and offline
//! verifiers read the server with it, and both sign with [`SigningKey`].
//!
//! This module must never choose an algorithm, a kind or a key by what a token says, never take a claim
//! from a token whose signature it has not checked, and never key anything on signature bytes (both `s` and
//! `n − s` verify). It knows neither clock nor registry: callers bring the time and find the key.
//!
//! To add a kind: a variant of [`Kind`] with its arms, its claims in [`claims`] with their
//! [`Claims`] line, and a sample in `tests/samples.rs`; the tests then try it against every other kind and
//! every wrong type.

pub mod base64url;
pub mod claims;
mod jwks;
mod key;
mod kind;
mod refusal;
mod rules;
mod signing;
mod token;

#[cfg(test)]
pub(crate) mod tests;

pub use self::claims::Claims;
pub use self::jwks::{Jwks, ServerJwk, ServerKey, verify_server, verify_server_by};
pub use self::key::{Arithmetic, InvalidKey, InvalidThumbprint, Jwk, PublicKey, Thumbprint, VerifySignature};
pub use self::kind::{KeyMember, Kind};
pub use self::refusal::Refusal;
pub use self::rules::{BrokenRule, check_audience, check_iat, check_jti};
pub use self::signing::{SigningError, SigningKey};
pub use self::token::{HeaderKey, Unverified, Verified};

/// b64u SHA-256 of an artefact's exact text, as `challenge_sha256` carries it (protocol 7.1).
pub fn sha256(text: impl AsRef<[u8]>) -> String {
    base64url::encode(digest(text.as_ref()))
}

/// SHA-256 by the library that verifies the signatures: on processors without instructions for it, twice as fast as
/// one in plain Rust.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    let computed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.copy_from_slice(computed.as_ref());
    digest
}
