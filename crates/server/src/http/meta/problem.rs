//! `GET /problems/{slug}`: what a problem type means (protocol 11).

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse as _, Response},
};
use countersign_proto::problem::ProblemType;

use crate::http::problem::{ApiError, ApiResult};

/// A page about one problem type.
#[utoipa::path(get, path = "/problems/{slug}", tag = "discovery", params(("slug" = String, Path)),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn handle(Path(slug): Path<String>) -> ApiResult<Response> {
    let kind = ProblemType::ALL.iter().find(|kind| kind.spec().slug == slug).ok_or_else(ApiError::not_found)?;
    let spec = kind.spec();
    // All of it is our own fixed text: there is nothing to escape.
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <body><h1>{title}</h1><p>{explanation}</p><p>HTTP status {status}, type <code>{slug}</code>.</p></body></html>\n",
        title = spec.title,
        explanation = spec.explanation,
        status = spec.status,
    );
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "public, max-age=3600")];
    Ok((headers, page).into_response())
}
