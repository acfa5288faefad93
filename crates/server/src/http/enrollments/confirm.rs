//! `POST /v1/enrollments/{id}/confirmation` (protocol 4.4).
//!
//! The binding is signed before the transaction and stored only if the code is right: no key is in use inside a
//! transaction, and a wrong code leaves nothing behind but its count.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    device::StoredBinding,
    enrollment::is_guarded,
    ports::enrollments::{ClaimedDevice, ConfirmEnrollment, ConfirmOutcome},
};
use countersign_proto::{
    api::enrollments::{ConfirmEnrollment as Request, Enrollment},
    ids::{EnrollmentId, TenantId},
    jose::PublicKey,
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::EnrollmentStatus,
};

use super::{admission, find, parse, show_enrollment};
use crate::{
    alarm,
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult},
        state::App,
    },
    signing::{BindingSubject, Sealed},
};

/// Activates the device that shows this code.
#[utoipa::path(post, path = "/v1/enrollments/{id}/confirmation", tag = "enrollments", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 200, description = "The completed enrollment", body = Enrollment)))]
#[tracing::instrument(name = "http.enrollments.confirm", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<Enrollment>> {
    let id = parse(&id)?;
    check(&value)?;
    let outcome = confirm(&app, &caller, id, value.code).await?;
    let refusal = match outcome {
        ConfirmOutcome::Completed | ConfirmOutcome::AlreadyCompleted => None,
        ConfirmOutcome::WrongCode { attempts_left } => {
            Some(ApiError::new(ProblemType::WrongCode).with("attempts_left", attempts_left))
        }
        ConfirmOutcome::NotClaimed => Some(ApiError::new(ProblemType::EnrollmentNotClaimed)),
        ConfirmOutcome::Closed(status) => Some(ApiError::enrollment_closed(status)),
        ConfirmOutcome::ApprovalRequired => Some(admission::required()),
        ConfirmOutcome::NotFound => Some(ApiError::not_found()),
    };
    match refusal {
        Some(refusal) => Err(refusal),
        None => Ok(Json(show_enrollment(find(&app, &caller, id).await?, app.now()))),
    }
}

pub(crate) fn check(value: &Request) -> ApiResult<()> {
    if value.code.len() != 6 || !value.code.bytes().all(|byte| byte.is_ascii_digit()) {
        // Not counted: nobody reads six digits off a phone and types something else.
        return Err(ApiError::invalid("/code", "must be six digits"));
    }
    Ok(())
}

async fn confirm(app: &App, caller: &ApiCaller, id: EnrollmentId, code: String) -> ApiResult<ConfirmOutcome> {
    let now = app.now();
    let tenant_id = caller.caller.tenant_id;
    let Some(claimed) = app.store.claimed_device(tenant_id, id).await? else {
        // Unclaimed, unknown, or over with its device deleted.
        return Ok(match find(app, caller, id).await?.status_at(now) {
            EnrollmentStatus::Pending | EnrollmentStatus::Claimed => ConfirmOutcome::NotClaimed,
            status => ConfirmOutcome::Closed(status),
        });
    };
    let device_id = claimed.device_id;
    let binding = bind(app, tenant_id, id, claimed, now)?;
    let tenant = app.store.tenant(tenant_id).await?.ok_or_else(|| ApiError::internal("the caller's tenant is gone"))?;
    let (stamp, is_guarded) = (caller.stamp(app, now), is_guarded(&tenant.policy));
    let command = ConfirmEnrollment { stamp, id, device_id, code, binding, is_guarded };
    Ok(app.store.confirm_enrollment(command).await?)
}

/// The statement that the claimed keys are the device's. Of a completed enrollment one that states nothing: the keys may
/// have been replaced since, and a repeat of the code binds nothing. Should a rewritten row let it through all the same, it
/// makes an unknown key.
fn bind(
    app: &App,
    tenant_id: TenantId,
    id: EnrollmentId,
    claimed: ClaimedDevice,
    now: Timestamp,
) -> ApiResult<StoredBinding> {
    if claimed.is_completed {
        return Ok(StoredBinding { id: app.new_id(now), jws: String::new() });
    }
    let key = |sec1: &[u8]| PublicKey::from_sec1(sec1).map_err(|_| ApiError::internal("a stored key is no key"));
    let ClaimedDevice { device_id, user_id, external_id, purpose, claim_seal, device_key, uv_key, .. } = claimed;
    let (device_key, uv_key) = (key(&device_key)?, uv_key.as_deref().map(key).transpose()?);
    let (external_id, device_key, uv_key) = (external_id.as_str(), &device_key, uv_key.as_ref());
    let claim = Sealed::Claim { enrollment_id: id, tenant_id, external_id, device_id, purpose, device_key, uv_key };
    if !app.keys.seals().holds(&claim_seal, &claim) {
        alarm::raise("claim_seal", &id.to_string());
        return Err(ApiError::internal("claim_seal"));
    }
    let subject = BindingSubject { device_id, user_id, tenant_id, external_id, purpose, device_key, uv_key };
    Ok(app.keys.sign_binding(&subject, now, app.entropy.as_ref())?)
}
