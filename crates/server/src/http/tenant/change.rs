//! `PATCH /v1/tenant` (protocol 15).

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    ports::tenants::{ChangeTenant, ChangeTenantOutcome, TenantRetention},
    text::Checker,
};
use countersign_proto::api::tenants::{ChangeTenant as Request, Tenant};

use super::show_tenant;
use crate::{
    config::Retention,
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// Changes the caller's own organisation.
#[utoipa::path(patch, path = "/v1/tenant", tag = "tenant", request_body = Request,
    responses((status = 200, description = "The caller's organisation", body = Tenant)))]
#[tracing::instrument(name = "http.tenant.change", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<Tenant>> {
    let (name, retention) = check(value)?;
    let command = ChangeTenant { stamp: caller.stamp(&app, app.now()), name, retention };
    match app.store.change_tenant(command).await? {
        ChangeTenantOutcome::Changed(details) => Ok(Json(show_tenant(*details))),
        ChangeTenantOutcome::NotFound => Err(ApiError::internal("the caller's tenant is gone")),
    }
}

/// Name and retention, where they are to change.
pub(crate) fn check(value: Request) -> ApiResult<(Option<String>, Option<TenantRetention>)> {
    let mut checker = Checker::default();
    let name = checker.optional_text("/name", value.name.as_deref(), 1, 128);
    let retention = value.retention.map(|retention| {
        let mut days = |name: &str, days: Option<u32>| {
            let (least, most) = (i64::from(Retention::LEAST_DAYS), i64::from(Retention::MOST_DAYS));
            if let Some(days) = days {
                checker.range(&format!("/retention/{name}"), i64::from(days), least, most);
            }
            days
        };
        TenantRetention {
            challenge_days: days("challenge_days", retention.challenge_days),
            enrollment_days: days("enrollment_days", retention.enrollment_days),
        }
    });
    checker.finish().map_err(ApiError::invalid_members)?;
    Ok((name, retention))
}
