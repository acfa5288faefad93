//! `GET /openapi.json`.

use axum::Json;

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "discovery",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn handle() -> Json<utoipa::openapi::OpenApi> {
    Json(crate::http::openapi::document())
}
