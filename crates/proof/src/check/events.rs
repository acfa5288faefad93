//! Each end has its event, once; nothing else has one; and each was told to the webhook that wants it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, facts::is_end};
use crate::history::Call;

pub(super) fn check(_history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = Vec::new();
    let (mut ends, mut seen) = (BTreeMap::<String, Vec<&str>>::new(), BTreeSet::new());
    for (index, event) in facts.events.iter().enumerate() {
        if event.position != u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1) {
            violations.push(format!("the log has position {} at {}", event.position, index + 1));
        }
        if !seen.insert(event.id) {
            violations.push(format!("event {} is in the log twice", event.id));
        }
        if is_end(&event.kind) {
            let id = event.challenge_id.map(|id| id.to_string()).unwrap_or_default();
            ends.entry(id).or_default().push(&event.kind);
        }
        let is_untold = facts.told.as_ref().is_some_and(|told| !told.contains(&event.id.to_string()));
        if event.kind.starts_with("challenge.") && is_untold {
            violations.push(format!("nobody was told of {} {}", event.kind, event.id));
        }
    }
    for (challenge, object) in &facts.challenges {
        let status = object.get("status").and_then(|status| status.as_str()).unwrap_or_default();
        let ends = ends.get(challenge).map(Vec::as_slice).unwrap_or_default();
        let expected = format!("challenge.{status}");
        let fits = match ends {
            [] => status == "pending",
            [end] => *end == expected,
            _ => false,
        };
        // One that is over by the clock may wait for the sweeper.
        let is_unswept = ends.is_empty() && status == "expired";
        if !fits && !is_unswept {
            violations.push(format!("challenge {challenge} is {status}, the log says {ends:?}"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, event, facts};

    #[test]
    fn each_end_is_in_the_log_once() {
        let approved = event("challenge.approved", C, 1);
        let denied = event("challenge.denied", C, 2);
        let of = |status: &str, events: &[_]| {
            let mut facts = facts(&[(C, status)], events);
            facts.told = Some(facts.events.iter().map(|event| event.id.to_string()).collect());
            check(&[], &facts).len()
        };
        assert_eq!(of("approved", std::slice::from_ref(&approved)), 0);
        assert_eq!(of("pending", &[]), 0);
        assert_eq!(of("approved", &[]), 1);
        assert_eq!(of("pending", std::slice::from_ref(&approved)), 1);
        assert_eq!(of("approved", &[approved.clone(), denied]), 1);
        assert_eq!(of("approved", &[approved.clone(), approved]), 3, "the place, the id and the end");
    }

    #[test]
    fn each_is_told() {
        let mut facts = facts(&[(C, "approved")], &[event("challenge.approved", C, 1)]);
        assert_eq!(check(&[], &facts), Vec::<String>::new(), "nobody wants to be told");
        facts.told = Some(BTreeSet::new());
        assert_eq!(check(&[], &facts).len(), 1);
    }
}
