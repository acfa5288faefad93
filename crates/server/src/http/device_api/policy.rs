//! `GET /v1/device/policy` (protocol 5.4): what the organisation asks of the device, signed.
//!
//! A hint that nobody on the way can change; what holds is in each challenge. A device that has it already is told so
//! without a signature.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use countersign_core::policy::{allowed_modes, devices, stricter};
use countersign_proto::{
    api::policy::SignedPolicy,
    jose::{claims::PolicyClaims, sha256},
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, UvMethod, Word as _},
};

use super::{pending::matches_tag, proof::ProvenDevice};
use crate::http::{
    problem::{ApiError, ApiResult},
    state::App,
};

/// How long a device may believe it.
const LIFE_SECONDS: i64 = 24 * 60 * 60;
/// It gets a new one when half of that is over, whatever its `ETag`.
const RENEWED_AFTER_SECONDS: i64 = LIFE_SECONDS / 2;

/// What the organisation asks of this device.
#[utoipa::path(get, path = "/v1/device/policy", tag = "device",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the policy that the device has")),
    responses((status = 200, description = "The signed policy", body = SignedPolicy), (status = 304, description = "Still the policy of `If-None-Match`")))]
#[tracing::instrument(name = "http.device_api.policy", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, device: ProvenDevice, headers: HeaderMap) -> ApiResult<Response> {
    let (signer, versions) = (device.key.signer, &device.key.versions);
    // Nobody has said yet that it is the person's.
    if device.key.status != DeviceStatus::Active {
        return Err(ApiError::device_not_active(device.key.status));
    }
    let now = app.now();
    let tenant =
        app.store.tenant(signer.tenant_id).await?.ok_or_else(|| ApiError::internal("the device's tenant is gone"))?;
    let tag = etag(&device, tenant.policy.version, now);
    let tag_value = HeaderValue::from_str(&tag).map_err(|_| ApiError::internal("an ETag is no header"))?;
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if seen.is_some_and(|seen| matches_tag(seen, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag_value)]).into_response());
    }
    let policy = stricter::bound(&tenant.policy);
    let asked = &policy.device_requirements;
    let has_all = UvMethod::ALL.iter().all(|method| policy.user_verification_methods.contains(method));
    let claims = PolicyClaims {
        iss: app.issuer().to_owned(),
        aud: signer.device_id.to_string(),
        tenant: signer.tenant_id.to_string(),
        iat: now.as_seconds(),
        exp: now.plus_seconds(LIFE_SECONDS).as_seconds(),
        version: policy.version,
        modes: allowed_modes(&policy),
        user_verification: policy.user_verification,
        user_verification_methods: (!has_all).then(|| policy.user_verification_methods.clone()),
        user_verification_key_required: devices::needs_uv_key(&policy),
        minimum_app_version: asked.minimum_app_versions.get(&versions.platform).cloned(),
        minimum_os_version: asked.minimum_os_versions.get(&versions.platform).cloned(),
    };
    let reply = SignedPolicy {
        policy: app.keys.sign(&claims)?,
        update: devices::update_state(asked, versions),
        server_time: now,
    };
    Ok(([(header::ETAG, tag_value)], Json(reply)).into_response())
}

/// Another one for all that the reply depends on.
fn etag(device: &ProvenDevice, version: u32, now: Timestamp) -> String {
    let (signer, versions) = (device.key.signer, &device.key.versions);
    let half_life = now.as_seconds().div_euclid(RENEWED_AFTER_SECONDS);
    let all = format!("{} {version} {half_life} {versions:?}", signer.device_id);
    format!("\"{}\"", sha256(all))
}
