//! `POST /v1/challenges/{id}/code` (protocol 6.8): what the person read off the phone.
//!
//! The code is judged before the transaction, in constant time and against what the server sealed, not against what
//! the database says; the one conditional write then counts it or approves. No code is ever logged.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    challenge::ChallengeRecord,
    ports::challenges::{EnterCode, EnterCodeOutcome},
};
use countersign_proto::{
    api::challenges::{Challenge, EnterCode as Request},
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::{ChallengeStatus, VerificationMode},
};

use super::find;
use crate::{
    decisions::{AwaitedCode, Viewer},
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult, user_locked},
        state::App,
    },
};

/// Approves with the code that a device shows; repeated with the same code, the same answer.
#[utoipa::path(post, path = "/v1/challenges/{id}/code", tag = "challenges", params(("id" = String, Path)),
    request_body = Request,
    responses((status = 200, description = "The approved challenge", body = Challenge)))]
#[tracing::instrument(name = "http.challenges.code", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictJson { value: Request { code }, .. }: StrictJson<Request>,
) -> ApiResult<Json<Challenge>> {
    let id = id.parse().map_err(|_| ApiError::not_found())?;
    let (record, viewer) = find(&app, &caller, id).await?;
    if viewer != Viewer::Creator {
        return Err(ApiError::not_found());
    }
    check_form(&record, &code)?;
    let now = app.now();
    let Some(awaited) = app.decisions.judge_code(&record, &code, now)? else {
        return not_awaited(&app, &record, &code);
    };
    let outcome = enter(&app, &caller, &record, awaited, now).await?;
    metrics::counter!("countersign_codes_total", "outcome" => word(outcome)).increment(1);
    match outcome {
        EnterCodeOutcome::Approved => {
            let (record, viewer) = find(&app, &caller, id).await?;
            Ok(Json(app.decisions.show(&record, viewer, false, app.now())?))
        }
        EnterCodeOutcome::Wrong { attempts_left } => {
            Err(ApiError::new(ProblemType::WrongCode).with("attempts_left", attempts_left))
        }
        EnterCodeOutcome::Locked(until) => Err(user_locked(until, now)),
        EnterCodeOutcome::DeviceChanged => Err(ApiError::new(ProblemType::NotAwaitingCode)),
        EnterCodeOutcome::NotFound => Err(ApiError::not_found()),
        EnterCodeOutcome::Closed(_) => {
            // Somebody was faster, perhaps this caller with the same code.
            let (record, _) = find(&app, &caller, id).await?;
            not_awaited(&app, &record, &code)
        }
    }
}

/// As many digits as the code has. Not counted: nobody reads them off a phone and types something else.
fn check_form(record: &ChallengeRecord, code: &str) -> ApiResult<()> {
    let policy = &record.facts.policy;
    if policy.mode != VerificationMode::Display {
        return Err(ApiError::new(ProblemType::NotAwaitingCode));
    }
    let is_code = policy.digits.map(usize::from) == Some(code.len()) && code.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { Ok(()) } else { Err(ApiError::invalid("/code", "must be the digits that the device shows")) }
}

async fn enter(
    app: &App,
    caller: &ApiCaller,
    record: &ChallengeRecord,
    awaited: AwaitedCode,
    now: Timestamp,
) -> ApiResult<EnterCodeOutcome> {
    let AwaitedCode { device_id, response, seal, typed } = awaited;
    let facts = &record.facts;
    let command = EnterCode {
        stamp: caller.stamp(app, now),
        challenge_id: facts.id,
        user_id: facts.user.id,
        device_id,
        response,
        seal,
        typed,
        wrong_numbers_before_lock: facts.policy.wrong_numbers_before_lock,
        lock_seconds: facts.policy.lock_seconds,
    };
    Ok(app.store.enter_code(command).await?)
}

/// No device shows a code: none yet, or the challenge has ended, perhaps with this very code.
fn not_awaited(app: &App, record: &ChallengeRecord, code: &str) -> ApiResult<Json<Challenge>> {
    match record.status {
        ChallengeStatus::Pending => Err(ApiError::new(ProblemType::NotAwaitingCode)),
        _ if app.decisions.was_approved_with(record, code) => {
            Ok(Json(app.decisions.show(record, Viewer::Creator, false, app.now())?))
        }
        status => Err(ApiError::challenge_closed(status)),
    }
}

const fn word(outcome: EnterCodeOutcome) -> &'static str {
    match outcome {
        EnterCodeOutcome::Approved => "right",
        EnterCodeOutcome::Wrong { .. } => "wrong",
        EnterCodeOutcome::Locked(_) => "locked",
        EnterCodeOutcome::DeviceChanged | EnterCodeOutcome::Closed(_) | EnterCodeOutcome::NotFound => "late",
    }
}
