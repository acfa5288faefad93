//! Deletes what has been kept for long enough: ended challenges and enrollments after the days that the settings say, or
//! fewer where their organisation says so; replies, idempotency keys, `jti`s and test pushes at their end.
//!
//! In small portions with a pause after each, so that sign-ins, which share the writer, hardly notice; by key, so that
//! a portion costs the same however much there is. One node at a time does it. Never deletes events (the record of what
//! happened), devices and their keys (a revoked key stays refused), or what still waits. That challenges may be gone is
//! written down before the first of them is (`audit/forgotten.rs`).
//! To add a kind: its method in core's `ports/retention.rs`, its line in `portion`.

use std::sync::Arc;

use countersign_core::ports::{
    PageRequest, StoreError,
    retention::{Forget, Forgotten},
    tenants::TenantRetention,
};
use countersign_proto::{
    ids::{ChallengeId, EnrollmentId, TenantId},
    timestamp::Timestamp,
};

use super::{lease::Tenure, pause};
use crate::{config::Retention, http::state::App, shutdown::Stopping};

/// Rows of one kind in one transaction.
const PORTION: u32 = 200;
/// Organisations with days of their own that are looked at in one portion.
const TENANTS: u32 = 20;
/// Between two portions while there is more: at most 4,000 rows of a kind in a second.
const BETWEEN_PORTIONS_MILLIS: i64 = 50;
/// Between two looks when there was nothing.
const BETWEEN_LOOKS_MILLIS: i64 = 5_000;
/// Nothing waits for this: a dead holder may be missed for a while.
const LEASE_SECONDS: i64 = 30;

/// Deletes until the server stops.
pub async fn run(app: Arc<App>, retention: Retention, mut stopping: Stopping) {
    let mut tenure = Tenure::new(&app, "forget", LEASE_SECONDS);
    let mut marks = Marks::default();
    let mut wait = BETWEEN_LOOKS_MILLIS;
    while pause(app.clock.as_ref(), app.now().plus_millis(wait), &mut stopping).await {
        let has_more = match turn(&app, &retention, &mut tenure, &mut marks).await {
            Ok(has_more) => has_more,
            Err(error) => {
                tracing::warn!(%error, "what is old could not be deleted");
                // Perhaps only here: another node shall try.
                tenure.give_back(&app).await;
                false
            }
        };
        if !has_more {
            marks = Marks::default();
        }
        wait = if has_more { BETWEEN_PORTIONS_MILLIS } else { BETWEEN_LOOKS_MILLIS };
    }
    tenure.give_back(&app).await;
}

async fn turn(app: &App, retention: &Retention, tenure: &mut Tenure, marks: &mut Marks) -> Result<bool, StoreError> {
    Ok(tenure.is_held(app).await? && portion(app, retention, marks).await?)
}

/// Deletes all that is old enough now, without pauses; for tests.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App, retention: &Retention) -> Result<(), StoreError> {
    let mut marks = Marks::default();
    while portion(app, retention, &mut marks).await? {}
    Ok(())
}

/// How far the portions of a pass have come.
#[derive(Default)]
struct Marks {
    challenges: Option<ChallengeId>,
    enrollments: Option<EnrollmentId>,
    /// The last organisation with days of its own that has nothing left to forget.
    tenant: Option<TenantId>,
}

/// One portion of each kind; whether there may be more.
async fn portion(app: &App, retention: &Retention, marks: &mut Marks) -> Result<bool, StoreError> {
    let now = app.now();
    let mut has_more = app.store.forget_expired(now, PORTION).await? >= u64::from(PORTION);
    has_more |= app.store.forget_webhook_deliveries(now, PORTION).await? >= u64::from(PORTION);
    if let Some(made_before) = end(now, retention.challenge_days)
        // First: nobody misses evidence of which this is written down.
        && app.audit.may_forget(None, made_before).await?
    {
        let command = Forget { tenant_id: None, made_before, after: marks.challenges, limit: PORTION };
        has_more |= goes_on(app.store.forget_challenges(command).await?, &mut marks.challenges);
    }
    if let Some(made_before) = end(now, retention.enrollment_days) {
        let command = Forget { tenant_id: None, made_before, after: marks.enrollments, limit: PORTION };
        has_more |= goes_on(app.store.forget_enrollments(command).await?, &mut marks.enrollments);
    }
    has_more |= of_tenants(app, retention, marks, now).await?;
    Ok(has_more)
}

/// A portion of each kind of some organisations that forget sooner than the server; whether there may be more.
async fn of_tenants(app: &App, retention: &Retention, marks: &mut Marks, now: Timestamp) -> Result<bool, StoreError> {
    let page = PageRequest { before: marks.tenant, limit: TENANTS };
    let tenants = app.store.tenants_with_settings(page).await?;
    let mut has_left = false;
    for (tenant_id, settings) in &tenants {
        let TenantRetention { challenge_days, enrollment_days } = settings.retention;
        let portion = |made_before| (Some(*tenant_id), made_before);
        if let Some((tenant_id, made_before)) = sooner(now, retention.challenge_days, challenge_days).map(portion)
            && app.audit.may_forget(tenant_id, made_before).await?
        {
            let command = Forget { tenant_id, made_before, after: None, limit: PORTION };
            has_left |= app.store.forget_challenges(command).await?.count >= PORTION;
        }
        if let Some((tenant_id, made_before)) = sooner(now, retention.enrollment_days, enrollment_days).map(portion) {
            let command = Forget { tenant_id, made_before, after: None, limit: PORTION };
            has_left |= app.store.forget_enrollments(command).await?.count >= PORTION;
        }
    }
    if has_left {
        // These once more.
        return Ok(true);
    }
    marks.tenant = tenants.last().map(|(id, _)| *id).or(marks.tenant);
    Ok(tenants.len() >= TENANTS as usize)
}

/// What an organisation made before this may go, if that is sooner than the server says.
fn sooner(now: Timestamp, server_days: u32, tenant_days: Option<u32>) -> Option<Timestamp> {
    let days = tenant_days.filter(|days| server_days == 0 || *days < server_days)?;
    end(now, days)
}

/// What was made before this may go; never anything, for 0 days.
fn end(now: Timestamp, days: u32) -> Option<Timestamp> {
    (days > 0).then(|| now.plus_seconds(-i64::from(days) * 24 * 60 * 60))
}

fn goes_on<I: Copy>(forgotten: Forgotten<I>, mark: &mut Option<I>) -> bool {
    *mark = forgotten.last.or(*mark);
    forgotten.count >= PORTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_days_are_for_ever() {
        let now = Timestamp::from_seconds(10_000_000);
        assert_eq!(end(now, 0), None);
        assert_eq!(end(now, 2), Some(now.plus_seconds(-172_800)));
    }

    #[test]
    fn an_organisation_forgets_sooner_never_later() {
        let now = Timestamp::from_seconds(100_000_000);
        assert_eq!(sooner(now, 90, Some(2)), end(now, 2));
        assert_eq!(sooner(now, 0, Some(2)), end(now, 2));
        for (server, tenant) in [(90, None), (90, Some(90)), (90, Some(91)), (0, None)] {
            assert_eq!(sooner(now, server, tenant), None);
        }
    }
}
