//! What was asked of the server and what it said: one [`Call`] for each request, with both clocks, in the order of a
//! stopwatch. The checks ([`crate::check`]) judge nothing else.
//!
//! Never forgets a call: one whose answer did not come is there too, as unknown. To record more of a reply: a line in
//! [`facts`].

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::system::{Stopwatch, now};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    CreateEnrollment,
    Register,
    Confirm,
    CreateChallenge,
    ReadChallenge,
    CancelChallenge,
    Pull,
    Approve,
    Deny,
    RevokeDevice,
    /// Somebody of another organisation reads what is not theirs, or would end it.
    Trespass,
    /// An answer that must not be taken; the note says why.
    Trick,
    /// The very bytes of an answer that was taken, long after.
    Repeat,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub(crate) enum End {
    /// A 2xx.
    Ok { status: u16, said: Value },
    /// A problem document that says that nothing was done.
    Refused { status: u16, slug: String, said: Value },
    /// No connection: it was never asked.
    NotAsked,
    /// It may have been done, or may yet be.
    Unknown { why: String },
    /// An answer that no server may give: a status, type or body outside the protocol.
    Wrong { why: String },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) flow: u32,
    pub(crate) op: Op,
    /// Of whom it is: a challenge, device or enrollment by id; before that has one, the idempotency key or the ticket's
    /// name.
    pub(crate) subject: String,
    /// The device that asks or is meant, where the subject is something else.
    pub(crate) device: Option<String>,
    /// Whose key or number this is, where that matters to a check.
    pub(crate) note: Option<String>,
    /// Microseconds since the run began.
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    /// Unix milliseconds by the wall clock.
    pub(crate) invoked_at: i64,
    pub(crate) returned_at: i64,
    pub(crate) end: End,
}

/// A call that is about to be made.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) flow: u32,
    pub(crate) op: Op,
    pub(crate) subject: String,
    pub(crate) device: Option<String>,
    pub(crate) note: Option<String>,
}

impl Asked {
    pub(crate) fn new(flow: u32, op: Op, subject: impl Into<String>) -> Self {
        Self { flow, op, subject: subject.into(), device: None, note: None }
    }

    pub(crate) fn device(self, device: impl Into<String>) -> Self {
        Self { device: Some(device.into()), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// All calls of a run.
#[derive(Debug)]
pub(crate) struct History {
    began: Stopwatch,
    calls: Mutex<Vec<Call>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { began: Stopwatch::start(), calls: Mutex::new(Vec::new()) }
    }

    /// Makes a call and keeps what became of it.
    pub(crate) async fn record(&self, asked: Asked, call: impl Future<Output = End>) -> End {
        let Asked { flow, op, subject, device, note } = asked;
        let (invoked, invoked_at) = (self.began.micros(), now().as_millis());
        let end = call.await;
        let (returned, returned_at) = (self.began.micros(), now().as_millis());
        let kept = end.clone().trimmed();
        let call = Call { flow, op, subject, device, note, invoked, returned, invoked_at, returned_at, end: kept };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        end
    }

    /// All of it, in the order in which the calls returned.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl End {
    /// Whether asking again may tell more.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::NotAsked | Self::Unknown { .. })
    }

    fn trimmed(self) -> Self {
        match self {
            Self::Ok { status, said } => Self::Ok { status, said: facts(&said) },
            Self::Refused { status, slug, said } => Self::Refused { status, slug, said: facts(&said) },
            other => other,
        }
    }
}

impl Call {
    pub(crate) fn said(&self, name: &str) -> Option<&str> {
        match &self.end {
            End::Ok { said, .. } | End::Refused { said, .. } => said.get(name)?.as_str(),
            _ => None,
        }
    }
}

/// What the checks need of a reply; the rest would fill the memory in hours.
fn facts(said: &Value) -> Value {
    const KEPT: [&str; 9] =
        ["id", "status", "reason", "device_id", "challenge_id", "expires_at", "decided_at", "attempts_left", "ids"];
    let Value::Object(said) = said else { return Value::Null };
    let kept = said.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
    let mut kept: Map<String, Value> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(Value::Array(challenges)) = said.get("challenges") {
        kept.insert("pending".to_owned(), challenges.len().into());
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_call_is_kept_with_its_order_and_without_what_no_check_needs() {
        let history = History::new();
        let said = json!({"id": "c", "status": "approved", "number": "042137", "challenges": [1, 2]});
        let end = End::Ok { status: 200, said };
        let asked = Asked::new(7, Op::ReadChallenge, "c").device("d").note("n");
        assert_eq!(history.record(asked, async { end.clone() }).await, end);
        let calls = history.take();
        let [call] = calls.as_slice() else { panic!("{calls:?}") };
        assert!(call.invoked <= call.returned);
        assert_eq!((call.said("status"), call.said("number")), (Some("approved"), None));
        assert_eq!(serde_json::from_str::<Call>(&serde_json::to_string(call).unwrap()).unwrap(), *call);
        assert!(history.take().is_empty());
    }
}
