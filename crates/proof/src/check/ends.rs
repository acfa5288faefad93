//! A challenge ends once, and whoever has seen its end sees it for ever.

use std::collections::BTreeMap;

use super::Facts;
use crate::history::{Call, End, Op};

/// What a call learned of a challenge's state.
fn seen(call: &Call) -> Option<(&str, &str)> {
    let End::Ok { .. } = call.end else { return None };
    match call.op {
        Op::ReadChallenge | Op::Approve | Op::Deny | Op::Repeat | Op::CancelChallenge => {
            Some((&call.subject, call.said("status")?))
        }
        Op::CreateChallenge => Some((call.said("id")?, call.said("status")?)),
        _ => None,
    }
}

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = Vec::new();
    // In the order in which the calls returned: an end is known from then on.
    let mut known: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for call in history {
        let Some((challenge, status)) = seen(call) else { continue };
        match known.get(challenge) {
            Some((end, since)) if call.invoked > *since && *end != status => {
                violations.push(format!("challenge {challenge} was {end}, then {status}"));
            }
            // Two that were under way at once may have seen it before and after its end, but not two ends.
            Some((end, _)) if status != "pending" && *end != status => {
                violations.push(format!("challenge {challenge} was {end} and {status} at once"));
            }
            None if status != "pending" => drop(known.insert(challenge, (status, call.returned))),
            _ => {}
        }
    }
    for (challenge, (end, _)) in known {
        let last = facts.challenges.get(challenge).and_then(|last| last.get("status")?.as_str());
        if last != Some(end) {
            violations.push(format!("challenge {challenge} was {end}, and is {last:?} when all is over"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, call, facts, ok};

    #[test]
    fn an_end_stays() {
        let facts = facts(&[(C, "approved")], &[]);
        let good = [call(Op::ReadChallenge, C, 1, ok("pending")), call(Op::Approve, C, 3, ok("approved"))];
        assert_eq!(check(&good, &facts), Vec::<String>::new());
        let back = call(Op::ReadChallenge, C, 5, ok("pending"));
        assert_eq!(check(&[good[1].clone(), back], &facts).len(), 1);
        let two = call(Op::Deny, C, 3, ok("denied"));
        assert_eq!(check(&[good[1].clone(), two], &facts).len(), 1);
    }

    #[test]
    fn the_last_word_is_the_first_end() {
        let history = [call(Op::Approve, C, 1, ok("approved"))];
        assert_eq!(check(&history, &facts(&[(C, "expired")], &[])).len(), 1);
        assert_eq!(check(&history, &facts(&[], &[])).len(), 1, "it is gone");
    }
}
