//! `Authorization: DeviceProof <jws>`: a device proves itself for a read (protocol 5).
//!
//! A proof may be seen twice inside its window: reads change nothing.

use axum::http::{header, request::Parts};
use countersign_proto::{jose::claims::ProofClaims, problem::ProblemType, vocabulary::DeviceStatus};

use super::artefact;
use crate::{
    http::{
        access::strip_scheme,
        problem::{ApiError, ApiResult},
        state::App,
    },
    keyring::FreshKey,
};

/// A device that reads: active, or pending confirmation.
#[derive(Debug, Clone)]
pub struct ProvenDevice {
    /// The key and its device.
    pub key: FreshKey,
}

impl ProvenDevice {
    /// Whether the device still may read, after a wait: it may have been revoked meanwhile.
    ///
    /// # Errors
    /// 401, 403; 503 if the store does not answer.
    pub async fn still_reads(&self, app: &App) -> ApiResult<()> {
        let key = app.keyring.fresh(&self.key.public_key.thumbprint()).await?;
        let key = key.ok_or_else(|| ApiError::invalid_signature("unknown_key"))?;
        if key.is_tenant_disabled {
            return Err(ApiError::new(ProblemType::TenantDisabled));
        }
        may_read(key.status)
    }
}

fn may_read(status: DeviceStatus) -> ApiResult<()> {
    match status {
        DeviceStatus::Active | DeviceStatus::PendingConfirmation => Ok(()),
        status @ (DeviceStatus::Suspended | DeviceStatus::Revoked) => Err(ApiError::device_not_active(status)),
    }
}

/// Verifies the proof of a request.
///
/// # Errors
/// 401, 403; 503 if the store does not answer.
pub async fn verify(app: &App, parts: &Parts) -> ApiResult<ProvenDevice> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ApiError::invalid_signature("authorization_header"));
    };
    let token = value.to_str().ok().and_then(|value| strip_scheme(value, "DeviceProof"));
    let token = token.ok_or_else(|| ApiError::invalid_signature("authorization_scheme"))?;
    let now = app.now();
    let opened = artefact::open::<ProofClaims>(app, token.as_bytes(), now).await?;
    let claims = &opened.claims;
    // htm and htu tie the proof to this very read.
    if claims.htm != parts.method.as_str() || claims.htu != format!("{}{}", app.issuer(), parts.uri.path()) {
        return Err(ApiError::invalid_signature("method_or_url"));
    }
    artefact::check_time(claims, now)?;
    may_read(opened.key.status)?;
    Ok(ProvenDevice { key: opened.key })
}
