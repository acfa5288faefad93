//! What a device makes of what it received.

use super::Push;
use crate::stand_in::Attempt;

/// Alerts that had not expired when they came, the last of each collapse id, in the order of their coming.
pub(super) fn shown(received: &[Attempt<Push>]) -> Vec<Push> {
    let mut shown: Vec<Push> = Vec::new();
    for push in received.iter().filter(|attempt| rings(attempt)).map(|attempt| &attempt.push) {
        if push.collapse_id.is_some() {
            shown.retain(|earlier| earlier.collapse_id != push.collapse_id);
        }
        shown.push(push.clone());
    }
    shown
}

/// How many of them rang.
pub(super) fn rung(received: &[Attempt<Push>]) -> usize {
    received.iter().filter(|attempt| rings(attempt)).count()
}

fn rings(attempt: &Attempt<Push>) -> bool {
    let Push { push_type, expiration, .. } = &attempt.push;
    // 0 means: now or never (Apple); it comes now.
    let is_late = expiration.is_some_and(|expiration| expiration != 0 && expiration <= attempt.at);
    push_type.as_deref() == Some("alert") && !is_late
}
