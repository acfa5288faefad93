//! `/v1/challenges`: callers create, read, watch, list and cancel (protocol 6).

pub mod cancel;
pub mod create;
pub mod list;
pub mod show;
pub mod watch;

use countersign_core::{
    api_client::Scope,
    challenge::{ChallengeRecord, DeliveryRecord},
};
use countersign_proto::{api::challenges::Delivery, ids::ChallengeId};

use super::{
    access::ApiCaller,
    problem::{ApiError, ApiResult},
    state::App,
};
use crate::decisions::Viewer;

/// The caller's challenge: its own, or with `audit:read` any of its tenant.
///
/// # Errors
/// One 404 for unknown, malformed, another tenant's and another client's ids.
async fn find(app: &App, caller: &ApiCaller, id: &str) -> ApiResult<(ChallengeRecord, Viewer)> {
    let id: ChallengeId = id.parse().map_err(|_| ApiError::not_found())?;
    let record = app.store.challenge(id).await?;
    let record = record.filter(|record| record.facts.tenant_id == caller.caller.tenant_id);
    let record = record.ok_or_else(ApiError::not_found)?;
    if record.facts.client_id == caller.caller.client_id && caller.holds(Scope::Challenges) {
        Ok((record, Viewer::Creator))
    } else if caller.holds(Scope::AuditRead) {
        Ok((record, Viewer::Auditor))
    } else {
        Err(ApiError::not_found())
    }
}

fn show_delivery(record: DeliveryRecord) -> Delivery {
    let DeliveryRecord { device_id, channel, state, attempts, last_error, updated_at } = record;
    Delivery { device_id, channel, state, attempts, last_error, updated_at }
}
