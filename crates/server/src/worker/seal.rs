//! Seals the logs: within a second of a commit each event has its position and is under a signed checkpoint.
//!
//! Of several nodes one seals for all organisations, the one that holds the lease; that only spares work: a seal is a
//! conditional write that lets one win. A log that is not what was signed is left as it is, and keeps no other one
//! waiting. A database that is behind what was signed ends it for good (`audit/seal.rs`): the lease is kept then, so that
//! no other node goes on either.

use std::{collections::BTreeSet, sync::Arc};

use countersign_core::ports::StoreError;
use countersign_proto::ids::TenantId;

use super::{lease::Tenure, pause};
use crate::{audit::AuditError, http::state::App, shutdown::Stopping};

/// Between two looks.
const INTERVAL_MILLIS: i64 = 500;
/// Organisations in one look.
const LIMIT: u32 = 500;
/// A holder that dies is missed for so long: events wait meanwhile, nobody else does.
const LEASE_SECONDS: i64 = 4;

/// Seals until the server stops, if it is this node that does.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    let mut tenure = Tenure::new(&app, "seal", LEASE_SECONDS);
    while pause(app.clock.as_ref(), app.now().plus_millis(INTERVAL_MILLIS), &mut stopping).await {
        if let Err(error) = turn(&app, &mut tenure, &stopping).await {
            tracing::warn!(%error, "sealing failed");
            tenure.give_back(&app).await;
            pause(app.clock.as_ref(), app.now().plus_seconds(LEASE_SECONDS / 2), &mut stopping).await;
        }
    }
    tenure.give_back(&app).await;
}

async fn turn(app: &App, tenure: &mut Tenure, stopping: &Stopping) -> Result<(), StoreError> {
    while !stopping.has_begun() && tenure.is_held(app).await? && portion(app).await? {}
    look_around(app).await
}

/// Seals all that there is, once.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App) -> Result<(), StoreError> {
    while portion(app).await? {}
    look_around(app).await
}

/// What waits for no event: a database that was put back, a folder that can be written again.
async fn look_around(app: &App) -> Result<(), StoreError> {
    if let Err(AuditError::Store(error)) = app.audit.look_around().await {
        return Err(error);
    }
    app.audit.write_out_again().await;
    Ok(())
}

/// A portion of each organisation's; whether there is more.
async fn portion(app: &App) -> Result<bool, StoreError> {
    if app.audit.is_halted() {
        return Ok(false);
    }
    let mut waiting: BTreeSet<TenantId> = app.store.unpositioned_tenants(LIMIT).await?.into_iter().collect();
    let mut after = None;
    loop {
        let unsealed = app.store.unsealed_tenants(after, LIMIT).await?;
        after = unsealed.last().copied();
        let is_full = unsealed.len() >= LIMIT as usize;
        waiting.extend(unsealed);
        if !is_full {
            break;
        }
    }
    let mut has_more = false;
    for tenant_id in waiting {
        match app.audit.seal(tenant_id, app.now()).await {
            Ok(sealed) => has_more |= sealed.has_more,
            Err(AuditError::Store(error)) => return Err(error),
            // Its alarm was raised; the others go on.
            Err(AuditError::Distrusted(_) | AuditError::BeyondEnd) => {}
            Err(AuditError::RolledBack) => return Ok(false),
        }
    }
    Ok(has_more)
}
