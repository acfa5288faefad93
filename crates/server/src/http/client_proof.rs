//! `Authorization: ClientProof <jws>`: an API client signs each of its requests (protocol 3).
//!
//! Its key never leaves it, so there is nothing to steal from a log, a proxy or our database. A proof is for one method,
//! path and body, at one time; one that changes something is spent, on all nodes at once, before anything is done.
//! Reads may be repeated inside the window: they change nothing.
//!
//! Every refusal looks the same from outside. Must never look at a claim before the signature is verified, nor let a
//! request through whose body it has not read.

use axum::{
    body::Body,
    http::{HeaderValue, Method, header, request::Parts},
};
use countersign_core::{
    api_client::{Caller, proof_digest},
    digest::Digest,
    limits,
    ports::api_clients::SpendProof,
};
use countersign_proto::{
    jose::{
        HeaderKey, Kind, PublicKey, Unverified, check_audience, check_iat, check_jti, claims::ClientProofClaims, sha256,
    },
    problem::ProblemType,
    timestamp::Timestamp,
};

use super::{
    access::find_caller,
    body::{self, MAX_JSON_BYTES},
    operations::Operation,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Who signed this request; the body, read.
///
/// # Errors
/// 401; 408 and 413 for the body; 503 if the store does not answer.
pub async fn verify(
    app: &App,
    operation: &Operation,
    parts: &Parts,
    body: Body,
    proof: &str,
) -> ApiResult<(Caller, Digest, Body)> {
    let now = app.now();
    let unverified = Unverified::parse(Kind::ClientProof, proof).map_err(|refusal| refused(refusal.reason()))?;
    let HeaderKey::Kid(thumbprint) = unverified.key() else { return Err(refused("header_key")) };
    let key = proof_digest(thumbprint);
    let caller = find_caller(app, key, now).await?.ok_or_else(|| refused("unknown_key"))?;
    // A secret whose digest this is would be no key to verify with.
    let public_key = caller.public_key.ok_or_else(|| refused("unknown_key"))?;
    let claims = read(app, parts, unverified, &public_key, &caller)?;
    check_iat(claims.iat, now.as_seconds(), limits::SKEW_SECONDS).map_err(|_| clock_skew(now))?;
    let bytes = body::read(app, body, MAX_JSON_BYTES).await?;
    // What the handler reads is what was signed, byte for byte.
    if claims.body_sha256 != sha256(&bytes) {
        return Err(refused("body"));
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        spend(app, operation, &caller, claims, now).await?;
    }
    Ok((caller, key, Body::from(bytes)))
}

/// The claims, if they are about this very request.
fn read(
    app: &App,
    parts: &Parts,
    unverified: Unverified<'_>,
    key: &PublicKey,
    caller: &Caller,
) -> ApiResult<ClientProofClaims> {
    let verified = unverified.verify(key).map_err(|refusal| refused(refusal.reason()))?;
    let claims: ClientProofClaims = verified.claims().map_err(|refusal| refused(refusal.reason()))?;
    if claims.iss != caller.client_id.to_string() {
        return Err(refused("issuer"));
    }
    check_audience(&claims.aud, app.issuer()).map_err(|_| refused("audience"))?;
    check_jti(&claims.jti).map_err(|_| refused("jti"))?;
    if claims.htm != parts.method.as_str() || claims.htu != format!("{}{}", app.issuer(), parts.uri.path()) {
        return Err(refused("method_or_url"));
    }
    Ok(claims)
}

async fn spend(
    app: &App,
    operation: &Operation,
    caller: &Caller,
    claims: ClientProofClaims,
    now: Timestamp,
) -> ApiResult<()> {
    // Well past the end of its window: another node's clock may be minutes behind.
    let expires_at = Timestamp::from_seconds(claims.iat).plus_seconds(10 * limits::SKEW_SECONDS);
    let command = SpendProof {
        command_id: app.new_id(now),
        tenant_id: caller.tenant_id,
        client_id: caller.client_id,
        jti: claims.jti,
        expires_at,
        // What is kept for that is not for whoever is refused in the end.
        takes_access_away: operation.takes_access_away() && operation.is_open_to(&caller.scopes),
    };
    if app.store.spend_proof(command).await? { Ok(()) } else { Err(refused("replayed")) }
}

/// 401 to whoever signs what is not acceptable; the reason is for the log only.
fn refused(reason: &'static str) -> ApiError {
    challenge(ApiError::new(ProblemType::Unauthenticated).because(format!("client proof: {reason}")))
}

/// 401 to a client whose clock is wrong.
fn clock_skew(now: Timestamp) -> ApiError {
    challenge(ApiError::new(ProblemType::ClockSkew).with("server_time", now.to_string()))
}

/// 401 to a client whose organisation takes no API keys.
pub fn required() -> ApiError {
    challenge(ApiError::new(ProblemType::ClientProofRequired))
}

fn challenge(error: ApiError) -> ApiError {
    error.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("ClientProof"))
}
