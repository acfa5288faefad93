//! `POST /v1/devices/{id}/test-push` (protocol 10.5).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use countersign_core::{
    limits,
    ports::test_pushes::{CreateTestPush, CreateTestPushOutcome, TestPushRecord},
};
use countersign_proto::{api::devices::TestPush, problem::ProblemType, vocabulary::Word as _};

use super::parse;
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// Rings a device, to see whether it can be rung. Ask the returned id what came of it.
#[utoipa::path(post, path = "/v1/devices/{id}/test-push", tag = "devices", params(("id" = String, Path)),
    responses((status = 202, description = "Queued", body = TestPush)))]
#[tracing::instrument(name = "http.devices.test_push", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
) -> ApiResult<(StatusCode, Json<TestPush>)> {
    let now = app.now();
    let command = CreateTestPush {
        stamp: caller.stamp(&app, now),
        id: app.new_id(now),
        device_id: parse(&id)?,
        expires_at: now.plus_seconds(limits::TEST_PUSH_SECONDS),
        not_after_another_since: now.plus_seconds(-limits::TEST_PUSH_PAUSE_SECONDS),
    };
    match app.store.create_test_push(command).await? {
        CreateTestPushOutcome::Queued(record) => Ok((StatusCode::ACCEPTED, Json(show_test_push(record)))),
        CreateTestPushOutcome::NotFound => Err(ApiError::not_found()),
        CreateTestPushOutcome::NotActive(status) => {
            Err(ApiError::new(ProblemType::DeviceStatusConflict).with("device_status", status.as_str()))
        }
        CreateTestPushOutcome::NoChannel => Err(ApiError::new(ProblemType::DeviceNotReachable)),
        CreateTestPushOutcome::TooSoon => Err(ApiError::new(ProblemType::TooManyRequests)
            .saying("This device was rung for a test only seconds ago.")
            .retry_after(limits::TEST_PUSH_PAUSE_SECONDS.unsigned_abs())),
    }
}

pub(super) fn show_test_push(record: TestPushRecord) -> TestPush {
    let TestPushRecord { id, device_id, channel, state, attempts, last_error, created_at, updated_at } = record;
    TestPush { id, device_id, channel, state, attempts, last_error, created_at, updated_at }
}
