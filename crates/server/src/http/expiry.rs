//! Who is the first to say `expired` makes it so: a pending challenge past its end is ended before anybody is told.
//!
//! A response that arrived in time may still be on its way through the writer, perhaps another node's. Were the end only
//! said and not written, somebody could hear `expired` and later `approved`; so the row, not the clock, has the last word.
//! Must never be left out where a status is told that the clock has a say in: see who calls it.

use countersign_core::{
    actor::Actor,
    challenge::ChallengeRecord,
    ports::challenges::{Close, CloseChallenge},
};
use countersign_proto::{
    ids::{ChallengeId, TenantId},
    vocabulary::ChallengeStatus,
};

use super::{
    problem::{ApiError, ApiResult},
    state::App,
};
use crate::alarm;

/// The challenge as it may be told: if its time is up, with its end.
///
/// # Errors
/// A store's; 404 if it was deleted meanwhile; 500 if it cannot be ended, which nothing that this server writes leads to.
pub async fn settle(app: &App, record: ChallengeRecord) -> ApiResult<ChallengeRecord> {
    let now = app.now();
    let facts = &record.facts;
    if record.status != ChallengeStatus::Pending || now < facts.expires_at {
        return Ok(record);
    }
    let command = CloseChallenge {
        stamp: app.stamp(Actor::System, facts.tenant_id, "read", now),
        challenge_id: facts.id,
        user_id: facts.user.id,
        how: Close::Expire,
    };
    app.store.close_challenge(command).await?;
    let settled = app.store.challenge(facts.tenant_id, facts.id).await?.ok_or_else(ApiError::not_found)?;
    if settled.status == ChallengeStatus::Pending {
        // Its row and its user's do not fit together: nothing that this server wrote.
        alarm::raise("challenge_without_end", &facts.id.to_string());
        return Err(ApiError::internal("challenge_without_end"));
    }
    Ok(settled)
}

/// The same of a challenge of which only the id is at hand.
///
/// # Errors
/// See [`settle`].
pub async fn settled(app: &App, tenant_id: TenantId, id: ChallengeId) -> ApiResult<ChallengeRecord> {
    settle(app, app.store.challenge(tenant_id, id).await?.ok_or_else(ApiError::not_found)?).await
}

/// How the challenge ended, where the clock or its row says that it did: only what the clock alone may say is asked again.
///
/// # Errors
/// See [`settle`].
pub async fn end(app: &App, tenant_id: TenantId, id: ChallengeId, said: ChallengeStatus) -> ApiResult<ChallengeStatus> {
    if said == ChallengeStatus::Expired { Ok(settled(app, tenant_id, id).await?.status) } else { Ok(said) }
}
