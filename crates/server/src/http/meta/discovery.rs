//! `GET /.well-known/countersign` (protocol 2).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::limits::{MAX_TTL_SECONDS, MAX_WAIT_SECONDS};
use countersign_proto::api::meta::{Discovery, Endpoints, Limits};

use crate::http::{body::MAX_ARTEFACT_BYTES, state::App};

/// Where things are, for devices.
#[utoipa::path(get, path = "/.well-known/countersign", tag = "discovery",
    responses((status = 200, description = "Endpoints and limits", body = Discovery)))]
pub async fn handle(State(app): State<Arc<App>>) -> Json<Discovery> {
    let issuer = app.issuer();
    Json(Discovery {
        issuer: issuer.to_owned(),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        api_version: "v1".to_owned(),
        server_time: app.now(),
        endpoints: Endpoints {
            registrations: format!("{issuer}/v1/device/registrations"),
            device: format!("{issuer}/v1/device"),
            device_challenges: format!("{issuer}/v1/device/challenges"),
            push: format!("{issuer}/v1/device/push"),
            key: Some(format!("{issuer}/v1/device/key")),
            deregistration: format!("{issuer}/v1/device/deregistration"),
            dispute: format!("{issuer}/v1/device/notices/{{id}}/dispute"),
            policy: Some(format!("{issuer}/v1/device/policy")),
        },
        limits: Limits {
            max_artifact_bytes: u32::try_from(MAX_ARTEFACT_BYTES).unwrap_or(u32::MAX),
            max_wait_seconds: MAX_WAIT_SECONDS,
            max_ttl_seconds: u32::try_from(MAX_TTL_SECONDS).unwrap_or(u32::MAX),
        },
        vapid_public_key: app.pushing.senders().vapid_public_key(),
    })
}
