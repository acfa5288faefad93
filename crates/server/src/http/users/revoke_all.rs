//! `POST /v1/users/{id}/devices/revoke-all` (protocol 10.7).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::ports::devices::RevokeAllDevices;
use countersign_proto::{
    api::revocations::{AllDevicesRevoked, RevokeAllDevices as Request},
    vocabulary::RevokeReason,
};

use super::parse;
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Revokes every device of the user and cancels every open enrollment, in one step. Repeated, there is nothing left.
#[utoipa::path(post, path = "/v1/users/{id}/devices/revoke-all", tag = "users", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 200, description = "The devices that this call revoked", body = AllDevicesRevoked)))]
#[tracing::instrument(name = "http.users.revoke_all", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<AllDevicesRevoked>> {
    let command = RevokeAllDevices {
        stamp: caller.stamp(&app, app.now()),
        user_id: parse(&id)?,
        reason: value.reason.unwrap_or(RevokeReason::Other),
    };
    let revoked = app.store.revoke_all_devices(command).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(AllDevicesRevoked { revoked }))
}
