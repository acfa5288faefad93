//! `GET /v1/audit/key`: the key that verifies checkpoints.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{access::ApiCaller, state::App};

/// The key of a log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditKey {
    /// The log's name: the first line of its checkpoints.
    #[schema(example = "approve.example.org/audit/01890a5d-ac96-774b-bcce-b302099a8057")]
    pub origin: String,
    /// C2SP signed-note: name, key id, key.
    pub verifier_key: String,
}

/// The key that verifies the log's checkpoints. Keep it where the server cannot change it.
#[utoipa::path(get, path = "/v1/audit/key", tag = "audit",
    responses((status = 200, description = "The key", body = AuditKey)))]
#[tracing::instrument(name = "http.audit.key", skip_all)]
pub async fn handle(State(app): State<Arc<App>>, caller: ApiCaller) -> Json<AuditKey> {
    let tenant_id = caller.caller.tenant_id;
    let verifier_key = app.audit.verifier(tenant_id).to_string();
    Json(AuditKey { origin: app.audit.origin(tenant_id), verifier_key })
}
