//! `POST /v1/policy/dry-run` (protocol 9): what would become of a challenge, and which rule decides.
//!
//! Asks the very rules that a real creation asks ([`challenge::check`], [`resolve`], [`create::eligible`]); changes
//! nothing, rings nobody, draws no number. What the user's push budget makes of it only the creation itself can say.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    challenge::{self, ChallengeRequest},
    device::is_dormant,
    policy::{EffectivePolicy, Policy, PolicyRefusal, Resolved, check as rules, resolve, stricter},
    ports::{Store, challenges::Addressee},
};
use countersign_proto::{
    api::{
        challenges::{AppliedPolicy, CreateChallenge, Verification},
        policy::{DecidedBy, DryRun, DryRunOutcome, DryRunProblem, DryRunResult, DryRunUser, PushPlan},
        users::UserReference,
    },
    ids::TenantId,
    problem::FieldError,
    timestamp::Timestamp,
    vocabulary::{Profile, Word as _},
};

use super::current;
use crate::http::{
    access::ApiCaller,
    body::StrictJson,
    challenges::create::{self, no_eligible_device},
    problem::{ApiError, ApiResult},
    state::App,
};

/// Who is asked when nobody is named. Never looked up.
const NOBODY: &str = "nobody";

/// Says what would become of a challenge under the policy in force, or under another one. Changes nothing.
#[utoipa::path(post, path = "/v1/policy/dry-run", tag = "policy", request_body = DryRun,
    responses((status = 200, description = "What would happen", body = DryRunResult)))]
#[tracing::instrument(name = "http.policy.dry_run", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictJson { value, .. }: StrictJson<DryRun>,
) -> ApiResult<Json<DryRunResult>> {
    let in_force = current(&app, &caller).await?;
    run(app.store.as_ref(), caller.caller.tenant_id, &in_force, value, app.now()).await.map(Json)
}

/// The same for the command line.
///
/// # Errors
/// 422 for what no policy could take; 503 if the store does not answer.
pub async fn run(
    store: &dyn Store,
    tenant_id: TenantId,
    in_force: &Policy,
    asked: DryRun,
    now: Timestamp,
) -> ApiResult<DryRunResult> {
    let has_user = asked.user.is_some();
    let (policy, request) = check(in_force, asked)?;
    let resolved = resolve(&policy, &request.policy);
    let mut result = judge(&policy, &request, &resolved);
    if let (true, Ok(resolved)) = (has_user, &resolved) {
        ask_for_user(store, tenant_id, &policy, &request, &resolved.policy, now, &mut result).await?;
    }
    Ok(result)
}

/// The policy to be tried, and the request that it is tried with.
pub(crate) fn check(in_force: &Policy, asked: DryRun) -> ApiResult<(Policy, ChallengeRequest)> {
    let policy = match &asked.policy {
        None => in_force.clone(),
        Some(tried) => checked(tried, in_force.version)?,
    };
    let request = challenge::check(as_creation(asked)).map_err(ApiError::invalid_members)?;
    Ok((policy, request))
}

fn checked(tried: &Policy, version: u32) -> ApiResult<Policy> {
    let inside = |error: FieldError| FieldError { pointer: format!("/policy{}", error.pointer), ..error };
    let refused = |errors: Vec<FieldError>| ApiError::invalid_members(errors.into_iter().map(inside).collect());
    rules::policy(tried).map_err(refused)?;
    Ok(Policy { version, ..tried.clone() })
}

fn as_creation(asked: DryRun) -> CreateChallenge {
    CreateChallenge {
        user: asked.user.unwrap_or_else(|| UserReference { external_id: NOBODY.to_owned() }),
        application: asked.application,
        action: None,
        message: None,
        context: None,
        details: None,
        client_reference: None,
        ttl_seconds: asked.ttl_seconds,
        device_ids: None,
        push: asked.push,
        verification: asked.verification,
        user_verification: asked.user_verification,
        risk: asked.risk,
    }
}

/// What the policy makes of the request, whoever is asked.
fn judge(policy: &Policy, request: &ChallengeRequest, resolved: &Result<Resolved, PolicyRefusal>) -> DryRunResult {
    let (applicable, _) = stricter::applicable(policy, request.text.application.as_deref());
    let applied =
        AppliedPolicy { version: policy.version, profile: applicable.profile.map(Profile::as_str).map(str::to_owned) };
    let refused = DryRunResult {
        outcome: DryRunOutcome::Refused,
        problem: None,
        policy: applied,
        verification: None,
        user_verification: None,
        ttl_seconds: None,
        push: None,
        decided_by: None,
        user: None,
    };
    match resolved {
        Err(refusal) => DryRunResult { problem: Some(problem(&(*refusal).into())), ..refused },
        Ok(Resolved { policy, sources }) => DryRunResult {
            outcome: DryRunOutcome::Created,
            verification: Some(Verification { mode: policy.mode, digits: policy.digits }),
            user_verification: Some(policy.user_verification),
            ttl_seconds: Some(policy.ttl_seconds),
            push: Some(match (request.push, policy.rings) {
                (false, _) => PushPlan::None,
                (true, true) => PushPlan::Ring,
                (true, false) => PushPlan::PullOnly,
            }),
            decided_by: Some(DecidedBy {
                verification_mode: sources.mode,
                digits: sources.digits,
                user_verification: sources.user_verification,
                ttl_seconds: sources.ttl_seconds,
                push: sources.rings,
            }),
            ..refused
        },
    }
}

/// Whether anybody could answer.
async fn ask_for_user(
    store: &dyn Store,
    tenant_id: TenantId,
    policy: &Policy,
    request: &ChallengeRequest,
    effective: &EffectivePolicy,
    now: Timestamp,
    result: &mut DryRunResult,
) -> ApiResult<()> {
    let is_awake = |device: &&Addressee| !is_dormant(device.last_used_at, policy.dormant_after_days, now);
    let addressees = store.addressees(tenant_id, &request.external_id).await?;
    let devices = match &addressees {
        Some(addressees) => create::eligible(addressees, request, effective, is_awake),
        None => Err(no_eligible_device()),
    };
    let locked_until = addressees.and_then(|addressees| addressees.locked_until).filter(|until| *until > now);
    let eligible_devices = devices.as_ref().map_or(0, |devices| u32::try_from(devices.len()).unwrap_or(u32::MAX));
    result.user = Some(DryRunUser { eligible_devices, locked_until });
    if let Err(error) = devices {
        result.outcome = DryRunOutcome::Refused;
        result.problem = Some(problem(&error));
    }
    Ok(())
}

fn problem(error: &ApiError) -> DryRunProblem {
    let spec = error.kind().spec();
    DryRunProblem {
        slug: spec.slug.to_owned(),
        status: spec.status,
        detail: error.detail().to_owned(),
        errors: error.errors().to_vec(),
    }
}
