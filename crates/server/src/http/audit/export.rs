//! `GET /v1/audit/export`: the log as a file, in portions.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use countersign_proto::problem::ProblemType;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    audit::{
        AuditError,
        export::{Export, Format, Options},
        turns::Told,
    },
    http::{
        access::ApiCaller,
        body::StrictQuery,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// What to export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `jsonl` (if absent), which verifies offline, or `csv`, for spreadsheets.
    format: Option<String>,
    /// From this position on; 1 if absent.
    #[param(minimum = 1)]
    from: Option<u64>,
    /// `evidence`: decisions come with what proves them; JSONL only.
    include: Option<String>,
}

impl Query {
    fn options(&self) -> ApiResult<Options> {
        let format = match self.format.as_deref() {
            None | Some("jsonl") => Format::Jsonl,
            Some("csv") => Format::Csv,
            Some(_) => return Err(ApiError::invalid("/format", "must be `jsonl` or `csv`")),
        };
        let has_evidence = match self.include.as_deref() {
            None => false,
            Some("evidence") if format == Format::Jsonl => true,
            Some(_) => return Err(ApiError::invalid("/include", "must be `evidence`, with the format `jsonl`")),
        };
        Ok(Options { format, from: self.from.unwrap_or(1), has_evidence })
    }
}

/// Exports the log. An export that has no checkpoint at its end has broken off.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", params(Query),
    responses((status = 200, description = "The log", content_type = "application/x-ndjson", body = String)))]
#[tracing::instrument(name = "http.audit.export", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Response> {
    let options = query.options()?;
    let tenant_id = caller.caller.tenant_id;
    let turn =
        app.audit.begin_export(tenant_id).ok_or_else(|| ApiError::new(ProblemType::Unavailable).retry_after(5))?;
    let export = Export::begin(&app.audit, tenant_id, options, app.now()).await;
    let export = export.map_err(|error| match error {
        AuditError::BeyondEnd => ApiError::invalid("/from", "is beyond the end of the log"),
        error => error.into(),
    })?;
    let (media_type, name) = match options.format {
        Format::Jsonl => ("application/x-ndjson", "attachment; filename=\"audit.jsonl\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
    };
    let clock = Arc::clone(&app.clock);
    let told = Told::begin(export, turn, clock, move || {
        let (app, caller) = (Arc::clone(&app), caller.clone());
        // Whoever reads slowly has to be allowed to all the time.
        async move { caller.reauthenticate(&app).await.is_ok() }
    });
    // An error ends the connection without the end of the body: nobody takes half of it for the whole.
    let bytes = futures_util::stream::try_unfold(told, |mut told| async move {
        let portion = told.next().await?;
        Ok::<_, std::io::Error>(portion.map(|bytes| (Bytes::from(bytes), told)))
    });
    let headers = [(header::CONTENT_TYPE, media_type), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(bytes)).into_response())
}
