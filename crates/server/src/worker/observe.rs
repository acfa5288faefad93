//! Writes down what devices were seen to do, and measures the outbox.
//!
//! Nothing depends on it: a round that fails is logged, and what it would have written is lost.

use std::sync::Arc;

use countersign_core::ports::{StoreError, notifications::Sightings};
use countersign_proto::vocabulary::Word as _;

use super::{dispatch::CHANNELS, pause};
use crate::{http::state::App, shutdown::Stopping};

/// Between two rounds.
const SECONDS: i64 = 2;

/// Observes until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    let mut goes_on = true;
    while goes_on {
        goes_on = pause(app.clock.as_ref(), app.now().plus_seconds(SECONDS), &mut stopping).await;
        if let Err(error) = round(&app).await {
            tracing::warn!(%error, "what devices did could not be written down");
        }
    }
}

/// One round.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App) -> Result<(), StoreError> {
    let seen = app.sightings.take();
    if seen != Sightings::default() {
        app.store.record_sightings(seen).await?;
    }
    let now = app.now();
    let oldest = app.store.oldest_unsent(now).await?;
    let circuits = app.pushing.senders().open_circuits();
    for channel in CHANNELS {
        let queued_at = oldest.iter().find(|(of, _)| *of == channel).map(|(_, at)| *at);
        let age = queued_at.map_or(0.0, |at| now.seconds_since(at));
        metrics::gauge!("countersign_outbox_age_seconds", "channel" => channel.as_str()).set(age);
        let open = circuits.iter().filter(|name| name.split(':').next() == Some(channel.as_str())).count();
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        metrics::gauge!("countersign_push_circuits_open", "provider" => channel.as_str()).set(f64::from(open));
    }
    Ok(())
}
