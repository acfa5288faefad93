//! Reading requests: bounded in size and time, strict in form.
//!
//! A body that is too large is read on to 1 MiB before the answer, so that the client gets the problem rather
//! than a reset connection. Nothing here knows what a member means.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
};
use countersign_core::digest::Digest;
use countersign_proto::{
    json::{self, Malformed, ReadError},
    problem::ProblemType,
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use super::{problem::ApiError, state::App};

/// Bytes of a JSON body.
pub const MAX_JSON_BYTES: usize = 64 * 1024;
/// Bytes of an artefact from a device (protocol 2).
pub const MAX_ARTEFACT_BYTES: usize = 8 * 1024;
/// Bytes that are read and thrown away before a 413.
const DRAIN_BYTES: usize = 1024 * 1024;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body: UTF-8, an object without duplicate members, none unknown, none null.
#[derive(Debug)]
pub struct StrictJson<T> {
    /// The body.
    pub value: T,
    /// SHA-256 of its bytes, for idempotency.
    pub digest: Digest,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for StrictJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        require_media_type(request.headers(), "application/json")?;
        let bytes = read(app, request.into_body(), MAX_JSON_BYTES).await?;
        Ok(Self { value: parse(&bytes)?, digest: Digest::of(&bytes) })
    }
}

/// The same, where it matters whether a member that has a default was given.
#[derive(Debug)]
pub struct StrictJsonWithMembers<T> {
    /// The body.
    pub value: T,
    /// The names of the members that were given.
    pub members: BTreeSet<String>,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for StrictJsonWithMembers<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        require_media_type(request.headers(), "application/json")?;
        let bytes = read(app, request.into_body(), MAX_JSON_BYTES).await?;
        let value = parse(&bytes)?;
        let given = json::parse_object(&bytes).map_err(|malformed| malformed_request(&malformed))?;
        let members = given.as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default();
        Ok(Self { value, members })
    }
}

/// A body as a `T`.
///
/// # Errors
/// 400, 422.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    json::from_slice(bytes).map_err(|error| match error {
        ReadError::Malformed(malformed) => malformed_request(&malformed),
        ReadError::WrongShape(shape) => ApiError::invalid(&shape.pointer, &shape.detail),
    })
}

fn malformed_request(malformed: &Malformed) -> ApiError {
    ApiError::new(ProblemType::MalformedRequest).saying(malformed.to_string())
}

/// A device's artefact: the whole body.
#[derive(Debug)]
pub struct Artefact(pub Bytes);

impl FromRequest<Arc<App>> for Artefact {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        require_media_type(request.headers(), "application/jwt")?;
        read(app, request.into_body(), MAX_ARTEFACT_BYTES).await.map(Self)
    }
}

/// Query parameters: none unknown, none twice; a wrong one is a 422 that names it.
#[derive(Debug)]
pub struct StrictQuery<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for StrictQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|_| {
            ApiError::new(ProblemType::InvalidRequest).saying("A query parameter is unknown, repeated or malformed.")
        })
    }
}

fn require_media_type(headers: &HeaderMap, wanted: &str) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(ApiError::new(ProblemType::UnsupportedMediaType).saying(format!("Send `Content-Type: {wanted}`.")))
}

/// The whole body.
///
/// # Errors
/// 400, 408, 413; 503 if too much is worked on by the time it has arrived.
pub async fn read(app: &App, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    // Whoever sends slowly keeps nobody out.
    let aside = app.admission.aside();
    let bytes = tokio::time::timeout(BODY_TIMEOUT, collect(body, limit))
        .await
        .unwrap_or_else(|_| Err(ApiError::new(ProblemType::RequestTimeout)))?;
    app.admission.go_on(aside)?;
    Ok(bytes)
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut kept = Vec::new();
    let mut length = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::new(ProblemType::MalformedRequest).saying("The body broke off."))?;
        length = length.saturating_add(chunk.len());
        if length > DRAIN_BYTES {
            break;
        }
        if length <= limit {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > limit { Err(ApiError::new(ProblemType::PayloadTooLarge)) } else { Ok(kept.into()) }
}
