//! Evidence: the three signatures that prove a decision (protocol 6.4), verified without the server.
//!
//! What a verified evidence proves: the server asked this user for this, addressed to this device; the
//! server had stated that the key is this user's device; and that key gave this decision about exactly this
//! challenge. It does not prove that the typed number was right: only the server can tell that, and does so
//! in the challenge's status and in the signed result.
//!
//! This module must never look anything up: the caller brings the server's keys.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::jose::claims::{BindingClaims, ChallengeClaims, ResponseClaims};
use crate::jose::{
    self, Arithmetic, HeaderKey, Kind, PublicKey, Refusal, ServerKey, Thumbprint, Unverified, VerifySignature,
};
use crate::vocabulary::{Decision, UserVerification};

/// How far a device's clock may be off, in seconds (rule 7).
const SKEW_SECONDS: i64 = 60;

/// The three artefacts that prove a decision, each a compact JWS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// `countersign-challenge+jwt`: what was asked.
    pub challenge: String,
    /// `countersign-response+jwt`: what the device answered.
    pub response: String,
    /// `countersign-binding+jwt`: whose key the device's is.
    pub binding: String,
}

/// Prints no artefact: they name people and hold the typed number.
impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence").finish_non_exhaustive()
    }
}

/// Which key of the device signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedBy {
    /// The device key: possession.
    DeviceKey,
    /// The key that the platform releases only after biometric or PIN.
    UvKey,
}

/// A decision, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEvidence {
    /// What was asked.
    pub challenge: ChallengeClaims,
    /// What was answered.
    pub response: ResponseClaims,
    /// Whose device answered.
    pub binding: BindingClaims,
    /// With which of its keys.
    pub signed_by: SignedBy,
}

/// Why evidence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The challenge is not one that the server signed.
    #[error("challenge: {0}")]
    Challenge(Refusal),
    /// The binding is not one that the server signed.
    #[error("binding: {0}")]
    Binding(Refusal),
    /// The binding states no usable keys.
    #[error("binding: not public keys")]
    BindingKeys,
    /// The response is not signed by a key of the binding.
    #[error("response: {0}")]
    Response(Refusal),
    /// Challenge, binding and response speak of different issuers.
    #[error("different issuers")]
    Issuer,
    /// The binding is of another tenant.
    #[error("different tenants")]
    Tenant,
    /// The binding is of another user's device.
    #[error("different users")]
    User,
    /// The challenge was not addressed to the device.
    #[error("not addressed to the device")]
    NotAddressed,
    /// The response speaks for another device than the binding.
    #[error("different devices")]
    Device,
    /// The response answers another challenge.
    #[error("another challenge")]
    AnotherChallenge,
    /// The response answers another text of the challenge.
    #[error("another text of the challenge")]
    AlteredChallenge,
    /// The response was not signed while the challenge lived.
    #[error("response outside the challenge's lifetime")]
    OutsideLifetime,
    /// The binding was made after the challenge had expired.
    #[error("binding younger than the challenge")]
    LateBinding,
    /// User verification was required, and another key than the uv key approved, or by a method that does not count.
    #[error("user verification required")]
    UserVerification,
}

/// Verifies that the three artefacts belong together and prove a decision.
///
/// `server_keys` finds a key of the issuer by its thumbprint, usually
/// [`Jwks::find`](crate::jose::Jwks::find) on its `jwks.json`. Whether the issuer is the one that the caller
/// trusts follows from whose keys those are.
///
/// # Errors
/// [`EvidenceError`].
pub fn verify(
    evidence: &Evidence,
    server_keys: &dyn Fn(&Thumbprint) -> Option<ServerKey>,
) -> Result<VerifiedEvidence, EvidenceError> {
    verify_by(evidence, server_keys, &Arithmetic)
}

/// The same, asking `verifier` whether the signatures are good.
///
/// # Errors
/// [`EvidenceError`].
pub fn verify_by(
    evidence: &Evidence,
    server_keys: &dyn Fn(&Thumbprint) -> Option<ServerKey>,
    verifier: &dyn VerifySignature,
) -> Result<VerifiedEvidence, EvidenceError> {
    let challenge =
        jose::verify_server_by(&evidence.challenge, server_keys, verifier).map_err(EvidenceError::Challenge)?;
    let binding = jose::verify_server_by(&evidence.binding, server_keys, verifier).map_err(EvidenceError::Binding)?;
    let (response, signed_by) = verify_response(&evidence.response, &binding, verifier)?;
    let verified = VerifiedEvidence { challenge, response, binding, signed_by };
    verified.check(&jose::sha256(&evidence.challenge))?;
    Ok(verified)
}

/// Verifies the response with the key of the binding that its header names.
fn verify_response(
    token: &str,
    binding: &BindingClaims,
    verifier: &dyn VerifySignature,
) -> Result<(ResponseClaims, SignedBy), EvidenceError> {
    let device_key = PublicKey::from_jwk(&binding.cnf.jwk).map_err(|_| EvidenceError::BindingKeys)?;
    let uv_key = binding.uv_jwk.as_ref().map(PublicKey::from_jwk).transpose();
    let uv_key = uv_key.map_err(|_| EvidenceError::BindingKeys)?;
    let unverified = Unverified::parse(Kind::Response, token).map_err(EvidenceError::Response)?;
    let HeaderKey::Kid(kid) = unverified.key() else {
        return Err(EvidenceError::Response(Refusal::AnotherKey));
    };
    // The device key first: were both the same, the weaker claim would hold.
    let (key, signed_by) = match uv_key {
        _ if *kid == device_key.thumbprint() => (device_key, SignedBy::DeviceKey),
        Some(uv_key) if *kid == uv_key.thumbprint() => (uv_key, SignedBy::UvKey),
        _ => return Err(EvidenceError::Response(Refusal::AnotherKey)),
    };
    let verified = unverified.verify_by(&key, verifier).map_err(EvidenceError::Response)?;
    let claims = verified.claims().map_err(EvidenceError::Response)?;
    Ok((claims, signed_by))
}

impl VerifiedEvidence {
    /// Whether the three, each authentic by itself, speak of the same decision.
    fn check(&self, challenge_sha256: &str) -> Result<(), EvidenceError> {
        let Self { challenge, response, binding, signed_by } = self;
        let require = |holds: bool, otherwise: EvidenceError| if holds { Ok(()) } else { Err(otherwise) };
        require(binding.iss == challenge.iss && response.aud == challenge.iss, EvidenceError::Issuer)?;
        require(binding.tenant == challenge.tenant.id, EvidenceError::Tenant)?;
        // Our id and the tenant's: renaming rows in the database makes nobody's key another person's.
        let is_user = binding.sub == challenge.sub && binding.external_id == challenge.user.external_id;
        require(is_user, EvidenceError::User)?;
        require(challenge.aud.contains(&binding.aud), EvidenceError::NotAddressed)?;
        require(binding.purpose.is_none(), EvidenceError::NotAddressed)?;
        require(response.iss == binding.aud, EvidenceError::Device)?;
        require(response.sub == challenge.jti, EvidenceError::AnotherChallenge)?;
        require(response.challenge_sha256 == challenge_sha256, EvidenceError::AlteredChallenge)?;
        let from = challenge.iat.saturating_sub(SKEW_SECONDS);
        let until = challenge.exp.saturating_add(SKEW_SECONDS);
        require((from..=until).contains(&response.iat), EvidenceError::OutsideLifetime)?;
        require(binding.iat <= challenge.exp, EvidenceError::LateBinding)?;
        let must_verify_user =
            challenge.user_verification == UserVerification::Required && response.decision == Decision::Approve;
        let is_verified = *signed_by == SignedBy::UvKey && challenge.accepts_user_verification(response.uv);
        require(!must_verify_user || is_verified, EvidenceError::UserVerification)
    }
}

#[cfg(test)]
mod tests;
