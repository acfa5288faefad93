//! Every request gets an answer that the protocol knows, in time, and nothing is approved that the log does not approve.

use std::collections::BTreeSet;

use super::Facts;
use crate::history::{Call, End};

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let approved: BTreeSet<String> = facts
        .events
        .iter()
        .filter(|event| event.kind == "challenge.approved")
        .filter_map(|event| Some(event.challenge_id?.to_string()))
        .collect();
    let mut violations = Vec::new();
    for call in history {
        match &call.end {
            End::Wrong { why } => violations.push(format!("{:?} of {}: {why}", call.op, call.subject)),
            End::Ok { .. } if call.said("status") == Some("approved") => {
                let challenge = call.said("challenge_id").or(call.said("id")).unwrap_or(&call.subject);
                if !approved.contains(challenge) {
                    violations.push(format!("{:?} said that {challenge} is approved, the log does not", call.op));
                }
            }
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::testing::{C, call, event, facts, ok},
        history::Op,
    };

    #[test]
    fn an_answer_is_one_of_the_protocols() {
        let wrong = End::Wrong { why: "500".to_owned() };
        assert_eq!(check(&[call(Op::Pull, "d", 1, wrong)], &facts(&[], &[])).len(), 1);
    }

    #[test]
    fn nobody_hears_of_an_approval_that_the_log_does_not_know() {
        let heard = [call(Op::ReadChallenge, C, 1, ok("approved"))];
        assert_eq!(check(&heard, &facts(&[], &[])).len(), 1);
        assert_eq!(check(&heard, &facts(&[], &[event("challenge.approved", C, 1)])), Vec::<String>::new());
    }
}
