//! What devices and API keys were seen to do: gathered in memory, written together every few seconds.
//!
//! For operators who ask why a phone did not ring, for the metrics, and for dormancy, which is measured in days: so a
//! crash may lose a few seconds of it. Neither a pull nor a decision costs a write of its own. Bounded: when full, what is new is not noted.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_core::ports::{api_clients::KeyUse, notifications::Sightings as Seen};
use countersign_proto::{
    ids::{ApiKeyId, ChallengeId, DeviceId, TenantId},
    timestamp::Timestamp,
};
use moka::sync::Cache;

/// Sightings of one kind between two writes.
const CAPACITY: usize = 50_000;
/// Longer than any challenge lives.
const REMEMBERED: Duration = Duration::from_secs(700);

#[derive(Default)]
struct Waiting {
    pulls: HashMap<DeviceId, (TenantId, Timestamp)>,
    answers: HashMap<DeviceId, (TenantId, Timestamp)>,
    fetches: Vec<(ChallengeId, DeviceId, Timestamp)>,
    key_uses: HashMap<ApiKeyId, (TenantId, Timestamp)>,
}

/// See the module.
pub struct Sightings {
    waiting: Mutex<Waiting>,
    /// Fetches that were noted, and when: only the first counts.
    noted: Cache<(ChallengeId, DeviceId), Timestamp>,
}

impl Default for Sightings {
    fn default() -> Self {
        let noted = Cache::builder().max_capacity(200_000).time_to_live(REMEMBERED).build();
        Self { waiting: Mutex::default(), noted }
    }
}

impl Sightings {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device asked for its challenges.
    pub fn pulled(&self, tenant_id: TenantId, device_id: DeviceId, at: Timestamp) {
        let mut waiting = self.waiting();
        if waiting.pulls.len() < CAPACITY {
            waiting.pulls.insert(device_id, (tenant_id, at));
        }
    }

    /// A device decided a challenge.
    pub fn answered(&self, tenant_id: TenantId, device_id: DeviceId, at: Timestamp) {
        let mut waiting = self.waiting();
        if waiting.answers.len() < CAPACITY {
            waiting.answers.insert(device_id, (tenant_id, at));
        }
    }

    /// A device was handed challenges.
    pub fn fetched(&self, device_id: DeviceId, challenges: impl IntoIterator<Item = ChallengeId>, at: Timestamp) {
        for id in challenges {
            if !self.noted.entry((id, device_id)).or_insert(at).is_fresh() {
                continue;
            }
            metrics::histogram!("countersign_challenge_step_seconds", "step" => "fetched")
                .record(at.seconds_since(id.made_at()));
            let mut waiting = self.waiting();
            if waiting.fetches.len() < CAPACITY {
                waiting.fetches.push((id, device_id, at));
            }
        }
    }

    /// An API key was let in.
    pub fn key_used(&self, tenant_id: TenantId, key_id: ApiKeyId, at: Timestamp) {
        let mut waiting = self.waiting();
        if waiting.key_uses.len() < CAPACITY {
            waiting.key_uses.insert(key_id, (tenant_id, at));
        }
    }

    /// The keys that were used since the last time.
    pub fn take_key_uses(&self) -> Vec<KeyUse> {
        let uses = std::mem::take(&mut self.waiting().key_uses);
        uses.into_iter().map(|(key_id, (tenant_id, at))| (tenant_id, key_id, at)).collect()
    }

    /// When this node first handed the challenge to the device; `None` if it did not, or has forgotten: another node may
    /// have done so.
    pub fn first_fetch(&self, challenge_id: ChallengeId, device_id: DeviceId) -> Option<Timestamp> {
        self.noted.get(&(challenge_id, device_id))
    }

    /// What was seen since the last time.
    pub fn take(&self) -> Seen {
        let (pulls, answers, fetches) = {
            let mut waiting = self.waiting();
            let Waiting { pulls, answers, fetches, .. } = &mut *waiting;
            (std::mem::take(pulls), std::mem::take(answers), std::mem::take(fetches))
        };
        let of_devices = |seen: HashMap<DeviceId, (TenantId, Timestamp)>| {
            seen.into_iter().map(|(device_id, (tenant_id, at))| (tenant_id, device_id, at)).collect()
        };
        Seen { pulls: of_devices(pulls), answers: of_devices(answers), fetches }
    }
}
