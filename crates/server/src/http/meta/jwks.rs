//! `GET /.well-known/jwks.json`: every key that ever signed (protocol 2).

use std::sync::Arc;

use axum::{Json, extract::State, http::header, response::IntoResponse};
use countersign_proto::jose::Jwks;

use crate::http::state::App;

/// The server's public keys. A verifier refuses an `iat` after `retired_at` or `revoked_at`.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "discovery",
    responses((status = 200, description = "The keys", body = Jwks)))]
pub async fn handle(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(app.keys.jwks()))
}
