//! Whether the results are true: each evidence and each result token of a run is verified, as anybody could with the
//! server's public keys and nothing else.
//!
//! It happens after the measured time, so that it takes nothing from it, and for every sign-in, so that a fast wrong
//! answer is no answer. Until then each result is kept as it came, some 4 KB each. To check more: a line in [`check`].

use std::{collections::BTreeMap, thread};

use countersign_proto::{
    api::challenges::Challenge,
    evidence,
    jose::{Jwks, ServerKey, Thumbprint, claims::ResultClaims, verify_server},
    vocabulary::{ChallengeStatus, Decision},
};

use crate::{
    LoadError,
    device::{Device, is_key},
};

/// A result, as its caller got it.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The challenge's id, as its creation said.
    pub(crate) id: String,
    /// Which device approved.
    pub(crate) device: usize,
    /// The body of the caller's read.
    pub(crate) body: Vec<u8>,
}

/// Verifies all, on all cores; how many.
pub(crate) fn verify(issuer: &str, keys: &Jwks, devices: &[Device], results: &[Kept]) -> Result<u64, LoadError> {
    let found: BTreeMap<Thumbprint, ServerKey> = keys
        .keys
        .iter()
        .filter_map(|key| key.kid.parse().ok())
        .filter_map(|kid: Thumbprint| Some((kid.clone(), keys.find(&kid)?)))
        .collect();
    let part = results.len().div_ceil(thread::available_parallelism().map_or(1, usize::from)).max(1);
    let check_part = |part: &[Kept]| {
        part.iter().try_for_each(|kept| {
            let device = devices.get(kept.device).ok_or("a result of no device")?;
            check(issuer, &|kid| found.get(kid).copied(), device, kept)
                .map_err(|why| format!("challenge {}: {why}", kept.id))
        })
    };
    let outcome: Result<(), String> = thread::scope(|scope| {
        let parts: Vec<_> = results.chunks(part).map(|part| scope.spawn(move || check_part(part))).collect();
        parts.into_iter().try_for_each(|part| part.join().unwrap_or_else(|_| Err("the verifier panicked".to_owned())))
    });
    outcome.map_err(|why| LoadError::Failed(format!("a result does not hold: {why}")))?;
    Ok(results.len().try_into().unwrap_or(u64::MAX))
}

/// Whether this result proves that this device approved this challenge, and says so to whom asked.
fn check(
    issuer: &str,
    keys: &dyn Fn(&Thumbprint) -> Option<ServerKey>,
    device: &Device,
    kept: &Kept,
) -> Result<(), String> {
    let require = |holds: bool, otherwise: &str| if holds { Ok(()) } else { Err(otherwise.to_owned()) };
    let shown: Challenge = serde_json::from_slice(&kept.body).map_err(|_| "not a challenge")?;
    require(shown.id.to_string() == kept.id, "another challenge's")?;
    require(shown.status == ChallengeStatus::Approved, "not approved")?;
    let evidence = shown.evidence.as_ref().ok_or("no evidence")?;
    let proven = evidence::verify(evidence, keys).map_err(|error| format!("evidence: {error}"))?;
    require(proven.challenge.iss == issuer, "evidence: another issuer")?;
    require(proven.challenge.jti == kept.id, "evidence: another challenge")?;
    require(proven.challenge.user.external_id == device.external_id, "evidence: another user")?;
    require(
        proven.binding.aud == device.id && is_key(&proven.binding.cnf.jwk, &device.key),
        "evidence: another device",
    )?;
    require(proven.response.decision == Decision::Approve, "evidence: no approval")?;
    let token = shown.result_token.as_deref().ok_or("no result token")?;
    let result: ResultClaims = verify_server(token, keys).map_err(|error| format!("result token: {error}"))?;
    require(result.iss == issuer, "result token: another issuer")?;
    require(result.jti == kept.id, "result token: another challenge")?;
    require(result.status == ChallengeStatus::Approved, "result token: not approved")?;
    require(result.aud == proven.challenge.azp, "result token: for another caller")?;
    require(result.sub == proven.challenge.sub, "result token: another user")?;
    require(result.external_id == device.external_id, "result token: another user")?;
    require(result.device_id.as_deref() == Some(&device.id), "result token: another device")
}
