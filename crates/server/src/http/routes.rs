//! The router: every handler, behind the layers.

use std::sync::Arc;

use axum::{Router, middleware};
use countersign_proto::problem::ProblemType;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access, api_clients, audit, challenges, device_api, devices, enrollments, events, installations, layers, meta,
    openapi, policy, problem::ApiError, reports, state::App, tenant, users, webhooks,
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
        .routes(routes!(api_clients::create::handle, api_clients::list::handle))
        .routes(routes!(api_clients::show::handle, api_clients::change::handle, api_clients::revoke::handle))
        .routes(routes!(api_clients::add_key::handle))
        .routes(routes!(api_clients::revoke_key::handle))
        .routes(routes!(users::list::handle))
        .routes(routes!(users::show::handle, users::change::handle, users::erase::handle))
        .routes(routes!(users::methods::handle))
        .routes(routes!(users::timeline::handle))
        .routes(routes!(users::export::handle))
        .routes(routes!(users::devices::handle))
        .routes(routes!(users::revoke_all::handle))
        .routes(routes!(users::unlock::handle))
        .routes(routes!(users::report::handle, users::clear_report::handle))
        .routes(routes!(devices::list::handle))
        .routes(routes!(devices::show::handle, devices::rename::handle, devices::revoke::handle))
        .routes(routes!(devices::revoke_many::handle))
        .routes(routes!(installations::revoke::handle))
        .routes(routes!(devices::suspend::handle))
        .routes(routes!(devices::resume::handle))
        .routes(routes!(devices::test_push::handle))
        .routes(routes!(devices::show_test_push::handle))
        .routes(routes!(tenant::show::handle, tenant::change::handle))
        .routes(routes!(policy::show::handle, policy::set::handle))
        .routes(routes!(
            policy::show_application::handle,
            policy::set_application::handle,
            policy::remove_application::handle
        ))
        .routes(routes!(policy::dry_run::handle))
        .routes(routes!(reports::at_risk::handle))
        .routes(routes!(webhooks::create::handle, webhooks::list::handle))
        .routes(routes!(webhooks::show::handle, webhooks::change::handle, webhooks::delete::handle))
        .routes(routes!(webhooks::rotate_secret::handle))
        .routes(routes!(webhooks::test::handle))
        .routes(routes!(webhooks::deliveries::handle))
        .routes(routes!(webhooks::show_delivery::handle))
        .routes(routes!(webhooks::replay_delivery::handle))
        .routes(routes!(webhooks::replay::handle))
        .routes(routes!(events::list::handle))
        .routes(routes!(audit::list::handle))
        .routes(routes!(audit::key::handle))
        .routes(routes!(audit::checkpoint::handle))
        .routes(routes!(audit::prove::inclusion))
        .routes(routes!(audit::prove::consistency))
        .routes(routes!(audit::export::handle))
        .routes(routes!(device_api::register::handle))
        .routes(routes!(device_api::own::handle))
        .routes(routes!(device_api::policy::handle))
        .routes(routes!(device_api::pending::handle))
        .routes(routes!(device_api::fetch::handle))
        .routes(routes!(device_api::respond::handle))
        .routes(routes!(device_api::update_push::handle))
        .routes(routes!(device_api::rotate_key::handle))
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
