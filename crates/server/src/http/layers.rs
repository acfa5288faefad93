//! What surrounds every request: its id, its span and log line, its metrics, problem documents, safe headers.

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, Response, Version, header},
    middleware::{self, Next},
    response::IntoResponse as _,
};
use countersign_proto::{ids::CommandId, problem::ProblemType};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use super::{
    access::RequestId,
    client_address,
    operations::Operation,
    problem::{self, ApiError},
    state::App,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the layers around the routes. The outermost is the last.
pub fn wrap(routes: Router, app: &Arc<App>) -> Router {
    routes
        .layer(middleware::from_fn(name_operation))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(app), surround))
}

/// The operation's name, for the log and the metrics of [`surround`].
#[derive(Debug, Clone, Copy)]
struct OperationId(&'static str);

async fn name_operation(request: Request, next: Next) -> Response<Body> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let id = Operation::find(request.method(), path).map_or("unknown", |operation| operation.id);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(OperationId(id));
    response
}

async fn surround(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response<Body> {
    let begun_at = app.now();
    // Ours, never the caller's: two requests never share an id in the log.
    let request_id: CommandId = app.new_id(begun_at);
    let request_id: Arc<str> = request_id.to_string().into();
    let method = request.method().clone();
    let is_v1 = request.uri().path().starts_with("/v1");
    let version = request.version();
    let host = require_one_host(&request);
    request.extensions_mut().insert(RequestId(Arc::clone(&request_id)));
    // The path is not logged: ids in it are, by the handlers, under their own names.
    let client = client_address::of(request.extensions(), request.headers(), &app.trusted_proxies);
    let span = tracing::info_span!("http", "request.id" = %request_id, method = %method, "client.address" = client.map(tracing::field::display));
    async {
        let admitted = match host {
            Ok(()) if is_v1 => app.admission.enter().map(Some),
            other => other.map(|()| None),
        };
        let response = match admitted {
            Ok(_inside_until_answered) => next.run(request).await,
            Err(refused) => refused.into_response(),
        };
        let operation = response.extensions().get::<OperationId>().map_or("unknown", |id| id.0);
        let mut response = problem::render(response, app.issuer(), &request_id);
        finish_headers(&mut response, &request_id, is_v1);
        if app.readiness.is_leaving() && version <= Version::HTTP_11 {
            // The next request of this connection goes to a node that stays. HTTP/2 has GOAWAY for this, at the stop.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        report(&app, operation, &method, &response, begun_at);
        response
    }
    .instrument(span)
    .await
}

/// RFC 9112 section 3.2: a request that names no host, or two, is refused. A proxy before us may have read another one.
fn require_one_host(request: &Request) -> Result<(), ApiError> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(ApiError::new(ProblemType::MalformedRequest).saying("Send `Host` once."));
    }
    Ok(())
}

fn report(
    app: &App,
    operation: &'static str,
    method: &Method,
    response: &Response<Body>,
    begun_at: countersign_proto::timestamp::Timestamp,
) {
    let millis = app.now().millis_since(begun_at);
    let status = response.status().as_u16();
    metrics::counter!("countersign_http_requests_total", "operation" => operation, "status" => status.to_string())
        .increment(1);
    // Milliseconds fit a float exactly for longer than any request lasts.
    let seconds = u32::try_from(millis).map_or(f64::MAX, |millis| f64::from(millis) / 1000.0);
    metrics::histogram!("countersign_http_request_seconds", "operation" => operation).record(seconds);
    tracing::info!(operation, %method, status, duration_ms = millis, "request");
}

fn finish_headers(response: &mut Response<Body>, request_id: &str, is_v1: bool) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
    if is_v1 || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
}

/// A panic is a 500 and a count, and the process goes on. Its message may quote input: it is not logged.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    metrics::counter!("countersign_panics_total").increment(1);
    ApiError::internal("panic").into_response()
}
