//! `GET /v1/audit/proof/inclusion` and `…/consistency` (RFC 9162 section 2.1).

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    audit::{AuditError, ConsistencyProof, InclusionProof},
    http::{
        access::ApiCaller,
        body::StrictQuery,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// Which event, of how many.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct InclusionQuery {
    /// The event's position.
    #[param(minimum = 1)]
    position: u64,
    /// How many events the proof is about; all if absent.
    #[param(minimum = 1)]
    size: Option<u64>,
}

/// From which checkpoint to which.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    /// The size of the earlier checkpoint.
    #[param(minimum = 1)]
    from: u64,
    /// The size of the later one; the newest if absent.
    #[param(minimum = 1)]
    to: Option<u64>,
}

/// Proves that an event is in the log.
#[utoipa::path(get, path = "/v1/audit/proof/inclusion", tag = "audit", params(InclusionQuery),
    responses((status = 200, description = "The proof", body = InclusionProof)))]
#[tracing::instrument(name = "http.audit.prove_inclusion", skip_all)]
pub async fn inclusion(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<InclusionQuery>,
) -> ApiResult<Json<InclusionProof>> {
    let tenant_id = caller.caller.tenant_id;
    app.audit.newest(tenant_id, app.now()).await?;
    let proof = app.audit.inclusion(tenant_id, query.position, query.size).await;
    Ok(Json(proof.map_err(|error| beyond(error, "/position"))?))
}

/// Proves that the log continues what an earlier checkpoint was over.
#[utoipa::path(get, path = "/v1/audit/proof/consistency", tag = "audit", params(ConsistencyQuery),
    responses((status = 200, description = "The proof", body = ConsistencyProof)))]
#[tracing::instrument(name = "http.audit.prove_consistency", skip_all)]
pub async fn consistency(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<ConsistencyQuery>,
) -> ApiResult<Json<ConsistencyProof>> {
    let tenant_id = caller.caller.tenant_id;
    app.audit.newest(tenant_id, app.now()).await?;
    let proof = app.audit.consistency(tenant_id, query.from, query.to).await;
    Ok(Json(proof.map_err(|error| beyond(error, "/from"))?))
}

fn beyond(error: AuditError, pointer: &str) -> ApiError {
    match error {
        AuditError::BeyondEnd => ApiError::invalid(pointer, "is no part of the log, or not of one of that size"),
        error => error.into(),
    }
}
