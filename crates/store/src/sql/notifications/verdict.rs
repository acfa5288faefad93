//! What a verdict comes to: the state of the delivery or test push, and why.
//!
//! To add a verdict: its line in [`state`]; if it says something about the token, its line in `token.rs`, too.

use countersign_core::ports::notifications::NotificationVerdict;
use countersign_proto::vocabulary::DeliveryState;

/// The state that a push is in after this verdict, and our code for why. `None`: what it was before, since nobody was
/// asked.
pub(super) fn state(verdict: &NotificationVerdict) -> Option<(DeliveryState, Option<&str>)> {
    Some(match verdict {
        NotificationVerdict::PutBack(_) => return None,
        NotificationVerdict::Delivered => (DeliveryState::Delivered, None),
        NotificationVerdict::RetryAt(_, error) => (DeliveryState::Retrying, Some(error)),
        NotificationVerdict::TokenGone(error) => (DeliveryState::TokenGone, Some(error)),
        // The delivery is over for either: what became of the token is the device's own mark.
        NotificationVerdict::Undeliverable(error) | NotificationVerdict::Rejected(error) => {
            (DeliveryState::Rejected, Some(error))
        }
        NotificationVerdict::Expired(error) => (DeliveryState::Expired, error.as_deref()),
    })
}

/// The new value of a `last_error`, in a statement with `r_state` and `r_error`: what ends without a further word still
/// failed for its last reason.
pub(in super::super) const LAST_ERROR: &str =
    "last_error = CASE WHEN r_state IN ('expired', 'withdrawn') THEN COALESCE(r_error, last_error) ELSE r_error END";
