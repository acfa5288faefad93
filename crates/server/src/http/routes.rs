//! The router: every handler, behind the layers.

use std::sync::Arc;

use axum::{Router, middleware};
use countersign_proto::problem::ProblemType;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access, challenges, device_api, devices, enrollments, events, layers, meta, openapi, policy, problem::ApiError,
    reports, state::App, users,
};

/// Every route, without state: for OpenAPI and for the test that walks it.
pub fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(meta::live::handle))
        .routes(routes!(meta::ready::handle))
        .routes(routes!(meta::openapi::handle))
        .routes(routes!(meta::problem::handle))
        .routes(routes!(meta::jwks::handle))
        .routes(routes!(meta::discovery::handle))
        .routes(routes!(enrollments::create::handle))
        .routes(routes!(enrollments::show::handle))
        .routes(routes!(enrollments::confirm::handle))
        .routes(routes!(enrollments::cancel::handle))
        .routes(routes!(challenges::create::handle, challenges::list::handle))
        .routes(routes!(challenges::show::handle))
        .routes(routes!(challenges::watch::handle))
        .routes(routes!(challenges::cancel::handle))
        .routes(routes!(challenges::code::handle))
        .routes(routes!(users::list::handle))
        .routes(routes!(users::show::handle))
        .routes(routes!(users::devices::handle))
        .routes(routes!(users::unlock::handle))
        .routes(routes!(users::report::handle, users::clear_report::handle))
        .routes(routes!(devices::list::handle))
        .routes(routes!(devices::show::handle, devices::revoke::handle))
        .routes(routes!(devices::suspend::handle))
        .routes(routes!(devices::resume::handle))
        .routes(routes!(devices::test_push::handle))
        .routes(routes!(devices::show_test_push::handle))
        .routes(routes!(policy::show::handle, policy::set::handle))
        .routes(routes!(
            policy::show_application::handle,
            policy::set_application::handle,
            policy::remove_application::handle
        ))
        .routes(routes!(policy::dry_run::handle))
        .routes(routes!(reports::at_risk::handle))
        .routes(routes!(events::list::handle))
        .routes(routes!(device_api::register::handle))
        .routes(routes!(device_api::own::handle))
        .routes(routes!(device_api::policy::handle))
        .routes(routes!(device_api::pending::handle))
        .routes(routes!(device_api::fetch::handle))
        .routes(routes!(device_api::respond::handle))
        .routes(routes!(device_api::update_push::handle))
        .routes(routes!(device_api::deregister::handle))
        .routes(routes!(device_api::dispute::handle))
}

/// The API, ready to serve.
pub fn router(app: &Arc<App>) -> Router {
    let (router, _) = documented().split_for_parts();
    let routed = router
        .method_not_allowed_fallback(|| async { ApiError::new(ProblemType::MethodNotAllowed) })
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), access::authorize))
        .fallback(|| async { ApiError::not_found() })
        .with_state(Arc::clone(app));
    layers::wrap(routed, app)
}
