//! What got a 2xx is there when all is over, and what was asked twice under one key happened once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Facts;
use crate::history::{Call, End, Op};

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = Vec::new();
    let status = |objects: &BTreeMap<String, Value>, id: &str| {
        objects.get(id).and_then(|object| object.get("status")?.as_str()).map(str::to_owned)
    };
    for call in history {
        let End::Ok { .. } = call.end else { continue };
        let subject = call.subject.as_str();
        match call.op {
            Op::CreateChallenge => {
                let id = call.said("id").unwrap_or_default();
                if !facts.challenges.contains_key(id) {
                    violations.push(format!("challenge {id} was created, and is gone"));
                }
            }
            Op::Register => {
                let id = call.said("device_id").unwrap_or_default();
                if !facts.devices.contains_key(id) && !facts.is_withdrawn(subject) {
                    violations.push(format!("device {id} was registered, and is gone"));
                }
            }
            Op::RevokeDevice if status(&facts.devices, subject).as_deref() != Some("revoked") => {
                let is = status(&facts.devices, subject);
                violations.push(format!("device {subject} was revoked, and is {is:?}"));
            }
            Op::Confirm => {
                let device = call.device.as_deref().unwrap_or_default();
                let is = status(&facts.devices, device);
                if !matches!(is.as_deref(), Some("active" | "revoked")) {
                    violations.push(format!("device {device} was confirmed, and is {is:?}"));
                }
            }
            _ => {}
        }
    }
    violations.extend(one_effect(history, facts));
    violations
}

/// One idempotency key makes one challenge, and no challenge is without a key: what nobody was told of would ring phones.
fn one_effect(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut violations = Vec::new();
    let (mut made, mut keys) = (BTreeMap::<&str, BTreeSet<&str>>::new(), BTreeSet::new());
    for call in history.iter().filter(|call| call.op == Op::CreateChallenge) {
        match (&call.end, call.said("id")) {
            (End::Ok { .. }, Some(id)) => drop(made.entry(&call.subject).or_default().insert(id)),
            (End::Refused { .. } | End::NotAsked, _) => continue,
            _ => {}
        }
        keys.insert(call.subject.as_str());
    }
    for (key, ids) in made.iter().filter(|(_, ids)| ids.len() > 1) {
        violations.push(format!("the key {key} made {} challenges: {ids:?}", ids.len()));
    }
    // Each key that may have been taken made at most one.
    let created = facts.events.iter().filter(|event| event.kind == "challenge.created").count();
    if created > keys.len() {
        violations.push(format!("{created} challenges were made under {} keys", keys.len()));
    }
    if created < made.len() {
        violations.push(format!("{} challenges were acknowledged, the log has {created}", made.len()));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, E, call, event, facts, ok_with, unknown};

    #[test]
    fn what_was_acknowledged_is_there() {
        let created = event("challenge.created", C, 1);
        let history = [call(Op::CreateChallenge, "k", 1, ok_with("id", C))];
        let there = facts(&[(C, "pending")], std::slice::from_ref(&created));
        assert_eq!(check(&history, &there), Vec::<String>::new());
        assert_eq!(check(&history, &facts(&[], &[created])).len(), 1);
        assert_eq!(check(&history, &facts(&[(C, "pending")], &[])).len(), 1, "the log has lost it");
    }

    #[test]
    fn a_revoked_device_stays_revoked() {
        let history = [call(Op::RevokeDevice, "d", 1, ok_with("status", "revoked"))];
        let with = |status: &str| {
            let mut facts = facts(&[], &[]);
            facts.devices.insert("d".to_owned(), serde_json::json!({"status": status}));
            facts
        };
        assert_eq!(check(&history, &with("revoked")), Vec::<String>::new());
        assert_eq!(check(&history, &with("active")).len(), 1);
    }

    #[test]
    fn one_key_makes_one_challenge() {
        let twice = [
            call(Op::CreateChallenge, "k", 1, unknown()),
            call(Op::CreateChallenge, "k", 2, ok_with("id", C)),
            call(Op::CreateChallenge, "k", 3, ok_with("id", E)),
        ];
        let events = [event("challenge.created", C, 1), event("challenge.created", E, 2)];
        let two = facts(&[(C, "pending"), (E, "pending")], &events);
        assert_eq!(check(&twice, &two).len(), 2, "the key, and the count");
        let first_was_lost = [twice[0].clone(), twice[1].clone()];
        assert_eq!(check(&first_was_lost, &two).len(), 1, "one that nobody was told of");
        assert_eq!(check(&first_was_lost, &facts(&[(C, "pending")], &events[..1])), Vec::<String>::new());
    }
}
