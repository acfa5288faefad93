//! `GET /v1/devices/{id}/test-push/{test_id}` (protocol 10.5).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_proto::api::devices::TestPush;

use super::{parse, test_push::show_test_push};
use crate::http::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};

/// What came of a test push; kept for a week.
#[utoipa::path(get, path = "/v1/devices/{id}/test-push/{test_id}", tag = "devices",
    params(("id" = String, Path), ("test_id" = String, Path)),
    responses((status = 200, description = "The test push", body = TestPush)))]
#[tracing::instrument(name = "http.devices.show_test_push", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path((id, test_id)): Path<(String, String)>,
) -> ApiResult<Json<TestPush>> {
    let test_id = test_id.parse().map_err(|_| ApiError::not_found())?;
    let found = app.store.test_push(caller.caller.tenant_id, parse(&id)?, test_id).await?;
    found.map(|record| Json(show_test_push(record))).ok_or_else(ApiError::not_found)
}
