//! Opening what a device signs: protocol 2, rules 4–7, and its exceptions for whoever holds the key.
//!
//! Every endpoint names the one kind that it takes, so that no other kind is ever parsed there. To add a kind:
//! its claims get a [`DeviceClaims`], its endpoint calls [`open`].

use countersign_core::{device::KeyRole, limits};
use countersign_proto::{
    ids::DeviceId,
    jose::{
        Claims, HeaderKey, Kind, PublicKey, Thumbprint, Unverified, check_audience, check_iat, check_jti,
        claims::{
            DeregistrationClaims, DisputeClaims, KeyRotationClaims, ProofClaims, PushUpdateClaims, ResponseClaims,
        },
    },
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::DeviceStatus,
};

use crate::{
    http::{
        problem::{ApiError, ApiResult},
        state::App,
    },
    keyring::FreshKey,
    signing::ServerKeys,
};

/// What every artefact of a registered device says of itself.
pub struct Envelope<'c> {
    /// The device that speaks.
    iss: &'c str,
    /// The server that is spoken to.
    aud: &'c str,
    /// The artefact's own id.
    jti: &'c str,
}

/// The claims of an artefact of a registered device.
pub trait DeviceClaims: Claims {
    /// Who says it to whom.
    fn envelope(&self) -> Envelope<'_>;
}

impl DeviceClaims for ProofClaims {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { iss: &self.iss, aud: &self.aud, jti: &self.jti }
    }
}

impl DeviceClaims for ResponseClaims {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { iss: &self.iss, aud: &self.aud, jti: &self.jti }
    }
}

impl DeviceClaims for PushUpdateClaims {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { iss: &self.iss, aud: &self.aud, jti: &self.jti }
    }
}

impl DeviceClaims for DeregistrationClaims {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { iss: &self.iss, aud: &self.aud, jti: &self.jti }
    }
}

impl DeviceClaims for KeyRotationClaims {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { iss: &self.iss, aud: &self.aud, jti: &self.jti }
    }
}

impl DeviceClaims for DisputeClaims {
    fn envelope(&self) -> Envelope<'_> {
        Envelope { iss: &self.iss, aud: &self.aud, jti: &self.jti }
    }
}

/// An artefact whose signature is good, by a key that is the device's right now.
pub struct Opened<C> {
    /// What it says. `iat` is not checked yet: see [`check_time`].
    pub claims: C,
    /// The key and its device.
    pub key: FreshKey,
    /// The key's thumbprint.
    pub thumbprint: Thumbprint,
}

/// Rules 1–7 except the time.
///
/// # Errors
/// 401, 413, 422; 503 if the store does not answer.
pub async fn open<C: DeviceClaims>(app: &App, token: &[u8], now: Timestamp) -> ApiResult<Opened<C>> {
    let (unverified, thumbprint) = parse::<C>(token)?;
    let key = app.keyring.fresh(&thumbprint).await?.filter(|key| is_told(key, now));
    let key = key.ok_or_else(|| ApiError::invalid_signature("unknown_key"))?;
    // The table of protocol 2: the uv key signs responses and its own replacement, and nothing else.
    if key.signer.role != KeyRole::Device && !matches!(C::KIND, Kind::Response | Kind::KeyRotation) {
        return Err(ApiError::invalid_signature("key_role"));
    }
    let claims = read(unverified, &key.public_key, key.signer.device_id, &app.keys)?;
    // Told to whoever holds the key, as whether the device is active.
    if key.is_tenant_disabled {
        return Err(ApiError::new(ProblemType::TenantDisabled));
    }
    Ok(Opened { claims, key, thumbprint })
}

/// Rules 1–4: form, and which key.
///
/// # Errors
/// 401, 413.
pub fn parse<C: Claims>(token: &[u8]) -> ApiResult<(Unverified<'_>, Thumbprint)> {
    let unverified = Unverified::parse(C::KIND, token)?;
    match unverified.key() {
        HeaderKey::Kid(thumbprint) => {
            let thumbprint = thumbprint.clone();
            Ok((unverified, thumbprint))
        }
        HeaderKey::Jwk(_) => Err(ApiError::invalid_signature("header_key")),
    }
}

/// Rules 4–7 except the time, with the key of this device.
///
/// # Errors
/// 401, 422.
pub fn read<C: DeviceClaims>(
    unverified: Unverified<'_>,
    key: &PublicKey,
    device_id: DeviceId,
    keys: &ServerKeys,
) -> ApiResult<C> {
    // A response is evidence, and verified again with it.
    let verified =
        if C::KIND == Kind::Response { unverified.verify_by(key, keys.memory())? } else { unverified.verify(key)? };
    let claims: C = verified.claims()?;
    // 4. iss is the device that the key belongs to.
    let Envelope { iss, aud, jti } = claims.envelope();
    if iss != device_id.to_string() {
        return Err(ApiError::invalid_signature("issuer"));
    }
    // 7.
    check_audience(aud, keys.issuer()).map_err(|_| ApiError::invalid_signature("audience"))?;
    check_jti(jti).map_err(|_| ApiError::invalid_signature("jti"))?;
    Ok(claims)
}

/// Rule 7: `iat`.
///
/// # Errors
/// 401 `clock-skew`.
pub fn check_time(claims: &impl Claims, now: Timestamp) -> ApiResult<()> {
    check_iat(claims.iat(), now.as_seconds(), limits::SKEW_SECONDS).map_err(|_| ApiError::clock_skew(now))
}

/// A revoked device is told so for 90 days; then its key is unknown.
pub fn is_told(key: &FreshKey, now: Timestamp) -> bool {
    let until = key.revoked_at.map(|at| at.plus_seconds(limits::REVOKED_DEVICE_IS_TOLD_SECONDS));
    key.status != DeviceStatus::Revoked || until.is_some_and(|until| now < until)
}
