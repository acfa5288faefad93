//! `POST /v1/devices/revoke` (protocol 10.7).
//!
//! A dry run first: what it says is sealed, and the real run is held to it. It does the very same filter, looks at nothing
//! that registered later, and revokes no more devices than were counted; what went another way meanwhile is told, not
//! guessed at. A real run goes in portions, each device by the same write as a single revocation: whoever is interrupted
//! calls again.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_core::{
    bulk::{Meant, Selection, check_filter},
    digest::Digest,
    limits::{BULK_CONFIRMATION_SECONDS, BULK_LOOKED_AT, BULK_SHOWN},
};
use countersign_proto::{
    api::revocations::{DevicesRevoked, RevokeDevices as Request, RevokeDryRun},
    ids::{DeviceId, TenantId},
    problem::ProblemType,
    timestamp::Timestamp,
    vocabulary::RevokeReason,
};

use super::portion::{each_device, revoke_portion};
use crate::{
    http::{
        access::ApiCaller,
        body::StrictJson,
        problem::{ApiError, ApiResult},
        state::App,
    },
    signing::Sealed,
};

/// Revokes all devices that a filter finds: first says how many, then does it, in portions.
#[utoipa::path(post, path = "/v1/devices/revoke", tag = "devices", request_body = Request,
    responses((status = 200, description = "What it would do, or has done", body = DevicesRevoked)))]
#[tracing::instrument(name = "http.devices.revoke_many", skip_all)]
pub async fn handle(
    State(app): State<Arc<App>>,
    caller: ApiCaller,
    StrictJson { value, .. }: StrictJson<Request>,
) -> ApiResult<Json<DevicesRevoked>> {
    let selection = check_filter(&value.filter).map_err(ApiError::invalid_members)?;
    let tenant_id = caller.caller.tenant_id;
    let plan = Plan { app: &app, tenant_id, selection: &selection, asked: digest(&value)? };
    let now = app.now();
    match (value.dry_run, &value.confirmation) {
        (true, None) => Ok(Json(DevicesRevoked::DryRun(plan.dry_run(now).await?))),
        (true, Some(_)) => Err(ApiError::invalid("/confirmation", "goes with a real run only")),
        (false, None) => Err(ApiError::invalid("/confirmation", "must be there: do a dry run first")),
        (false, Some(confirmation)) => {
            let found = plan.confirmed(confirmation, now).await?;
            let reason = value.reason.unwrap_or(RevokeReason::Other);
            let portion = revoke_portion(&app, &caller, &found, reason).await?;
            Ok(Json(DevicesRevoked::Portion(portion)))
        }
    }
}

/// What the confirmation is for: the filter and the reason, as they were read.
fn digest(request: &Request) -> ApiResult<Digest> {
    let asked = serde_json::to_vec(&(&request.filter, &request.reason));
    Ok(Digest::of(asked.map_err(|error| ApiError::internal(error.to_string()))?))
}

struct Plan<'a> {
    app: &'a App,
    tenant_id: TenantId,
    selection: &'a Selection,
    asked: Digest,
}

impl Plan<'_> {
    async fn dry_run(&self, now: Timestamp) -> ApiResult<RevokeDryRun> {
        let (meant, _) = self.look(now).await?;
        let matched = count(meant.len());
        let seal = self.app.keys.seals().seal(&self.sealed(now, matched));
        Ok(RevokeDryRun {
            matched,
            device_ids: meant.into_iter().take(BULK_SHOWN).collect(),
            confirmation: format!("{}.{matched}.{seal}", now.as_millis()),
            expires_at: now.plus_seconds(BULK_CONFIRMATION_SECONDS),
        })
    }

    /// The devices that are left to revoke, if the confirmation is ours, for this very request, and no more devices match,
    /// or were revoked since, than the dry run counted.
    async fn confirmed(&self, confirmation: &str, now: Timestamp) -> ApiResult<Vec<DeviceId>> {
        let stale = || ApiError::new(ProblemType::ConfirmationStale);
        let mut parts = confirmation.splitn(3, '.');
        let as_of: i64 = parts.next().and_then(|text| text.parse().ok()).ok_or_else(stale)?;
        let matched: u32 = parts.next().and_then(|text| text.parse().ok()).ok_or_else(stale)?;
        let (as_of, seal) = (Timestamp::from_millis(as_of), parts.next().ok_or_else(stale)?);
        let is_ours = self.app.keys.seals().holds(seal, &self.sealed(as_of, matched));
        if !is_ours || now >= as_of.plus_seconds(BULK_CONFIRMATION_SECONDS) {
            return Err(stale());
        }
        let (meant, done) = self.look(as_of).await?;
        if count(meant.len()).saturating_add(done) > matched {
            return Err(stale());
        }
        Ok(meant)
    }

    fn sealed(&self, as_of: Timestamp, matched: u32) -> Sealed<'static> {
        Sealed::BulkRevocation { tenant_id: self.tenant_id, asked: self.asked, as_of, matched }
    }

    /// The devices that are meant, oldest first, and how many have been revoked since the dry run.
    async fn look(&self, as_of: Timestamp) -> ApiResult<(Vec<DeviceId>, u32)> {
        let (mut meant, mut done) = (Vec::new(), 0_u32);
        let look = |device: &countersign_core::device::DeviceRecord| match self.selection.means(device, as_of) {
            Meant::Yes => meant.push(device.id),
            Meant::Done => done = done.saturating_add(1),
            Meant::No => {}
        };
        if !each_device(self.app, self.tenant_id, self.selection.devices(as_of), look).await? {
            let detail = format!(
                "finds more than {BULK_LOOKED_AT} devices to look at: narrow it by created_after and created_before"
            );
            return Err(ApiError::invalid("/filter", &detail));
        }
        meant.sort_unstable();
        Ok((meant, done))
    }
}

fn count(devices: usize) -> u32 {
    u32::try_from(devices).unwrap_or(u32::MAX)
}
