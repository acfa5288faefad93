//! No answer is taken at or after its challenge's end, and nobody is told before it that the time is over.
//!
//! Ends are whole seconds, and server and harness look at one clock: what is told apart here is a millisecond, except by
//! `decided_at`, which the wire shows in seconds.

use std::collections::BTreeSet;

use countersign_proto::timestamp::Timestamp;
use serde_json::Value;

use super::Facts;
use crate::history::{Call, End, Op};

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = too_late(history, facts);
    violations.extend(too_early(history, facts));
    violations
}

fn time(challenge: &Value, name: &str) -> Option<Timestamp> {
    serde_json::from_value(challenge.get(name)?.clone()).ok()
}

fn end_of(facts: &Facts, challenge: &str) -> Option<Timestamp> {
    time(facts.challenges.get(challenge)?, "expires_at")
}

fn too_late(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = Vec::new();
    for event in facts.events.iter().filter(|event| event.kind == "challenge.approved") {
        let id = event.challenge_id.map(|id| id.to_string()).unwrap_or_default();
        let Some(challenge) = facts.challenges.get(&id) else { continue };
        let (Some(decided), Some(expires)) = (time(challenge, "decided_at"), time(challenge, "expires_at")) else {
            violations.push(format!("challenge {id} is approved, and does not say when"));
            continue;
        };
        if decided > expires || event.created_at >= expires {
            violations.push(format!("challenge {id} was approved at {}, its end was {expires}", event.created_at));
        }
    }
    let mut sent = BTreeSet::new();
    for call in history.iter().filter(|call| call.op == Op::Approve) {
        // Sent for the first time at the end or after it: whatever is answered, it is not a yes.
        let is_first = sent.insert((&call.subject, &call.note));
        let is_late = end_of(facts, &call.subject).is_some_and(|expires| call.invoked_at >= expires.as_millis());
        if is_first && is_late && matches!(call.end, End::Ok { .. }) {
            violations.push(format!("challenge {} was approved by what began after its end", call.subject));
        }
    }
    violations
}

fn too_early(history: &[Call], facts: &Facts) -> Vec<String> {
    let (mut violations, mut told) = (Vec::new(), BTreeSet::new());
    for call in history.iter().filter(|call| call.said("status") == Some("expired")) {
        // Once it is over it stays so, should the server's clock be set back.
        let is_first = told.insert(&call.subject);
        let is_early = end_of(facts, &call.subject).is_some_and(|expires| call.returned_at < expires.as_millis());
        if is_first && is_early {
            violations.push(format!("{:?} said before the end of {} that it is over", call.op, call.subject));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, call, event, facts, ok};

    /// 2026-01-01T00:02:00Z, when the challenges of the tests end.
    const END: i64 = 1_767_225_720_000;

    #[test]
    fn an_approval_comes_before_the_end() {
        let mut facts = facts(&[(C, "approved")], &[event("challenge.approved", C, 1)]);
        let mut at = |decided: &str| {
            let challenge =
                serde_json::json!({"status": "approved", "decided_at": decided, "expires_at": "2026-01-01T00:02:00Z"});
            facts.challenges.insert(C.to_owned(), challenge);
            check(&[], &facts).len()
        };
        assert_eq!((at("2026-01-01T00:02:00Z"), at("2026-01-01T00:02:01Z")), (0, 1));
    }

    #[test]
    fn an_approval_at_the_very_end_is_none() {
        let mut approved = event("challenge.approved", C, 1);
        let mut at = |millis| {
            approved.created_at = Timestamp::from_millis(millis);
            check(&[], &facts(&[(C, "approved")], std::slice::from_ref(&approved))).len()
        };
        assert_eq!((at(END - 1), at(END)), (0, 1));
    }

    #[test]
    fn what_begins_at_the_end_is_no_approval() {
        let nothing = facts(&[(C, "approved")], &[]);
        let begun = |invoked_at| Call { invoked_at, ..call(Op::Approve, C, 1, ok("approved")) };
        assert_eq!(check(&[begun(END - 1)], &nothing), Vec::<String>::new());
        assert_eq!(check(&[begun(END)], &nothing).len(), 1);
        assert_eq!(check(&[begun(END - 1), begun(END)], &nothing), Vec::<String>::new(), "the same bytes again");
    }

    #[test]
    fn nobody_is_told_too_early_that_it_is_over() {
        let nothing = facts(&[(C, "expired")], &[]);
        let told = |returned_at| Call { returned_at, ..call(Op::ReadChallenge, C, 1, ok("expired")) };
        assert_eq!(check(&[told(END)], &nothing), Vec::<String>::new());
        assert_eq!(check(&[told(END - 1)], &nothing).len(), 1);
    }
}
