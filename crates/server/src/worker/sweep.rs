//! Ends what is due: expired challenges, enrollments, notifications, replies; gives events their positions.
//!
//! Nothing depends on when this runs: an expired challenge is answered as expired from its end on, swept or not.
//! Each step is a conditional write that loses harmlessly to whoever else was faster, here or on another node.

use std::sync::Arc;

use countersign_core::{
    actor::{Actor, Stamp},
    ports::{
        StoreError,
        challenges::{Close, CloseChallenge, CloseOutcome, DueChallenge},
    },
};
use countersign_proto::{ids::TenantId, timestamp::Timestamp};
use futures_util::future::join_all;

use super::pause;
use crate::{http::state::App, shutdown::Stopping};

/// Rows of one kind in one round.
const LIMIT: u32 = 500;

/// Sweeps once a second until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    while pause(app.clock.as_ref(), app.now().plus_seconds(1), &mut stopping).await {
        if let Err(error) = round(&app).await {
            tracing::warn!(%error, "sweeping failed");
        }
    }
}

/// One round: until nothing of a kind is due any more.
///
/// # Errors
/// The store does not answer; the next round goes on.
pub async fn round(app: &App) -> Result<(), StoreError> {
    let now = app.now();
    while expire_challenges(app, now).await? {}
    while expire_enrollments(app, now).await? {}
    while app.store.expire_notifications(now, LIMIT).await? >= u64::from(LIMIT) {}
    app.store.forget_expired(now, LIMIT).await?;
    for tenant_id in app.store.unpositioned_tenants(LIMIT).await? {
        while app.store.position_events(tenant_id, LIMIT).await? >= u64::from(LIMIT) {}
    }
    Ok(())
}

fn stamp(app: &App, tenant_id: TenantId, at: Timestamp) -> Stamp {
    app.stamp(Actor::System, tenant_id, "sweep", at)
}

/// Whether there may be more to end.
async fn expire_challenges(app: &App, now: Timestamp) -> Result<bool, StoreError> {
    let due = app.store.due_challenges(now, LIMIT).await?;
    // Sent at once, so that they land in one batch of the writer.
    let closings = due.iter().map(|DueChallenge { tenant_id, user_id, id }| {
        let stamp = stamp(app, *tenant_id, now);
        app.store.close_challenge(CloseChallenge { stamp, challenge_id: *id, user_id: *user_id, how: Close::Expire })
    });
    let outcomes = join_all(closings).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    // Whoever closed it, here or on another node, it is out of the way; rows that nobody can close must not keep
    // the round from its end.
    let is_gone = |outcome: &CloseOutcome| matches!(outcome, CloseOutcome::Closed | CloseOutcome::AlreadyClosed(_));
    Ok(due.len() >= LIMIT as usize && outcomes.iter().any(is_gone))
}

/// Whether there may be more to end.
async fn expire_enrollments(app: &App, now: Timestamp) -> Result<bool, StoreError> {
    let due = app.store.due_enrollments(now, LIMIT).await?;
    let mut has_closed = false;
    for enrollment in &due {
        has_closed |= app.store.expire_enrollment(stamp(app, enrollment.tenant_id, now), enrollment.id).await?;
    }
    Ok(due.len() >= LIMIT as usize && has_closed)
}
