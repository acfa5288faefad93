//! What the server says when all is over: its log, and each object once more.

use std::collections::{BTreeMap, BTreeSet};

use countersign_proto::api::events::Event;
use serde_json::Value;

use crate::{
    ProofError,
    history::{Call, Op},
    http::Caller,
};

/// All that the checks know besides the history.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The audit log in its order.
    pub(crate) events: Vec<Event>,
    /// Each challenge that a history or the log names, as its caller reads it; absent if it is unknown.
    pub(crate) challenges: BTreeMap<String, Value>,
    /// Each device likewise.
    pub(crate) devices: BTreeMap<String, Value>,
    /// Ids of the messages that a receiver of webhooks has taken, if there is one.
    pub(crate) told: Option<BTreeSet<String>>,
}

impl Facts {
    /// Reads it all; `export` is the log as JSONL (docs/audit.md).
    pub(crate) async fn gather(
        history: &[Call],
        export: &str,
        told: Option<BTreeSet<String>>,
        idp: &Caller,
    ) -> Result<Self, ProofError> {
        let events = events(export)?;
        let mut challenges: BTreeSet<String> =
            events.iter().filter_map(|event| event.challenge_id.map(|id| id.to_string())).collect();
        let mut devices: BTreeSet<String> =
            events.iter().filter_map(|event| event.device_id.map(|id| id.to_string())).collect();
        for call in history {
            match call.op {
                Op::CreateChallenge => challenges.extend(call.said("id").map(str::to_owned)),
                Op::Register => devices.extend(call.said("device_id").map(str::to_owned)),
                _ => {}
            }
        }
        let challenges = read_each(idp, "/v1/challenges", challenges).await?;
        let devices = read_each(idp, "/v1/devices", devices).await?;
        Ok(Self { events, challenges, devices, told })
    }

    /// Whether the log says that this enrollment came to nothing: then its device is deleted (protocol 4.4).
    pub(crate) fn is_withdrawn(&self, enrollment: &str) -> bool {
        let is_of_it = |event: &&Event| event.enrollment_id.is_some_and(|id| id.to_string() == enrollment);
        let ends = ["enrollment.cancelled", "enrollment.contested", "enrollment.expired"];
        self.events.iter().filter(is_of_it).any(|event| ends.contains(&event.kind.as_str()))
    }
}

/// Whether an event of this kind ends its challenge.
pub(crate) fn is_end(kind: &str) -> bool {
    matches!(kind, "challenge.approved" | "challenge.denied" | "challenge.expired" | "challenge.cancelled")
}

async fn read_each(idp: &Caller, path: &str, ids: BTreeSet<String>) -> Result<BTreeMap<String, Value>, ProofError> {
    let mut all = BTreeMap::new();
    for id in ids {
        // What is unknown now is missing here: the check that wants it says so.
        if let Ok(object) = idp.read_json(&format!("{path}/{id}")).await {
            all.insert(id, object);
        }
    }
    Ok(all)
}

fn events(export: &str) -> Result<Vec<Event>, ProofError> {
    let wrong = |error: serde_json::Error| ProofError::Rig(format!("the audit's export: {error}"));
    let mut events = Vec::new();
    for line in export.lines() {
        let mut line: Value = serde_json::from_str(line).map_err(wrong)?;
        if let Some(event) = line.get_mut("event") {
            events.push(serde_json::from_value(event.take()).map_err(wrong)?);
        }
    }
    Ok(events)
}
