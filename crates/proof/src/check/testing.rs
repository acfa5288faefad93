//! Histories and facts by hand, for the tests of the checks.

use countersign_proto::api::events::Event;
use serde_json::{Value, json};

use super::Facts;
use crate::history::{Call, End, Op};

/// A call that took one microsecond.
pub(super) fn call(op: Op, subject: &str, invoked: u64, end: End) -> Call {
    let at = 1_767_225_600_000;
    Call {
        flow: 0,
        op,
        subject: subject.to_owned(),
        device: None,
        note: None,
        invoked,
        returned: invoked + 1,
        invoked_at: at,
        returned_at: at,
        end,
    }
}

pub(super) fn with_device(call: Call, device: &str) -> Call {
    Call { device: Some(device.to_owned()), ..call }
}

pub(super) fn ok(status: &str) -> End {
    ok_with("status", status)
}

pub(super) fn ok_with(name: &str, value: &str) -> End {
    End::Ok { status: 200, said: json!({name: value}) }
}

pub(super) fn refused(slug: &str) -> End {
    let status = if slug == "not-found" { 404 } else { 403 };
    End::Refused { status, slug: slug.to_owned(), said: Value::Null }
}

pub(super) fn unknown() -> End {
    End::Unknown { why: "reset".to_owned() }
}

/// Two challenges.
pub(super) const C: &str = "01939b5e-7a2c-7def-8abc-00000000000c";
pub(super) const E: &str = "01939b5e-7a2c-7def-8abc-00000000000e";

/// An event of this challenge.
pub(super) fn event(kind: &str, challenge: &str, position: u64) -> Event {
    serde_json::from_value(json!({
        "id": format!("01939b5e-7a2c-7def-8abd-{position:012x}"), "position": position, "type": kind,
        "actor": {"type": "system"}, "challenge_id": challenge, "request_id": "r",
        "created_at": "2026-01-01T00:01:00.000Z", "data": {},
    }))
    .unwrap()
}

/// What the server says when all is over: these challenges with their status, and this log.
pub(super) fn facts(challenges: &[(&str, &str)], events: &[Event]) -> Facts {
    let challenges = challenges.iter().map(|(id, status)| {
        let times = ("2026-01-01T00:01:00.000Z", "2026-01-01T00:02:00.000Z");
        ((*id).to_owned(), json!({"status": status, "decided_at": times.0, "expires_at": times.1}))
    });
    Facts { events: events.to_vec(), challenges: challenges.collect(), ..Facts::default() }
}
