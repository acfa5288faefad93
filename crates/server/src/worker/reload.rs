//! Looks at the push credentials and at the key file from time to time, and at once when asked: a new key needs no
//! restart.

use std::sync::Arc;

use super::pause;
use crate::{
    http::state::App,
    pushing::{PushingError, Reload},
    shutdown::Stopping,
    signing::KeyFileError,
};

/// Looks until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    while pause(app.clock.as_ref(), app.now().plus_seconds(app.pushing.reload_seconds()), &mut stopping).await {
        // Logged there; the next look tries again.
        let _failed = round(&app).await;
    }
}

/// How often to look at the key file: a new key is published for ten minutes before it signs.
const KEY_FILE_SECONDS: i64 = 30;

/// Looks at the key file until the server stops.
pub async fn run_keys(app: Arc<App>, mut stopping: Stopping) {
    while pause(app.clock.as_ref(), app.now().plus_seconds(KEY_FILE_SECONDS), &mut stopping).await {
        // Logged there; the next look tries again.
        let _failed = keys_round(&app);
    }
}

/// One look at the key file, as at SIGHUP: a few kilobytes of a local file.
///
/// # Errors
/// What is there now cannot be used; the old keys go on, the log and a metric say so.
pub fn keys_round(app: &App) -> Result<bool, KeyFileError> {
    let outcome = app.keys.reload();
    match &outcome {
        Ok(false) => {}
        Ok(true) => {
            // What was believed under a key may be worth nothing now.
            app.keyring.forget_all();
            app.decisions.forget_all();
            tracing::info!("the signing keys have changed and are in use");
        }
        Err(error) => {
            metrics::counter!("countersign_key_reload_failures_total").increment(1);
            tracing::error!(%error, "the key file cannot be read again; the old keys stay in use");
        }
    }
    outcome
}

/// One look at the push credentials, as at SIGHUP.
///
/// # Errors
/// What is there now cannot be used; the old senders go on, the log and a metric say so.
pub async fn round(app: &App) -> Result<Reload, PushingError> {
    let outcome = app.pushing.reload().await;
    match &outcome {
        Ok(Reload::Unchanged) => {}
        Ok(Reload::Changed) => tracing::info!("push credentials have changed and are in use"),
        Err(error) => {
            metrics::counter!("countersign_push_reload_failures_total").increment(1);
            tracing::error!(%error, "push credentials cannot be read again; the old ones stay in use");
        }
    }
    outcome
}
