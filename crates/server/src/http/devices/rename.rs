//! `PATCH /v1/devices/{id}` (protocol 10.7).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    ports::devices::{RenameDevice, RenameDeviceOutcome},
    text::Checker,
};
use countersign_proto::{
    api::devices::{Device, RenameDevice as Request},
    problem::ProblemType,
    vocabulary::{DeviceStatus, Word as _},
};

use super::{parse, show_device};
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Gives the device another name. Repeated, the same answer.
#[utoipa::path(patch, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 200, description = "The device", body = Device)))]
#[tracing::instrument(name = "http.devices.rename", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<Device>> {
    let device_id = parse(&id)?;
    let name = check(&value)?;
    let now = app.now();
    let command = RenameDevice { stamp: caller.stamp(&app, now), device_id, name };
    match app.store.rename_device(command).await? {
        RenameDeviceOutcome::Renamed(device) | RenameDeviceOutcome::Already(device) => {
            Ok(Json(show_device(*device, now)))
        }
        RenameDeviceOutcome::Revoked => {
            Err(ApiError::new(ProblemType::DeviceStatusConflict).with("device_status", DeviceStatus::Revoked.as_str()))
        }
        RenameDeviceOutcome::NotFound => Err(ApiError::not_found()),
    }
}

pub(crate) fn check(value: &Request) -> ApiResult<String> {
    let mut checker = Checker::default();
    let name = checker.text("/name", &value.name, 1, 64);
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok(name)
}
