//! Seals the logs: within a second of a commit each event has its position and is under a signed checkpoint.
//!
//! Of several nodes one seals for all organisations, the one that holds the lease; that only spares work: a seal is a
//! conditional write that lets one win. A log that is not what was signed, or that cannot be sealed, is left as it is,
//! and keeps no other one waiting. Every node looks around, whoever seals: a database that was put back is noticed by
//! each of them. Checkpoints go to their folder by a task of its own, however slow that is. A database that is behind what was signed ends it for good (`audit/seal.rs`): the lease is kept then, so that
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
/// A folder that could not be written to is left alone for so long.
const FOLDER_RETRY_SECONDS: i64 = 5;
/// At the end it gets so long.
const FOLDER_LAST_SECONDS: i64 = 2;
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

/// Writes checkpoints to their folder until the server stops, if there is one.
pub async fn run_folder(app: Arc<App>, mut stopping: Stopping) {
    while pause(app.clock.as_ref(), app.now().plus_millis(INTERVAL_MILLIS), &mut stopping).await {
        let is_done = tokio::select! {
            is_done = app.audit.write_out() => is_done,
            () = stopping.begun() => break,
        };
        if !is_done {
            pause(app.clock.as_ref(), app.now().plus_seconds(FOLDER_RETRY_SECONDS), &mut stopping).await;
        }
    }
    // What was sealed last; a folder that hangs must not keep the server from its end.
    tokio::select! {
        _is_done = app.audit.write_out() => {}
        () = app.clock.sleep_until(app.now().plus_seconds(FOLDER_LAST_SECONDS)) => {}
    }
}

/// Seals all that there is, once, and writes it out.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App) -> Result<(), StoreError> {
    while portion(app).await? {}
    look_around(app).await?;
    app.audit.write_out().await;
    Ok(())
}

/// What waits for no event: a database that was put back.
async fn look_around(app: &App) -> Result<(), StoreError> {
    match app.audit.look_around().await {
        Err(AuditError::Store(error)) => Err(error),
        _ => Ok(()),
    }
}

/// A portion of each organisation's; whether there is more.
async fn portion(app: &App) -> Result<bool, StoreError> {
    if app.audit.is_halted() {
        return Ok(false);
    }
    let mut has_more = false;
    for tenant_id in waiting(app).await? {
        match app.audit.seal(tenant_id, app.now()).await {
            Ok(sealed) => has_more |= sealed.has_more,
            // Either the database does not answer, and says so to this, too; or it is this one that cannot be sealed.
            Err(AuditError::Store(_)) => _ = app.store.unsealed_tenants(None, 1).await?,
            // Its alarm was raised; the others go on.
            Err(AuditError::Distrusted(_) | AuditError::BeyondEnd | AuditError::Overtaken) => {}
            Err(AuditError::RolledBack) => return Ok(false),
        }
    }
    metrics::gauge!("countersign_audit_stuck_logs")
        .set(f64::from(u32::try_from(app.audit.stuck_logs()).unwrap_or(u32::MAX)));
    Ok(has_more)
}

/// All who have something that is not sealed.
async fn waiting(app: &App) -> Result<BTreeSet<TenantId>, StoreError> {
    let mut waiting = BTreeSet::new();
    let is_last = |page: &[TenantId]| page.len() < LIMIT as usize;
    let mut after = None;
    loop {
        let page = app.store.unpositioned_tenants(after, LIMIT).await?;
        after = page.last().copied();
        waiting.extend(page.iter().copied());
        if is_last(&page) {
            break;
        }
    }
    after = None;
    loop {
        let page = app.store.unsealed_tenants(after, LIMIT).await?;
        after = page.last().copied();
        waiting.extend(page.iter().copied());
        if is_last(&page) {
            return Ok(waiting);
        }
    }
}
