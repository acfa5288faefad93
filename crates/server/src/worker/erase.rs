//! Finishes erasures (protocol 10.8): blanks what is left of a person's past, in portions, then empties this process's
//! memory and the database's files of it.
//!
//! The request that erases does all of it before it answers; this takes up what a crash or a broken connection left. The
//! row in `erasures` says that there is something to do until it is done: each step may be done twice. Never decides
//! whom to erase. To forget one more thing that memory holds: [`forget`].

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
    while pause(app.clock.as_ref(), app.now().plus_seconds(BETWEEN_LOOKS_SECONDS), &mut stopping).await {
        if let Err(error) = turn(&app, &mut tenure).await {
            tracing::warn!(%error, "an erasure could not be finished");
            // Perhaps only here: another node shall try.
            tenure.give_back(&app).await;
        }
    }
    tenure.give_back(&app).await;
}

async fn turn(app: &App, tenure: &mut Tenure) -> Result<(), StoreError> {
    if !tenure.is_held(app).await? {
        return Ok(());
    }
    for erasure in app.store.unfinished_erasures(AT_ONCE).await? {
        // A long past is blanked in many portions: only as long as it is this node's to do.
        while tenure.is_held(app).await? {
            if !app.store.blank_erased(erasure, app.now(), PORTION).await? {
                finish(app, erasure).await?;
                break;
            }
        }
    }
    Ok(())
}

/// Finishes all erasures now; for tests.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App) -> Result<(), StoreError> {
    for erasure in app.store.unfinished_erasures(AT_ONCE).await? {
        complete(app, erasure).await?;
    }
    Ok(())
}

/// Finishes one erasure; `false` if somebody reads the database's files for so long that they cannot be emptied now.
///
/// # Errors
/// The store does not answer: the erasure stays unfinished, and is taken up again.
pub async fn complete(app: &App, erasure: Erasure) -> Result<bool, StoreError> {
    while app.store.blank_erased(erasure, app.now(), PORTION).await? {}
    finish(app, erasure).await
}

/// Nothing is left in the tables: memory and files.
async fn finish(app: &App, erasure: Erasure) -> Result<bool, StoreError> {
    forget(app, erasure.user_id);
    if !app.store.scrub_files().await? {
        return Ok(false);
    }
    app.store.finish_erasure(erasure).await?;
    Ok(true)
}

/// What this process remembers of a person. Other nodes forget by time: challenges after 20 minutes, keys after an hour.
fn forget(app: &App, id: UserId) {
    app.decisions.forget_user(id);
    app.keyring.forget_user(id);
}
