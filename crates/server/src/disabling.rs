//! Disabling an organisation (protocol 15): the barrier, and then the end of what still waits.
//!
//! For operators. Once [`disable`] has returned, nothing by the organisation's API clients and devices commits on any
//! node, none of its pushes is leased, and nothing of it waits. Whoever dies between the barrier and the end has done the
//! former: what waits can be answered by nobody, ends by its time within minutes, or when this is run again.
//! Enabling revives nothing: it ends what still waits before it lets anybody in.

use countersign_core::{
    actor::Stamp,
    ports::{
        Store, StoreError,
        challenges::{Close, CloseChallenge, CloseOutcome},
        enrollments::CancelEnrollmentOutcome,
        tenants::SwitchTenantOutcome,
    },
};
use futures_util::future::join_all;

/// Rows of one kind at once.
const PORTION: u32 = 500;

/// Disables the tenant of the stamps that `stamp` makes, one for each command.
///
/// # Errors
/// The store does not answer; the tenant may be disabled all the same.
pub async fn disable(store: &dyn Store, stamp: &(dyn Fn() -> Stamp + Sync)) -> Result<SwitchTenantOutcome, StoreError> {
    let outcome = store.disable_tenant(stamp()).await?;
    if outcome != SwitchTenantOutcome::NotFound {
        // Also if it was disabled before: whoever did that may have died.
        end_what_waits(store, stamp).await?;
    }
    Ok(outcome)
}

/// Lets the tenant of the stamps in again. Whoever disabled it may have died before the end of what waited: that comes
/// first, so that nothing of before is answerable again.
///
/// # Errors
/// The store does not answer; the tenant may be enabled all the same.
pub async fn enable(store: &dyn Store, stamp: &(dyn Fn() -> Stamp + Sync)) -> Result<SwitchTenantOutcome, StoreError> {
    let details = store.tenant_details(stamp().tenant_id).await?;
    if details.is_some_and(|details| details.disabled_at.is_some()) {
        end_what_waits(store, stamp).await?;
    }
    store.enable_tenant(stamp()).await
}

async fn end_what_waits(store: &dyn Store, stamp: &(dyn Fn() -> Stamp + Sync)) -> Result<(), StoreError> {
    while end_challenges(store, stamp).await? {}
    while end_enrollments(store, stamp).await? {}
    Ok(())
}

/// Whether there may be more.
async fn end_challenges(store: &dyn Store, stamp: &(dyn Fn() -> Stamp + Sync)) -> Result<bool, StoreError> {
    let Stamp { tenant_id, at, .. } = stamp();
    let pending = store.pending_of_tenant(tenant_id, at, PORTION).await?;
    // Sent at once, so that they land in one batch of the writer.
    let endings = pending.iter().map(|challenge| {
        let (stamp, how) = (stamp(), Close::TenantDisabled);
        store.close_challenge(CloseChallenge { stamp, challenge_id: challenge.id, user_id: challenge.user_id, how })
    });
    let outcomes = join_all(endings).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(pending.len() >= PORTION as usize && outcomes.contains(&CloseOutcome::Closed))
}

/// Whether there may be more.
async fn end_enrollments(store: &dyn Store, stamp: &(dyn Fn() -> Stamp + Sync)) -> Result<bool, StoreError> {
    let Stamp { tenant_id, at, .. } = stamp();
    let open = store.open_enrollments_of_tenant(tenant_id, at, PORTION).await?;
    let mut has_ended = false;
    for id in &open {
        has_ended |= store.cancel_enrollment(stamp(), *id).await? == CancelEnrollmentOutcome::Cancelled;
    }
    Ok(open.len() >= PORTION as usize && has_ended)
}
