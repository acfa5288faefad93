//! Who calls: decided before a handler runs, by the operation's row in [`super::operations`].
//!
//! Fails closed: a route without a row is refused. Keys are looked up at each request, never cached, so that a revoked
//! key is refused on every node once the revoke has returned. Signed requests are read in [`super::client_proof`].

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{Response, header, request::Parts},
    middleware::Next,
    response::IntoResponse as _,
};
use countersign_core::{
    actor::{Actor, Stamp},
    api_client::{ApiKey, Caller, Scope},
    digest::Digest,
    policy::Policy,
    ports::StoreError,
};
use countersign_proto::{problem::ProblemType, timestamp::Timestamp};

use super::{
    client_proof,
    device_api::proof::{self, ProvenDevice},
    operations::{Access, Operation},
    problem::{ApiError, ApiResult, unauthenticated},
    state::App,
};
use crate::alarm;

/// The request's id, as in `X-Request-Id`, the log and events.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// An API client that may call this operation.
#[derive(Debug, Clone)]
pub struct ApiCaller {
    /// Who.
    pub caller: Caller,
    key: Digest,
    request_id: RequestId,
}

impl ApiCaller {
    /// The stamp of a command by this caller.
    pub fn stamp(&self, app: &App, at: Timestamp) -> Stamp {
        let actor = Actor::ApiClient { client_id: self.caller.client_id, key_id: self.caller.key_id };
        app.stamp(actor, self.caller.tenant_id, &self.request_id.0, at)
    }

    /// Whether the key is still good, for reads that were held: a revoked key gets nothing more.
    ///
    /// # Errors
    /// 401.
    pub async fn reauthenticate(&self, app: &App) -> ApiResult<()> {
        let caller = find_caller(app, self.key, app.now()).await?.ok_or_else(unauthenticated)?;
        if caller.has_shown_enough() { Ok(()) } else { Err(client_proof::required()) }
    }

    /// Whether this caller may ask approvals for an application under this policy, in the way in which it called.
    ///
    /// # Errors
    /// 403 `application-not-allowed`; 401 `client-proof-required` if the application's profile asks for a signature.
    pub fn require_application(&self, policy: &Policy, application: Option<&str>) -> ApiResult<()> {
        if !self.caller.may_ask_for(application) {
            return Err(ApiError::new(ProblemType::ApplicationNotAllowed));
        }
        if self.caller.has_shown_enough_for(policy, application) { Ok(()) } else { Err(client_proof::required()) }
    }

    /// Whether the caller holds a scope, for operations that show more to some.
    pub fn holds(&self, scope: Scope) -> bool {
        self.caller.scopes.allow(scope)
    }
}

/// Runs before every handler.
pub async fn authorize(State(app): State<Arc<App>>, request: Request, next: Next) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    match admit(&app, &mut parts, body).await {
        Ok(body) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

async fn admit(app: &Arc<App>, parts: &mut Parts, mut body: Body) -> ApiResult<Body> {
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    // A known path under another method has no row: axum's own 405, with `Allow`, follows.
    let Some(operation) = Operation::find(&parts.method, path) else {
        let is_known_path = super::operations::ALL.iter().any(|operation| operation.path == path);
        return if is_known_path { Ok(body) } else { Err(ApiError::internal("a route without an operation")) };
    };
    match operation.access {
        Access::Public | Access::Artefact(_) => {}
        Access::Client(scopes) | Access::ClientWithAll(scopes) => {
            let (caller, key);
            (caller, key, body) = authenticate(app, operation, parts, body).await?;
            if !operation.is_open_to(&caller.scopes) {
                let word = if matches!(operation.access, Access::ClientWithAll(_)) { " and " } else { " or " };
                let needed: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
                return Err(ApiError::new(ProblemType::InsufficientScope).with("required_scope", needed.join(word)));
            }
            app.sightings.key_used(caller.tenant_id, caller.key_id, app.now());
            let request_id = request_id(parts);
            parts.extensions.insert(ApiCaller { caller, key, request_id });
        }
        Access::DeviceProof => {
            let proven = proof::verify(app, parts).await?;
            parts.extensions.insert(proven);
        }
    }
    // An id that is not even text is as unknown as any other; axum's own refusal would be no problem document.
    RawPathParams::from_request_parts(parts, app).await.map(|_| body).map_err(|_| ApiError::not_found())
}

/// Who calls, and what it is looked up by. The body goes through: a signature covers it, too.
async fn authenticate(
    app: &App,
    operation: &Operation,
    parts: &Parts,
    body: Body,
) -> ApiResult<(Caller, Digest, Body)> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    // Two headers could be read differently by a proxy in front: refused.
    let (Some(value), None) = (values.next(), values.next()) else { return Err(unauthenticated()) };
    let value = value.to_str().map_err(|_| unauthenticated())?;
    if let Some(proof) = strip_scheme(value, "ClientProof") {
        return client_proof::verify(app, operation, parts, body, proof).await;
    }
    let key = strip_scheme(value, "Bearer").and_then(ApiKey::parse).ok_or_else(unauthenticated)?.digest();
    let caller = find_caller(app, key, app.now()).await?.filter(|caller| caller.public_key.is_none());
    let caller = caller.ok_or_else(unauthenticated)?;
    if caller.has_shown_enough() { Ok((caller, key, body)) } else { Err(client_proof::required()) }
}

/// Who holds the key with this digest, as the server itself wrote it down. Rows that it did not write are no key, and an
/// alarm.
///
/// # Errors
/// The store does not answer.
pub async fn find_caller(app: &App, key: Digest, now: Timestamp) -> Result<Option<Caller>, StoreError> {
    let Some(caller) = app.store.authenticate(key, now).await? else { return Ok(None) };
    if app.keys.seals().hold_caller(&caller, key) {
        return Ok(Some(caller));
    }
    alarm::raise("api_key_seal_invalid", &caller.key_id.to_string());
    Ok(None)
}

/// The credentials after a scheme, whose name is case-insensitive (RFC 9110 §11.1).
pub fn strip_scheme<'v>(value: &'v str, scheme: &str) -> Option<&'v str> {
    let (given, rest) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim_start_matches(' '))
}

/// The request's id, given by the outermost layer.
pub fn request_id(parts: &Parts) -> RequestId {
    parts.extensions.get().cloned().unwrap_or_else(|| RequestId(Arc::from("")))
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(request_id(parts))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Absent only if the operation's row asks for no client: a fault of ours, refused.
        parts.extensions.get().cloned().ok_or_else(|| ApiError::internal("no caller on this operation"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ProvenDevice {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| ApiError::internal("no device on this operation"))
    }
}
