//! `GET /openapi.json`.
//!
//! Written once, when it is first asked for, and shared by all replies from then on: anybody may ask, as often as they
//! like, and need not read what they get.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};

use crate::http::{
    problem::{ApiError, ApiResult},
    state::App,
};

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "discovery",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn handle(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let written = match app.openapi.get() {
        Some(written) => written.clone(),
        // Whoever writes it at the same moment writes the same.
        None => {
            let written = serde_json::to_vec(&crate::http::openapi::document());
            let written = Bytes::from(written.map_err(|_| ApiError::internal("OpenAPI"))?);
            app.openapi.get_or_init(|| written).clone()
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], written).into_response())
}
