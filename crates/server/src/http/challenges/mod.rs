//! `/v1/challenges`: callers create, read, watch, list and cancel, and type codes (protocol 6).

pub mod cancel;
pub mod code;
pub mod create;
pub mod list;
mod rate_limit;
pub mod show;
pub mod watch;

use countersign_core::{
    api_client::Scope,
    challenge::{ChallengeRecord, DeliveryRecord},
    ports::challenges::Asker,
};
use countersign_proto::{api::challenges::Delivery, ids::ChallengeId, problem::ProblemType};

use super::{
    access::ApiCaller,
    client_proof, expiry,
    problem::{ApiError, ApiResult},
    state::App,
};
use crate::decisions::Viewer;

/// The caller's challenge: its own, or with `audit:read` any of its tenant.
///
/// # Errors
/// One 404 for unknown, another tenant's and another client's ids; 410 if its user was erased.
async fn find(app: &App, caller: &ApiCaller, id: ChallengeId) -> ApiResult<(ChallengeRecord, Viewer)> {
    let asker = if caller.holds(Scope::AuditRead) { Asker::Anybody } else { Asker::Client(caller.caller.client_id) };
    let record = app.store.challenge_for(asker, caller.caller.tenant_id, id).await?;
    let record = record.ok_or_else(ApiError::not_found)?;
    let viewer = if record.facts.client_id == caller.caller.client_id && caller.holds(Scope::Challenges) {
        // An API key that was stolen from a client which signs is no way to the results of what it asked.
        if !caller.caller.has_shown_enough_for_challenge(record.facts.policy.profile.is_some()) {
            return Err(client_proof::required());
        }
        Viewer::Creator
    } else if caller.holds(Scope::AuditRead) {
        Viewer::Auditor
    } else {
        return Err(ApiError::not_found());
    };
    if record.erased_at.is_some() {
        return Err(ApiError::new(ProblemType::Erased));
    }
    Ok((expiry::settle(app, record).await?, viewer))
}

/// A delivery as callers see it.
pub fn show_delivery(record: DeliveryRecord) -> Delivery {
    let DeliveryRecord { device_id, channel, state, attempts, last_error, updated_at, accepted_at, fetched_at } =
        record;
    Delivery { device_id, channel, state, attempts, last_error, updated_at, accepted_at, fetched_at }
}
