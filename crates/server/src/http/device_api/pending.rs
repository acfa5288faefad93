//! `GET /v1/device/challenges` (protocol 5.2): works with every push provider dead.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use countersign_core::{policy::devices::update_state, ports::challenges::InboxEntry, wake::WakeKey};
use countersign_proto::{
    api::devices::{PendingChallenge, PendingChallenges},
    jose::sha256,
    vocabulary::UpdateState,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::proof::ProvenDevice;
use crate::http::{
    body::StrictQuery,
    hold::wait_end,
    problem::{ApiError, ApiResult},
    state::App,
};

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Seconds to wait for a change, 0 to 50; 0 if absent.
    #[param(minimum = 0, maximum = 50)]
    wait: Option<u32>,
}

/// What waits for this device's answer, oldest first.
#[utoipa::path(get, path = "/v1/device/challenges", tag = "device", params(Query,
    ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the set that the device has seen")),
    responses((status = 200, description = "The set", body = PendingChallenges), (status = 304, description = "Still the set of `If-None-Match`")))]
#[tracing::instrument(name = "http.device_api.pending", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    device: ProvenDevice,
    headers: HeaderMap,
    StrictQuery(query): StrictQuery<Query>,
) -> ApiResult<Response> {
    let device_id = device.key.signer.device_id;
    let until = wait_end(app.now(), query.wait)?;
    app.sightings.pulled(device.key.signer.tenant_id, device_id, app.now());
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // They share the 8 KiB into which the request was read: a held read must not keep that.
    drop(headers);
    // Registered before the first read: a change in between is heard.
    let waiter = if until > app.now() { app.waiters.register(WakeKey::Device(device_id)) } else { None };
    let mut is_first = true;
    // From a wake-up until the reply, or the next sleep.
    let mut _turn = None;
    loop {
        let now = app.now();
        let inbox = app.store.inbox(device_id, now).await?;
        let tag = etag(&inbox);
        let is_news = match &seen {
            Some(seen) => !matches_tag(seen, &tag),
            None => !inbox.is_empty(),
        };
        // After the read: what became empty may be empty because the device was revoked since it proved itself.
        if !std::mem::take(&mut is_first) || (is_news && inbox.is_empty()) {
            device.still_reads(&app).await?;
        }
        let Some(waiter) = waiter.as_ref().filter(|_| !is_news && now < until) else {
            app.sightings.fetched(device_id, inbox.iter().map(|entry| entry.id), now);
            return answer(&app, &device, inbox, &tag, seen.as_deref()).await;
        };
        waiter.has_seen(inbox.iter().map(|entry| entry.id).collect::<BTreeSet<_>>());
        let next_expiry = inbox.iter().map(|entry| entry.expires_at).min();
        _turn = None;
        let aside = app.admission.aside();
        let goes_on = waiter.wait(app.clock.as_ref(), next_expiry.map_or(until, |expiry| expiry.min(until))).await;
        _turn = app.waiters.turn().await;
        drop(aside);
        if !goes_on {
            let now = app.now();
            let inbox = app.store.inbox(device_id, now).await?;
            let tag = etag(&inbox);
            // Superseded by whoever has the device now, perhaps by new keys, or cut by a stop: a change that ended this
            // read's right may have woken nobody here.
            device.still_reads(&app).await?;
            app.sightings.fetched(device_id, inbox.iter().map(|entry| entry.id), now);
            return answer(&app, &device, inbox, &tag, seen.as_deref()).await;
        }
    }
}

async fn answer(
    app: &App,
    device: &ProvenDevice,
    inbox: Vec<InboxEntry>,
    tag: &str,
    seen: Option<&str>,
) -> ApiResult<Response> {
    let header_value = HeaderValue::from_str(tag).map_err(|_| ApiError::internal("an ETag is no header"))?;
    let mut response = if seen.is_some_and(|seen| matches_tag(seen, tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let challenges = inbox
            .into_iter()
            .map(|entry| PendingChallenge { id: entry.id, challenge: entry.jws, expires_at: entry.expires_at })
            .collect();
        let update_required = is_too_old(app, device).await?.then_some(true);
        Json(PendingChallenges { challenges, update_required, server_time: app.now() }).into_response()
    };
    response.headers_mut().insert(header::ETAG, header_value);
    Ok(response)
}

/// Whether the device is known to be older than its organisation asks (5.4).
async fn is_too_old(app: &App, device: &ProvenDevice) -> ApiResult<bool> {
    let tenant = app.store.tenant(device.key.signer.tenant_id).await?;
    let state = tenant.map(|tenant| update_state(&tenant.policy.device_requirements, &device.key.versions));
    Ok(state == Some(UpdateState::UpdateRequired))
}

/// Of the set of ids: the same challenges have the same tag, in whatever order.
fn etag(inbox: &[InboxEntry]) -> String {
    let ids: BTreeSet<String> = inbox.iter().map(|entry| entry.id.to_string()).collect();
    let all: Vec<String> = ids.into_iter().collect();
    format!("\"{}\"", sha256(all.join(",")))
}

/// RFC 9110 §13.1.2: a list of tags, compared weakly, or `*`.
pub(super) fn matches_tag(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}
