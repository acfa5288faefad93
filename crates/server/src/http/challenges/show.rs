//! `GET /v1/challenges/{id}` (protocol 6.4), held while pending if the caller asks; a hold that began before a device was
//! shown the code (6.8) ends when it is.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{challenge::ChallengeRecord, wake::WakeKey};
use countersign_proto::{api::challenges::Challenge, vocabulary::ChallengeStatus};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{find, show_delivery};
use crate::http::{
    access::ApiCaller,
    body::StrictQuery,
    hold::wait_end,
    problem::{ApiError, ApiResult},
    state::App,
};

/// What to return, and how long to wait for it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Seconds to wait for the end of the challenge, or for `awaiting_code`, 0 to 50; 0 if absent.
    #[param(minimum = 0, maximum = 50)]
    wait: Option<u32>,
    /// `deliveries`, `evidence`, or both with a comma.
    include: Option<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Include {
    deliveries: bool,
    evidence: bool,
}

impl Include {
    fn parse(list: Option<&str>) -> ApiResult<Self> {
        let mut include = Self::default();
        for word in list.into_iter().flat_map(|list| list.split(',')) {
            match word {
                "deliveries" => include.deliveries = true,
                "evidence" => include.evidence = true,
                _ => return Err(ApiError::invalid("/include", "must be `deliveries`, `evidence` or both")),
            }
        }
        Ok(include)
    }
}

/// Reads a challenge, waiting for its end if asked.
#[utoipa::path(get, path = "/v1/challenges/{id}", tag = "challenges", params(("id" = String, Path), Query),
    responses((status = 200, description = "The challenge", body = Challenge)))]
#[tracing::instrument(name = "http.challenges.show", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    Path(id): Path<String>,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Json<Challenge>> {
    let include = Include::parse(query.include.as_deref())?;
    let until = wait_end(app.now(), query.wait)?;
    let id = id.parse().map_err(|_| ApiError::not_found())?;
    // Registered before the first read: a decision in between is heard. A stranger's id is registered only until that
    // read has found nothing.
    let may_wait = until > app.now();
    let waiter = may_wait.then(|| app.waiters.register_for(WakeKey::Challenge(id), Some(caller.caller.client_id)));
    let (mut record, viewer) = find(&app, &caller, id).await?;
    if let Some(waiter) = waiter.flatten() {
        // From a wake-up until the reply, or the next sleep.
        let mut _turn = None;
        let mut has_waited = false;
        let began_awaiting = record.is_awaiting_code();
        if began_awaiting {
            waiter.has_seen_code();
        }
        let is_as_it_was = |record: &ChallengeRecord| {
            record.status == ChallengeStatus::Pending && record.is_awaiting_code() == began_awaiting
        };
        while is_as_it_was(&record) && app.now() < until {
            _turn = None;
            let aside = app.admission.aside();
            let goes_on = waiter.wait(app.clock.as_ref(), until.min(record.facts.expires_at)).await;
            _turn = app.waiters.turn().await;
            drop(aside);
            has_waited = true;
            (record, _) = find(&app, &caller, id).await?;
            if !goes_on {
                break;
            }
        }
        if has_waited {
            // The key may have been revoked meanwhile: then it learns nothing more.
            caller.reauthenticate(&app).await?;
        }
    }
    let mut shown = app.decisions.show(&record, viewer, include.evidence, app.now())?;
    if include.deliveries {
        let deliveries = app.store.deliveries(record.facts.tenant_id, record.facts.id).await?;
        shown.deliveries = Some(deliveries.into_iter().map(show_delivery).collect());
    }
    Ok(Json(shown))
}
