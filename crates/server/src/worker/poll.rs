//! Asks the database once a second, in one statement each, what the held reads of this node wait for.
//!
//! Wake-ups usually come faster, from the writer on this node or by NOTIFY from another. This is what makes losing
//! one harmless: whatever the waiters missed, they hear within a second. It also hears what other processes on
//! this machine (the command line) change in an SQLite file.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use countersign_core::{
    ports::StoreError,
    wake::{WakeKey, WakeSink as _},
};
use countersign_proto::ids::{ChallengeId, DeviceId};

use super::pause;
use crate::{http::state::App, shutdown::Stopping};

/// Ids in one statement.
const CHUNK: usize = 5_000;

/// Polls until the server stops.
pub async fn run(app: Arc<App>, mut stopping: Stopping) {
    while pause(app.clock.as_ref(), app.now().plus_seconds(1), &mut stopping).await {
        if let Err(error) = round(&app).await {
            tracing::warn!(%error, "polling for held reads failed");
        }
    }
}

/// One round.
///
/// # Errors
/// The store does not answer; the next round asks again.
pub async fn round(app: &App) -> Result<(), StoreError> {
    let now = app.now();
    for ids in app.waiters.challenges().chunks(CHUNK) {
        for changed in app.store.changed(ids, now).await? {
            match changed.is_awaiting_code {
                true => app.waiters.tell_of_code(changed.id),
                false => app.waiters.wake(&[WakeKey::Challenge(changed.id)]),
            }
        }
    }
    for ids in app.waiters.devices().chunks(CHUNK) {
        let mut inboxes: HashMap<DeviceId, BTreeSet<ChallengeId>> = HashMap::new();
        for (device_id, challenge_id) in app.store.inboxes(ids, now).await? {
            inboxes.entry(device_id).or_default().insert(challenge_id);
        }
        let empty = BTreeSet::new();
        for id in ids {
            app.waiters.compare_inbox(*id, inboxes.get(id).unwrap_or(&empty));
        }
    }
    Ok(())
}
