//! Who agreed to one more device of a user (protocol 4.1).
//!
//! What a device agreed to is believed only with its evidence, like any other decision. Whether the user has a device at
//! all, and whether the approval was used before, the creating transaction decides; nothing here looks at it.

use countersign_core::{
    api_client::Scope,
    digest::Digest,
    enrollment::{APPROVAL_SECONDS, ENROLL_ACTION, EnrollmentRequest, is_guarded},
    policy::Policy,
    ports::{
        challenges::Asker,
        enrollments::{Admission, Approval},
    },
};
use countersign_proto::{
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, VerificationMode},
};

use crate::{
    decisions::Viewer,
    http::{
        access::ApiCaller,
        problem::{ApiError, ApiResult},
        state::App,
    },
};

/// What the request rests on.
pub(super) async fn of_request(
    app: &App,
    caller: &ApiCaller,
    request: &EnrollmentRequest,
    policy: &Policy,
    now: Timestamp,
) -> ApiResult<Admission> {
    if let Some(reason) = &request.override_reason {
        if !caller.holds(Scope::Admin) {
            return Err(ApiError::new(ProblemType::InsufficientScope).with("required_scope", Scope::Admin.as_str()));
        }
        return Ok(Admission::Overridden { reason: Digest::of(reason) });
    }
    if let Some(id) = &request.approval {
        let approval = approved(app, caller, id, request, now).await?;
        return approval.map(Admission::Approved).ok_or_else(required);
    }
    Ok(if is_guarded(policy) { Admission::FirstDevice } else { Admission::Free })
}

/// 403: nobody agreed.
pub(super) fn required() -> ApiError {
    ApiError::new(ProblemType::ApprovalRequired)
}

/// What a device of the user agreed to; `None`, whatever is wrong with it, but for a row that does not verify: that is a
/// 500 and an alarm.
async fn approved(
    app: &App,
    caller: &ApiCaller,
    id: &str,
    request: &EnrollmentRequest,
    now: Timestamp,
) -> ApiResult<Option<Approval>> {
    let Ok(id) = id.parse() else { return Ok(None) };
    // Of the same client: it asked the person, and nobody else may spend the answer.
    let asker = Asker::Client(caller.caller.client_id);
    let record = app.store.challenge_for(asker, caller.caller.tenant_id, id).await?;
    let Some(record) = record.filter(|record| record.erased_at.is_none()) else { return Ok(None) };
    let facts = &record.facts;
    let is_theirs = facts.tenant_id == caller.caller.tenant_id && facts.client_id == caller.caller.client_id;
    let is_about_it = facts.text.action == ENROLL_ACTION && facts.user.external_id == request.external_id;
    // A careless tap lets nobody in: something was carried between the two screens. (Compared with what was signed.)
    let is_carried = matches!(facts.policy.mode, VerificationMode::Enter | VerificationMode::Display);
    if !is_theirs || !is_about_it || !is_carried || record.status != ChallengeStatus::Approved {
        return Ok(None);
    }
    let shown = app.decisions.show(&record, Viewer::Auditor, false, now)?;
    let is_fresh = shown.decided_at.is_some_and(|at| now <= at.plus_seconds(APPROVAL_SECONDS));
    let device = shown.device.filter(|_| is_fresh && shown.status == ChallengeStatus::Approved);
    Ok(device.map(|device| Approval { challenge_id: facts.id, user_id: facts.user.id, device_id: device.id }))
}
