//! Once a revoke has returned, nothing by that device is taken, whatever was under way.

use std::collections::BTreeMap;

use super::Facts;
use crate::history::{Call, End, Op};

/// When a device's first revocation to return did so, by the stopwatch and by the wall clock.
type Revoked<'h> = BTreeMap<&'h str, (u64, i64)>;

pub(super) fn check(history: &[Call], facts: &Facts) -> Vec<String> {
    let mut revoked = Revoked::new();
    for call in history.iter().filter(|call| call.op == Op::RevokeDevice && matches!(call.end, End::Ok { .. })) {
        let since = revoked.entry(&call.subject).or_insert((call.returned, call.returned_at));
        *since = (call.returned, call.returned_at).min(*since);
    }
    let mut violations = after_the_revoke(history, facts, &revoked);
    violations.extend(by_what_was_under_way(history, &revoked));
    violations
}

fn after_the_revoke(history: &[Call], facts: &Facts, revoked: &Revoked<'_>) -> Vec<String> {
    // By the server's clock, in whole seconds.
    let decided: BTreeMap<String, i64> = facts
        .events
        .iter()
        .filter(|event| matches!(event.kind.as_str(), "challenge.approved" | "challenge.denied"))
        .filter_map(|event| Some((event.challenge_id?.to_string(), event.created_at.as_millis())))
        .collect();
    let mut violations = Vec::new();
    let mut begun: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for call in history.iter().filter(|call| matches!(call.op, Op::Approve | Op::Deny | Op::Pull)) {
        let Some(device) = call.device.as_deref() else { continue };
        let Some((since, since_at)) = revoked.get(device) else { continue };
        let is_answer = call.op != Op::Pull;
        let first = match call.end {
            // What became of the first one may only be told to the second.
            End::Ok { .. } | End::Unknown { .. } if is_answer => {
                *begun.entry((device, &call.subject)).or_insert(call.invoked)
            }
            _ => call.invoked,
        };
        let End::Ok { .. } = call.end else { continue };
        // The first reply again, to the very bytes that were taken before, changes nothing (protocol 7.2, step 2).
        let is_repeat = first < *since && decided.get(&call.subject).is_none_or(|at| at <= since_at);
        if call.invoked > *since && !is_repeat {
            violations.push(format!(
                "{:?} of {} by {device} began after its revocation, and was taken",
                call.op, call.subject
            ));
        }
    }
    violations
}

/// What was still open after the revocation had returned is not ended by the device, whenever its answer began: that was
/// under way is no excuse.
fn by_what_was_under_way(history: &[Call], revoked: &Revoked<'_>) -> Vec<String> {
    let is_open = |call: &&Call| call.op == Op::ReadChallenge && call.said("status") == Some("pending");
    let mut seen_open: BTreeMap<&str, u64> = BTreeMap::new();
    for call in history.iter().filter(is_open) {
        let last = seen_open.entry(&call.subject).or_insert(call.invoked);
        *last = call.invoked.max(*last);
    }
    let mut violations = Vec::new();
    for call in history.iter().filter(|call| matches!(call.op, Op::Approve | Op::Deny)) {
        let (End::Ok { .. }, Some(device)) = (&call.end, call.device.as_deref()) else { continue };
        let (Some((since, _)), Some(open)) = (revoked.get(device), seen_open.get(call.subject.as_str())) else {
            continue;
        };
        if open > since && call.invoked <= *since {
            violations.push(format!("{} was open when {device} was revoked, and was then ended by it", call.subject));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, E, call, event, facts, ok, ok_with, unknown, with_device};

    #[test]
    fn what_begins_after_the_revoke_is_not_taken() {
        let revoke = with_device(call(Op::RevokeDevice, "d", 10, ok_with("status", "revoked")), "d");
        let before = with_device(call(Op::Approve, C, 5, ok("approved")), "d");
        let after = with_device(call(Op::Approve, E, 20, ok("approved")), "d");
        let nothing = facts(&[], &[]);
        assert_eq!(check(&[before.clone(), revoke.clone()], &nothing), Vec::<String>::new());
        let repeat = Call { invoked: 30, returned: 31, ..before.clone() };
        assert_eq!(check(&[before, revoke.clone(), repeat], &nothing), Vec::<String>::new());
        assert_eq!(check(&[revoke.clone(), after.clone()], &nothing).len(), 1);
        // Its first reply was lost, the log knows when it was taken.
        let lost = Call { end: unknown(), ..with_device(call(Op::Approve, E, 5, ok("approved")), "d") };
        let logged = facts(&[], &[event("challenge.approved", E, 1)]);
        let returned = |returned_at| [lost.clone(), Call { returned_at, ..revoke.clone() }, after.clone()];
        assert_eq!(check(&returned(1_767_225_660_000), &logged), Vec::<String>::new());
        assert_eq!(check(&returned(1_767_225_659_999), &logged).len(), 1);
    }

    #[test]
    fn what_was_open_after_the_revoke_is_not_ended_by_the_device() {
        let nothing = facts(&[], &[]);
        let revoke = with_device(call(Op::RevokeDevice, "d", 10, ok_with("status", "revoked")), "d");
        let under_way = Call { returned: 30, ..with_device(call(Op::Approve, C, 5, ok("approved")), "d") };
        let open = |invoked| call(Op::ReadChallenge, C, invoked, ok("pending"));
        assert_eq!(check(&[open(9), revoke.clone(), under_way.clone()], &nothing), Vec::<String>::new());
        assert_eq!(check(&[revoke, open(15), under_way], &nothing).len(), 1);
    }
}
