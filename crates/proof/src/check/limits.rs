//! No more sign-ins wait for one person than may (protocol 6.1).

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use crate::history::{Call, Op};

/// Per person.
const MAX_PENDING: usize = 20;

/// People of this harness have one phone each that is asked: whoever names the phone names the person.
pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for call in history.iter().filter(|call| call.op == Op::CreateChallenge) {
        let (Some(device), Some(id)) = (call.device.as_deref(), call.said("id")) else { continue };
        let last = facts.challenges.get(id).and_then(|last| last.get("status")?.as_str());
        if last == Some("pending") {
            waiting.entry(device).or_default().insert(id);
        }
    }
    let is_too_many = |(_, ids): &(&str, BTreeSet<&str>)| ids.len() > MAX_PENDING;
    let too_many = waiting.into_iter().filter(is_too_many);
    too_many.map(|(device, ids)| format!("{} sign-ins wait for {device}", ids.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{call, facts, ok_with, with_device};

    #[test]
    fn twenty_may_wait() {
        let ids: Vec<String> = (0..21).map(|n| format!("c{n}")).collect();
        let made = |id: &String| with_device(call(Op::CreateChallenge, id, 1, ok_with("id", id)), "d");
        let history: Vec<_> = ids.iter().map(made).collect();
        let all: Vec<_> = ids.iter().map(|id| (id.as_str(), "pending")).collect();
        assert_eq!(check(&history, &facts(&all[..20], &[])), Vec::<String>::new());
        assert_eq!(check(&history, &facts(&all, &[])).len(), 1);
    }
}
