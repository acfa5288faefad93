//! Ends what is due: expired challenges, enrollments, notifications; gives events their positions.
//!
//! Nothing depends on when this runs: an expired challenge is answered as expired from its end on, swept or not.
//! Of several nodes one sweeps, the one that holds the lease; that only spares work. Each step is a conditional write
//! that loses harmlessly to whoever else was faster, here or on another node.
//! To add a kind: its line in `portion`.

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

use super::{lease::Tenure, pause};
use crate::{http::state::App, shutdown::Stopping};

/// Rows of one kind in one portion.
const LIMIT: u32 = 500;

/// A holder that dies is missed for so long, and a look. Short: people may wait for an end that nobody else brings.
const LEASE_SECONDS: i64 = 4;

/// Sweeps once a second until the server stops, if it is this node that does.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    let mut tenure = Tenure::new(&app, "sweep", LEASE_SECONDS);
    while pause(app.clock.as_ref(), app.now().plus_seconds(1), &mut stopping).await {
        if let Err(error) = turn(&app, &mut tenure, &stopping).await {
            tracing::warn!(%error, "sweeping failed");
            // Perhaps only here: another node shall try, and gets the time to.
            tenure.give_back(&app).await;
            pause(app.clock.as_ref(), app.now().plus_seconds(LEASE_SECONDS / 2), &mut stopping).await;
        }
    }
    tenure.give_back(&app).await;
}

/// A round, as long as the lease holds.
async fn turn(app: &App, tenure: &mut Tenure, stopping: &Stopping) -> Result<(), StoreError> {
    while !stopping.has_begun() && tenure.is_held(app).await? && portion(app).await? {}
    Ok(())
}

/// One round: until nothing of a kind is due any more. Whoever else sweeps at the same time does no harm.
///
/// # Errors
/// The store does not answer; the next round goes on.
pub async fn round(app: &App) -> Result<(), StoreError> {
    while portion(app).await? {}
    Ok(())
}

/// A portion of each kind, so that a heap of one keeps no other waiting; whether there may be more.
async fn portion(app: &App) -> Result<bool, StoreError> {
    let now = app.now();
    let mut has_more = expire_challenges(app, now).await?;
    has_more |= expire_enrollments(app, now).await?;
    has_more |= app.store.expire_notifications(now, LIMIT).await? >= u64::from(LIMIT);
    has_more |= position_events(app).await?;
    Ok(has_more)
}

fn stamp(app: &App, tenant_id: TenantId, at: Timestamp) -> Stamp {
    app.stamp(Actor::System, tenant_id, "sweep", at)
}

/// Whether there may be more without a position. Of an organisation whose rows refuse one the sealer says so; no other
/// one waits for it.
async fn position_events(app: &App) -> Result<bool, StoreError> {
    let (mut has_more, mut after) = (false, None);
    loop {
        let tenants = app.store.unpositioned_tenants(after, LIMIT).await?;
        after = tenants.last().copied();
        for tenant_id in &tenants {
            let count = app.store.position_events(*tenant_id, LIMIT).await;
            has_more |= count.is_ok_and(|count| count >= u64::from(LIMIT));
        }
        if tenants.len() < LIMIT as usize {
            return Ok(has_more);
        }
    }
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
