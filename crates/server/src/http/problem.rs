//! The one place where errors become HTTP: RFC 9457 problem documents (protocol 11).
//!
//! Domain errors know nothing of HTTP; each gets its problem here, in an exhaustive match, so that a new error
//! does not compile until somebody has decided what the client is told. Internal causes are logged once, here,
//! under the request id, and never leave the process.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use countersign_core::{
    policy::PolicyRefusal,
    ports::{StoreError, challenges::DecideOutcome},
    verify::{Obstacle, Refusal},
};
use countersign_proto::{
    jose::{self, SigningError},
    problem::{FieldError, Problem, ProblemType},
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, DeviceStatus, EnrollmentStatus, Word as _},
};
use serde_json::{Map, Value};

use crate::signing::SignFailure;

/// An error reply. Becomes a problem document in [`render`], where the issuer and the request id are known.
#[derive(Debug, Clone)]
pub struct ApiError(Box<Content>);

/// Boxed, so that a handler's good case does not carry the size of its bad one.
#[derive(Debug, Clone)]
struct Content {
    kind: ProblemType,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    cause: Option<String>,
}

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// The problem of this type with its usual words.
    pub fn new(kind: ProblemType) -> Self {
        let detail = Cow::Borrowed(kind.spec().explanation);
        let (errors, extensions, headers) = (Vec::new(), Map::new(), Vec::new());
        Self(Box::new(Content { kind, detail, errors, extensions, headers, cause: None }))
    }

    /// Its type.
    pub fn kind(&self) -> ProblemType {
        self.0.kind
    }

    /// Its words.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The members at fault.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// With other words; safe to show, without anything of the sender's.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// With an extension member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// With the members at fault.
    #[must_use]
    pub fn at(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With a cause for the log. Never a token, key, number, body or name.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// 404: unknown, another tenant's and malformed ids look the same.
    pub fn not_found() -> Self {
        Self::new(ProblemType::NotFound)
    }

    /// 422 about one member.
    pub fn invalid(pointer: &str, detail: &str) -> Self {
        Self::invalid_members(vec![FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() }])
    }

    /// 422 about several members.
    pub fn invalid_members(errors: Vec<FieldError>) -> Self {
        Self::new(ProblemType::InvalidRequest).saying("Some members break a rule.").at(errors)
    }

    /// 401 to whoever sends an artefact that is not acceptable; the reason is for the log only.
    pub fn invalid_signature(reason: impl Into<String>) -> Self {
        Self::new(ProblemType::InvalidDeviceSignature)
            .saying("The signed artefact is not acceptable.")
            .because(reason)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("DeviceProof"))
    }

    /// 401 to a device whose clock is wrong.
    pub fn clock_skew(now: Timestamp) -> Self {
        Self::new(ProblemType::ClockSkew)
            .with("server_time", now.to_string())
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("DeviceProof"))
    }

    /// 403 to a device that may not do this.
    pub fn device_not_active(status: DeviceStatus) -> Self {
        Self::new(ProblemType::DeviceNotActive).with("device_status", status.as_str())
    }

    /// 409: the challenge has ended.
    pub fn challenge_closed(status: ChallengeStatus) -> Self {
        Self::new(ProblemType::ChallengeClosed).with("challenge_status", status.as_str())
    }

    /// 409: the enrollment has ended.
    pub fn enrollment_closed(status: EnrollmentStatus) -> Self {
        Self::new(ProblemType::EnrollmentClosed).with("enrollment_status", status.as_str())
    }

    /// 500, the cause for the log only.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(ProblemType::Internal).because(cause)
    }
}

/// Leaves the error to [`render`].
impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() =
            StatusCode::from_u16(self.0.kind.spec().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the problem document of a reply that carries an [`ApiError`], and logs its cause, once.
pub fn render(response: Response<Body>, issuer: &str, request_id: &str) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let Some(ApiError(error)) = parts.extensions.remove::<ApiError>() else {
        return Response::from_parts(parts, body);
    };
    let error = *error;
    let spec = error.kind.spec();
    match &error.cause {
        Some(cause) if spec.status >= 500 => tracing::error!(problem = spec.slug, cause, "request failed"),
        Some(cause) => tracing::info!(problem = spec.slug, cause, "request refused"),
        None => tracing::debug!(problem = spec.slug, "request refused"),
    }
    metrics::counter!("countersign_problems_total", "type" => spec.slug).increment(1);
    let problem = Problem {
        kind: format!("{issuer}/problems/{}", spec.slug),
        title: spec.title.to_owned(),
        status: spec.status,
        detail: error.detail.into_owned(),
        request_id: request_id.to_owned(),
        errors: error.errors,
        extensions: error.extensions,
    };
    // A problem is made of plain strings and numbers; should it still not serialise, the status says enough.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    for (name, value) in error.headers {
        parts.headers.append(name, value);
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) | StoreError::Overloaded => {
                Self::new(ProblemType::Unavailable).retry_after(1).because(error.to_string())
            }
            StoreError::Corrupt { table, row, .. } => {
                crate::alarm::raise(table, row);
                Self::internal(error.to_string())
            }
            StoreError::ActorGone => unauthenticated().because("the key was revoked meanwhile"),
            StoreError::TenantDisabled => Self::new(ProblemType::TenantDisabled),
            StoreError::QuotaExceeded { quota, limit } => {
                Self::new(ProblemType::QuotaExceeded).with("quota", quota.as_str()).with("limit", *limit)
            }
        }
    }
}

impl From<SignFailure> for ApiError {
    fn from(failure: SignFailure) -> Self {
        match failure.0 {
            // Only a challenge carries what a caller wrote; everything else that we sign has its bounds.
            SigningError::TooLarge { .. } => Self::new(ProblemType::ChallengeTooLarge),
            SigningError::Claims(_) | SigningError::Library => Self::internal(failure.to_string()),
        }
    }
}

/// 401 to an API client.
pub fn unauthenticated() -> ApiError {
    ApiError::new(ProblemType::Unauthenticated)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"countersign\""))
}

/// Protocol 2: one answer for all refusals, with the exceptions that it names.
impl From<jose::Refusal> for ApiError {
    fn from(refusal: jose::Refusal) -> Self {
        if refusal == jose::Refusal::TooLarge {
            return Self::new(ProblemType::PayloadTooLarge);
        }
        match refusal.broken_member() {
            Some(member) => Self::invalid(&member.pointer, &member.detail),
            None => Self::invalid_signature(refusal.reason()),
        }
    }
}

impl From<PolicyRefusal> for ApiError {
    fn from(refusal: PolicyRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            PolicyRefusal::ModeBelowFloor
            | PolicyRefusal::ModeBelowRisk
            | PolicyRefusal::DigitsBelowFloor
            | PolicyRefusal::TtlBelowFloor
            | PolicyRefusal::UserVerificationBelowFloor => Self::new(ProblemType::BelowPolicyFloor).saying(detail),
            PolicyRefusal::InvalidDigits => Self::invalid("/verification/digits", &detail),
            PolicyRefusal::InvalidTtl => Self::invalid("/ttl_seconds", &detail),
            PolicyRefusal::RiskRefused => Self::new(ProblemType::RiskRefused),
        }
    }
}

/// What stood in the way of a response (protocol 7.2).
pub fn obstacle(obstacle: Obstacle, now: Timestamp) -> ApiError {
    match obstacle {
        Obstacle::DeviceNotActive(status) => ApiError::device_not_active(status),
        Obstacle::StaleKey => ApiError::invalid_signature("stale_key"),
        Obstacle::Closed(status) => ApiError::challenge_closed(status),
        Obstacle::Locked(until) => user_locked(until, now),
        Obstacle::Refused(refusal) => match refusal {
            Refusal::NotFound => ApiError::not_found(),
            Refusal::ChallengeMismatch => ApiError::new(ProblemType::ChallengeMismatch),
            Refusal::UserVerificationRequired => ApiError::new(ProblemType::UserVerificationRequired),
            Refusal::ApprovedTooFast => ApiError::new(ProblemType::ApprovedTooFast),
            Refusal::NumberMissing | Refusal::NumberMalformed | Refusal::NumberNotDue => {
                ApiError::invalid("/number", &refusal.to_string())
            }
            Refusal::ReasonNotDue => ApiError::invalid("/reason", &refusal.to_string()),
        },
    }
}

/// 423, with the time that is left.
pub fn user_locked(until: Timestamp, now: Timestamp) -> ApiError {
    let problem = ApiError::new(ProblemType::UserLocked).with("locked_until", until.to_string());
    // A lock without end has no time to wait for; a day keeps well-behaved clients from asking.
    let seconds = until.millis_since(now).div_ceil(1000).clamp(1, 86_400);
    problem.retry_after(seconds)
}

/// What a lost response is told; `None` for the outcomes that are not errors.
pub fn lost(outcome: &DecideOutcome, now: Timestamp) -> Option<ApiError> {
    match outcome {
        DecideOutcome::Won { .. } | DecideOutcome::Repeat(_) => None,
        DecideOutcome::Closed(status) => Some(ApiError::challenge_closed(*status)),
        DecideOutcome::DeviceNotActive(status) => Some(ApiError::device_not_active(*status)),
        DecideOutcome::TenantDisabled => Some(ApiError::new(ProblemType::TenantDisabled)),
        DecideOutcome::StaleKey => Some(ApiError::invalid_signature("stale_key")),
        DecideOutcome::Locked(until) => Some(user_locked(*until, now)),
        DecideOutcome::AwaitingCode => Some(ApiError::new(ProblemType::AwaitingCode)),
        DecideOutcome::NotFound => Some(ApiError::not_found()),
    }
}
