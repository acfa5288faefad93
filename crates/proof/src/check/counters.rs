//! Each wrong number that was judged is in the log, and nothing else is; after each wrong confirmation code fewer are
//! left: no guess is free, none is counted twice.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use crate::history::{Call, End, Op};

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let (mut judged, mut perhaps) = (BTreeSet::new(), BTreeSet::new());
    for call in history.iter().filter(|call| call.op == Op::Approve && call.note.as_deref() == Some("wrong")) {
        match &call.end {
            End::Refused { slug, .. } if slug == "number-mismatch" => drop(judged.insert(call.subject.as_str())),
            End::Unknown { .. } => drop(perhaps.insert(call.subject.as_str())),
            _ => {}
        }
    }
    let is_wrong =
        |data: &serde_json::Value| data.get("reason").and_then(|reason| reason.as_str()) == Some("wrong_number");
    let denied = facts.events.iter().filter(|event| event.kind == "challenge.denied" && is_wrong(&event.data));
    let counted: Vec<String> = denied.filter_map(|event| Some(event.challenge_id?.to_string())).collect();
    let mut violations = Vec::new();
    for challenge in &judged {
        let times = counted.iter().filter(|counted| counted == challenge).count();
        if times != 1 {
            violations.push(format!("a wrong number for {challenge} is {times} times in the log"));
        }
    }
    for challenge in counted {
        if !judged.contains(challenge.as_str()) && !perhaps.contains(challenge.as_str()) {
            violations.push(format!("{challenge} counts a wrong number that nobody gave"));
        }
    }
    violations.extend(codes(history));
    violations
}

/// In the order in which they returned, of one flow each: of two guesses the later one is told of fewer that are left.
fn codes(history: &[Call]) -> Vec<String> {
    let mut left: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut violations = Vec::new();
    for call in history.iter().filter(|call| call.op == Op::Confirm && call.note.as_deref() == Some("wrong")) {
        let told = match &call.end {
            End::Refused { slug, said, .. } if slug == "wrong-code" => {
                said.get("attempts_left").and_then(|n| n.as_u64())
            }
            End::Ok { .. } => {
                violations.push(format!("a wrong code confirmed {}", call.subject));
                None
            }
            _ => None,
        };
        let Some(told) = told else { continue };
        match left.insert(&call.subject, (told, call.returned)) {
            Some((before, since)) if call.invoked > since && told >= before => {
                violations
                    .push(format!("{} guesses were left for {}, and after one more {told}", before, call.subject));
            }
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, call, event, facts, refused, unknown};

    #[test]
    fn each_wrong_code_leaves_fewer() {
        let wrong = |invoked, left: u64| {
            let said = serde_json::json!({"attempts_left": left});
            let end = End::Refused { status: 403, slug: "wrong-code".to_owned(), said };
            Call { note: Some("wrong".to_owned()), ..call(Op::Confirm, "e", invoked, end) }
        };
        let nothing = facts(&[], &[]);
        assert_eq!(check(&[wrong(1, 4), wrong(5, 3)], &nothing), Vec::<String>::new());
        assert_eq!(check(&[wrong(1, 4), wrong(5, 4)], &nothing).len(), 1, "a free guess");
        let taken = Call { end: crate::check::testing::ok("completed"), ..wrong(1, 4) };
        assert_eq!(check(&[taken], &nothing).len(), 1);
    }

    #[test]
    fn each_wrong_number_counts_once() {
        let mut denied = event("challenge.denied", C, 1);
        denied.data = serde_json::json!({"reason": "wrong_number"});
        let wrong = |end| Call { note: Some("wrong".to_owned()), ..call(Op::Approve, C, 1, end) };
        let (judged, perhaps) = (wrong(refused("number-mismatch")), wrong(unknown()));
        let once = facts(&[], std::slice::from_ref(&denied));
        assert_eq!(check(std::slice::from_ref(&judged), &once), Vec::<String>::new());
        assert_eq!(check(std::slice::from_ref(&perhaps), &once), Vec::<String>::new());
        assert_eq!(check(&[perhaps], &facts(&[], &[])), Vec::<String>::new());
        assert_eq!(check(std::slice::from_ref(&judged), &facts(&[], &[])).len(), 1, "a free guess");
        assert_eq!(check(&[], &once).len(), 1, "a guess that nobody made");
        assert_eq!(check(&[judged], &facts(&[], &[denied.clone(), denied])).len(), 1, "counted twice");
    }
}
