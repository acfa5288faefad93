//! Once a revoke has returned, nothing by that device is taken; and no answer is taken at or after its challenge's end.

use std::collections::{BTreeMap, BTreeSet};

use countersign_proto::timestamp::Timestamp;
use serde_json::Value;

use super::Facts;
use crate::history::{Call, End, Op};

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = after_the_revoke(history);
    violations.extend(after_its_time(history, facts));
    violations
}

fn after_the_revoke(history: &[Call]) -> Vec<String> {
    let mut revoked: BTreeMap<&str, u64> = BTreeMap::new();
    for call in history.iter().filter(|call| call.op == Op::RevokeDevice && matches!(call.end, End::Ok { .. })) {
        let since = revoked.entry(&call.subject).or_insert(call.returned);
        *since = call.returned.min(*since);
    }
    let mut violations = Vec::new();
    let mut taken: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for call in history {
        let (End::Ok { .. }, Some(device)) = (&call.end, call.device.as_deref()) else { continue };
        let Some(since) = revoked.get(device) else { continue };
        let is_by_the_device = matches!(call.op, Op::Approve | Op::Deny | Op::Pull);
        // The first reply again, to the very bytes that were taken before, changes nothing (protocol 7.2, step 2).
        let first = taken.entry((device, &call.subject)).or_insert(call.invoked);
        let is_repeat = matches!(call.op, Op::Approve | Op::Deny) && *first < *since;
        if is_by_the_device && call.invoked > *since && !is_repeat {
            violations.push(format!(
                "{:?} of {} by {device} began after its revocation, and was taken",
                call.op, call.subject
            ));
        }
    }
    violations
}

/// The wire shows whole seconds: what is told apart here is a second.
fn after_its_time(history: &[Call], facts: &Facts) -> Vec<String> {
    let time = |challenge: &Value, name: &str| -> Option<Timestamp> {
        serde_json::from_value(challenge.get(name)?.clone()).ok()
    };
    let mut violations = Vec::new();
    for event in facts.events.iter().filter(|event| event.kind == "challenge.approved") {
        let id = event.challenge_id.map(|id| id.to_string()).unwrap_or_default();
        let Some(challenge) = facts.challenges.get(&id) else { continue };
        let (Some(decided), Some(expires)) = (time(challenge, "decided_at"), time(challenge, "expires_at")) else {
            violations.push(format!("challenge {id} is approved, and does not say when"));
            continue;
        };
        if decided > expires || event.created_at > expires {
            violations.push(format!("challenge {id} was approved at {decided}, its end was {expires}"));
        }
    }
    let mut sent = BTreeSet::new();
    for call in history.iter().filter(|call| call.op == Op::Approve) {
        // Sent for the first time after the end: whatever is answered, it is not a yes.
        let is_first = sent.insert((&call.subject, &call.note));
        let expires = facts.challenges.get(&call.subject).and_then(|challenge| time(challenge, "expires_at"));
        let is_late = expires.is_some_and(|expires| call.invoked_at >= expires.plus_seconds(1).as_millis());
        if is_first && is_late && matches!(call.end, End::Ok { .. }) {
            violations.push(format!("challenge {} was approved by what began after its end", call.subject));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, E, call, facts, ok, ok_with, with_device};

    #[test]
    fn what_begins_after_the_revoke_is_not_taken() {
        let revoke = with_device(call(Op::RevokeDevice, "d", 10, ok_with("status", "revoked")), "d");
        let before = with_device(call(Op::Approve, C, 5, ok("approved")), "d");
        let after = with_device(call(Op::Approve, E, 20, ok("approved")), "d");
        let nothing = facts(&[], &[]);
        assert_eq!(check(&[before.clone(), revoke.clone()], &nothing), Vec::<String>::new());
        let repeat = Call { invoked: 30, returned: 31, ..before.clone() };
        assert_eq!(check(&[before, revoke.clone(), repeat], &nothing), Vec::<String>::new());
        assert_eq!(check(&[revoke, after], &nothing).len(), 1);
    }

    #[test]
    fn an_approval_comes_before_the_end() {
        let approved = crate::check::testing::event("challenge.approved", C, 1);
        let mut facts = facts(&[(C, "approved")], &[approved]);
        let mut at = |decided: &str| {
            let challenge =
                serde_json::json!({"status": "approved", "decided_at": decided, "expires_at": "2026-01-01T00:02:00Z"});
            facts.challenges.insert(C.to_owned(), challenge);
            check(&[], &facts).len()
        };
        assert_eq!((at("2026-01-01T00:02:00Z"), at("2026-01-01T00:02:01Z")), (0, 1));
    }

    #[test]
    fn what_begins_after_the_end_is_no_approval() {
        let nothing = facts(&[(C, "approved")], &[]);
        let begun = |invoked_at| Call { invoked_at, ..call(Op::Approve, C, 1, ok("approved")) };
        let end = 1_767_225_720_000;
        assert_eq!(check(&[begun(end)], &nothing), Vec::<String>::new());
        assert_eq!(check(&[begun(end + 1_000)], &nothing).len(), 1);
        assert_eq!(check(&[begun(end), begun(end + 1_000)], &nothing), Vec::<String>::new(), "the same bytes again");
    }
}
