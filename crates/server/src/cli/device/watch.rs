//! `countersign device watch`: held reads, one per registration, until interrupted.
//!
//! One JSON object per line with `--json`: `{"type":"challenge", "device_id", "id", "expires_at", "claims"}`,
//! `{"type":"gone", "device_id", "id"}`, `{"type":"refused", "device_id", "id", "error"}` for a challenge
//! that must not be shown, `{"type":"trouble", "device_id", "error", "ended"}`.

use std::collections::BTreeSet;

use countersign_proto::ids::{ChallengeId, DeviceId};
use countersign_simulator::{
    Phone,
    phone::{PendingSet, PhoneError, Registration, VerifiedChallenge},
};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{Desk, DeviceError, list::describe, words};
use crate::clock::{Clock as _, SystemClock};

/// How long the server may hold a read.
const WAIT_SECONDS: u32 = 50;
/// How long to leave a server alone that is in trouble, or that another watcher is asking too.
const PAUSE_SECONDS: i64 = 2;

/// What a watcher has seen.
enum Sight {
    Challenge(Box<VerifiedChallenge>),
    Refused(ChallengeId, PhoneError),
    Gone(ChallengeId),
    /// The watcher ends with it, or tries again.
    Trouble(PhoneError, bool),
}

type Sights = Sender<(DeviceId, Sight)>;

/// Watches until interrupted.
pub(super) async fn run(desk: &Desk, device: Option<DeviceId>) -> Result<(), DeviceError> {
    // Small: who prints slowly makes the watchers wait.
    let (sender, sights) = mpsc::channel(16);
    for registration in desk.registrations(device)? {
        // A watcher cannot tell what became of a rotation that was broken off.
        let registration = match registration.rotation {
            Some(_) => desk.connect(registration).await?.registration().clone(),
            None => registration,
        };
        tokio::spawn(watch(registration, desk.surroundings.clone(), sender.clone()));
    }
    // The last watcher to end closes the channel.
    drop(sender);
    tokio::select! {
        outcome = print_all(desk, sights) => outcome,
        // Interrupted: that is how a watch ends well.
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn print_all(desk: &Desk, mut sights: Receiver<(DeviceId, Sight)>) -> Result<(), DeviceError> {
    while let Some((device_id, sight)) = sights.recv().await {
        let (object, text) = tell(device_id, &sight);
        desk.say(&object, &text)?;
    }
    Err(DeviceError::Usage("no registration can be watched any more".to_owned()))
}

fn tell(device_id: DeviceId, sight: &Sight) -> (Value, String) {
    match sight {
        Sight::Challenge(challenge) => {
            let mut object = json!({"type": "challenge", "device_id": device_id});
            if let (Value::Object(object), Value::Object(members)) = (&mut object, describe(challenge)) {
                object.extend(members);
            }
            (object, show(challenge))
        }
        Sight::Refused(id, error) => (
            json!({"type": "refused", "device_id": device_id, "id": id, "error": error.to_string()}),
            format!("Challenge {id} is not shown: {}", words::plain(&error.to_string())),
        ),
        Sight::Gone(id) => {
            (json!({"type": "gone", "device_id": device_id, "id": id}), format!("Challenge {id} no longer waits."))
        }
        Sight::Trouble(error, ended) => {
            let object = json!({"type": "trouble", "device_id": device_id, "error": error.to_string(), "ended": ended});
            let next = if *ended { "no longer watched" } else { "trying again" };
            (object, format!("Device {device_id}: {} ({next})", words::plain(&error.to_string())))
        }
    }
}

fn show(challenge: &VerifiedChallenge) -> String {
    let claims = challenge.claims();
    let mut lines = vec![String::new()];
    lines.extend(words::question(claims));
    lines.push(words::task(claims));
    lines.push(words::deadline(claims, SystemClock.now()));
    lines.push(format!("  countersign device approve {}", challenge.id()));
    lines.push(format!("  countersign device deny {} --reason not_me", challenge.id()));
    lines.join("\n")
}

/// One registration's watcher; ends when its server will not hear it again, or when nobody listens.
async fn watch(registration: Registration, surroundings: countersign_simulator::phone::Surroundings, sights: Sights) {
    let device_id = registration.device_id;
    loop {
        let outcome = match Phone::connect(registration.clone(), surroundings.clone()).await {
            Ok(phone) => follow(&phone, &sights).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return };
        let ended = is_final(&error);
        if sights.send((device_id, Sight::Trouble(error, ended))).await.is_err() || ended {
            return;
        }
        pause().await;
    }
}

/// Reads set after set; returns when nobody listens any more.
async fn follow(phone: &Phone, sights: &Sights) -> Result<(), PhoneError> {
    let mut seen: BTreeSet<ChallengeId> = BTreeSet::new();
    let mut etag: Option<String> = None;
    loop {
        let asked_at = SystemClock.now();
        // The first read returns at once, with what is there.
        let wait_seconds = if etag.is_some() { WAIT_SECONDS } else { 0 };
        let set = phone.pending(wait_seconds, etag.as_deref()).await?;
        let is_news = set.is_some();
        if let Some(PendingSet { challenges, etag: new }) = set {
            let ids: BTreeSet<_> = challenges.iter().map(|pending| pending.id).collect();
            for id in seen.difference(&ids) {
                if sights.send((phone.id(), Sight::Gone(*id))).await.is_err() {
                    return Ok(());
                }
            }
            for pending in challenges.iter().filter(|pending| !seen.contains(&pending.id)) {
                let sight = match phone.verify(pending).await {
                    Ok(challenge) => Sight::Challenge(Box::new(challenge)),
                    Err(error @ PhoneError::Refused(_)) => Sight::Refused(pending.id, error),
                    Err(error) => return Err(error),
                };
                if sights.send((phone.id(), sight)).await.is_err() {
                    return Ok(());
                }
            }
            (seen, etag) = (ids, new);
        }
        // A held read that comes back early with nothing new: another one of this device took its place
        // (protocol 5.2). Two watchers that ask again at once would chase each other for ever.
        let was_short = SystemClock.now().millis_since(asked_at) < 1_000;
        if etag.is_none() || (!is_news && was_short) {
            pause().await;
        }
    }
}

async fn pause() {
    SystemClock.sleep_until(SystemClock.now().plus_seconds(PAUSE_SECONDS)).await;
}

/// Whether asking again is useless.
fn is_final(error: &PhoneError) -> bool {
    match error {
        PhoneError::Problem(problem) => matches!(problem.status, 400..=499) && problem.status != 429,
        PhoneError::Unreachable(_) | PhoneError::UnexpectedStatus { .. } => false,
        _ => true,
    }
}
