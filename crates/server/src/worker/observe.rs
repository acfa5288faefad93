//! Writes down what devices and API keys were seen to do, and measures the outbox.
//!
//! Nothing depends on it: a round that fails is logged, and what it would have written is lost.

use std::sync::Arc;

use countersign_core::ports::{StoreError, notifications::Sightings};
use countersign_proto::vocabulary::Word as _;

use super::{dispatch::CHANNELS, pause};
use crate::{http::state::App, shutdown::Stopping};

/// Between two rounds.
const SECONDS: i64 = 2;
/// The outbox is measured in one round of so many: with a long one that is work.
const ROUNDS_PER_MEASURE: u32 = 4;

/// Observes until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    let mut goes_on = true;
    for number in 0_u32.. {
        if !goes_on {
            return;
        }
        goes_on = pause(app.clock.as_ref(), app.now().plus_seconds(SECONDS), &mut stopping).await;
        let mut outcome = round(&app).await;
        if number.is_multiple_of(ROUNDS_PER_MEASURE) {
            outcome = outcome.and(measure_outbox(&app).await).and(super::webhooks::measure_age(&app).await);
        }
        if let Err(error) = outcome {
            tracing::warn!(%error, "what devices did could not be written down, or the outbox not be measured");
        }
    }
}

/// One round: what was seen is written, circuits are counted.
///
/// # Errors
/// The store does not answer.
pub async fn round(app: &App) -> Result<(), StoreError> {
    let circuits = app.pushing.senders().open_circuits();
    for channel in CHANNELS {
        let open = circuits.iter().filter(|name| name.split(':').next() == Some(channel.as_str())).count();
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        metrics::gauge!("countersign_push_circuits_open", "provider" => channel.as_str()).set(f64::from(open));
    }
    let seen = app.sightings.take();
    if seen != Sightings::default() {
        app.store.record_sightings(seen).await?;
    }
    let key_uses = app.sightings.take_key_uses();
    if !key_uses.is_empty() {
        app.store.record_key_uses(key_uses).await?;
    }
    Ok(())
}

/// How long the oldest push of each channel has been waiting.
async fn measure_outbox(app: &App) -> Result<(), StoreError> {
    let now = app.now();
    let oldest = app.store.oldest_unsent(now).await?;
    for channel in CHANNELS {
        let queued_at = oldest.iter().find(|(of, _)| *of == channel).map(|(_, at)| *at);
        let age = queued_at.map_or(0.0, |at| now.seconds_since(at));
        metrics::gauge!("countersign_outbox_age_seconds", "channel" => channel.as_str()).set(age);
    }
    Ok(())
}
