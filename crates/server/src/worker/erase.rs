//! Finishes erasures (protocol 10.8): blanks what is left of a person's past, in portions, then empties this process's
//! memory and the database's files of it.
//!
//! The request that erases does all of it before it answers; this takes up what a crash or a broken connection left. The
//! row in `erasures` says that there is something to do until it is done: each step may be done twice. One that cannot be
//! finished keeps no other from being so: each turn goes on behind the last. Never decides whom to erase. To forget one
//! more thing that memory holds: `forget`.

use std::sync::Arc;

use countersign_core::ports::{StoreError, users::Erasure};
use countersign_proto::ids::UserId;

use super::{lease::Tenure, pause};
use crate::{http::state::App, shutdown::Stopping};

/// Rows of one kind in one transaction.
const PORTION: u32 = 200;
/// Erasures that are looked at at once.
const AT_ONCE: u32 = 20;
/// Between two looks.
const BETWEEN_LOOKS_SECONDS: i64 = 5;
/// Nobody waits for this.
const LEASE_SECONDS: i64 = 30;

/// Finishes erasures until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    let mut tenure = Tenure::new(&app, "erase", LEASE_SECONDS);
    let mut looked_at = None;
    while pause(app.clock.as_ref(), app.now().plus_seconds(BETWEEN_LOOKS_SECONDS), &mut stopping).await {
        if let Err(error) = turn(&app, &mut tenure, &mut looked_at).await {
            tracing::warn!(%error, "erasures could not be finished");
            // Perhaps only here: another node shall try.
            tenure.give_back(&app).await;
        }
    }
    tenure.give_back(&app).await;
}

/// `looked_at`: the last one of the turn before; after the very last one the first follows.
async fn turn(app: &App, tenure: &mut Tenure, looked_at: &mut Option<UserId>) -> Result<(), StoreError> {
    if !tenure.is_held(app).await? {
        return Ok(());
    }
    go_on(app, Some(tenure), looked_at).await
}

/// Of one portion of erasures each as far as it can be finished: one that cannot keeps no other from it.
async fn go_on(app: &App, mut tenure: Option<&mut Tenure>, looked_at: &mut Option<UserId>) -> Result<(), StoreError> {
    let unfinished = app.store.unfinished_erasures(*looked_at, AT_ONCE).await?;
    *looked_at = unfinished.last().map(|last| last.user_id).filter(|_| unfinished.len() >= AT_ONCE as usize);
    let mut blank = Vec::new();
    for erasure in unfinished {
        loop {
            // A long past is blanked in many portions: only as long as it is this node's to do.
            if let Some(tenure) = tenure.as_deref_mut()
                && !tenure.is_held(app).await?
            {
                return Ok(());
            }
            match app.store.blank_erased(erasure, app.now(), PORTION).await {
                Ok(true) => {}
                Ok(false) => {
                    blank.push(erasure);
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, user_id = %erasure.user_id, "an erasure could not be finished");
                    break;
                }
            }
        }
    }
    finish(app, &blank).await.map(|_| ())
}

/// Finishes the first portion of erasures now, whoever's it is to do; for tests.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App) -> Result<(), StoreError> {
    go_on(app, None, &mut None).await
}

/// Finishes one erasure; `false` if somebody reads the database's files for so long that they cannot be emptied now.
///
/// # Errors
/// The store does not answer: the erasure stays unfinished, and is taken up again.
pub async fn complete(app: &App, erasure: Erasure) -> Result<bool, StoreError> {
    while app.store.blank_erased(erasure, app.now(), PORTION).await? {}
    finish(app, &[erasure]).await
}

/// Nothing of theirs is left in the tables: memory and files, which are emptied once for all of them.
async fn finish(app: &App, erasures: &[Erasure]) -> Result<bool, StoreError> {
    erasures.iter().for_each(|erasure| forget(app, erasure.user_id));
    if erasures.is_empty() {
        return Ok(true);
    }
    if !app.store.scrub_files().await? {
        return Ok(false);
    }
    for erasure in erasures {
        app.store.finish_erasure(*erasure).await?;
    }
    Ok(true)
}

/// What this process remembers of a person. Other nodes forget by time: challenges after 20 minutes, keys after an hour.
fn forget(app: &App, id: UserId) {
    app.decisions.forget_user(id);
    app.keyring.forget_user(id);
}
