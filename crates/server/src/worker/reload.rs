//! Looks at the push credentials from time to time, and at once when asked: a new key needs no restart.

use std::sync::Arc;

use super::pause;
use crate::{
    http::state::App,
    pushing::{PushingError, Reload},
    shutdown::Stopping,
};

/// Looks until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    while pause(app.clock.as_ref(), app.now().plus_seconds(app.pushing.reload_seconds()), &mut stopping).await {
        // Logged there; the next look tries again.
        let _failed = round(&app).await;
    }
}

/// One look, as at SIGHUP.
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
