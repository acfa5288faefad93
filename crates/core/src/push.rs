//! Push: where a device wants to be rung, how its delivery begins, and what the deliveries come to (protocol 8).
//!
//! Only the shape is judged here. Whether an address is safe to connect to is judged at each connect, on the
//! address actually connected to, by whoever connects. How often a user is rung is in [`budget`].

use countersign_proto::{
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{DeliveryState, PushChannel, PushStatus},
};

pub mod budget;

use crate::{
    limits::UNDELIVERABLE_RETRY_SECONDS,
    ports::challenges::{Addressee, NewDelivery},
    text::Checker,
};

/// How the delivery of a new challenge to this device begins. `wanted`: the caller asked for pushes.
///
/// A token that its provider refuses is tried again by the first challenge after an hour, so that a mended
/// configuration shows by itself; until then it costs neither time nor the provider's patience.
pub fn first_delivery(addressee: &Addressee, wanted: bool, now: Timestamp) -> NewDelivery {
    let refused = addressee.undeliverable.as_ref();
    let refused = refused.filter(|refusal| now < refusal.since.plus_seconds(UNDELIVERABLE_RETRY_SECONDS));
    let (state, last_error) = match (addressee.channel, refused) {
        (PushChannel::None, _) => (DeliveryState::PullOnly, None),
        _ if !wanted => (DeliveryState::PullOnly, None),
        _ if addressee.is_token_gone => (DeliveryState::TokenGone, None),
        (_, Some(refusal)) => (DeliveryState::Rejected, Some(refusal.reason.clone())),
        (_, None) => (DeliveryState::Queued, None),
    };
    NewDelivery { device_id: addressee.device_id, channel: addressee.channel, state, last_error }
}

/// What a delivery's state is instead if the user's limits say that nobody is rung.
pub const fn suppressed(state: DeliveryState) -> DeliveryState {
    match state {
        DeliveryState::Queued => DeliveryState::Suppressed,
        other => other,
    }
}

/// What the deliveries of a challenge come to (protocol 6.4). A state with `true` is one whose provider is known to be
/// in trouble: a push that waits for it is not "about to go out".
pub fn status(deliveries: impl IntoIterator<Item = (DeliveryState, bool)>) -> PushStatus {
    let mut status = PushStatus::None;
    for (state, is_in_trouble) in deliveries {
        let one = match state {
            DeliveryState::PullOnly => continue,
            DeliveryState::Queued if is_in_trouble => PushStatus::Degraded,
            // What was withdrawn went out, or did not have to any more.
            DeliveryState::Queued | DeliveryState::Delivered | DeliveryState::Withdrawn => return PushStatus::Ok,
            DeliveryState::Suppressed => PushStatus::Suppressed,
            DeliveryState::Retrying | DeliveryState::TokenGone | DeliveryState::Rejected | DeliveryState::Expired => {
                PushStatus::Degraded
            }
        };
        if status != PushStatus::Suppressed {
            status = one;
        }
    }
    status
}

/// Checks a push binding; `pointer` is where it stands in the artefact's claims.
pub fn check(checker: &mut Checker, pointer: &str, binding: &PushBinding) {
    match binding {
        PushBinding::Apns { token, topic, .. } => {
            if !(64..=200).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                checker.refuse(format!("{pointer}/token"), "must be 64 to 200 hexadecimal digits");
            }
            identifier(checker, &format!("{pointer}/topic"), topic);
        }
        PushBinding::Fcm { token, project } => {
            if !(1..=4096).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                checker.refuse(format!("{pointer}/token"), "must be 1 to 4096 visible ASCII characters");
            }
            if let Some(project) = project {
                identifier(checker, &format!("{pointer}/project"), project);
            }
        }
        PushBinding::Webpush { endpoint, p256dh, auth } => check_webpush(checker, pointer, endpoint, p256dh, auth),
        PushBinding::None => {}
    }
}

fn identifier(checker: &mut Checker, pointer: &str, value: &str) {
    let fits = (1..=255).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'));
    if !fits {
        checker.refuse(pointer, "must be 1 to 255 letters, digits, `.`, `-`, `_` or `:`");
    }
}

fn check_webpush(checker: &mut Checker, pointer: &str, endpoint: &str, p256dh: &str, auth: &str) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let visible = endpoint.len() <= 2048 && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    let host = endpoint.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    // User information in the authority ("https://good@evil/") has no use here and misleads whoever reads it.
    if !visible || host.is_none_or(|host| host.is_empty() || host.contains('@')) {
        checker.refuse(format!("{pointer}/endpoint"), "must be an https URL of at most 2048 characters");
    }
    let point = URL_SAFE_NO_PAD.decode(p256dh).ok();
    let on_curve = point.is_some_and(|bytes| countersign_proto::jose::PublicKey::from_sec1(&bytes).is_ok());
    if !on_curve {
        checker.refuse(format!("{pointer}/p256dh"), "must be an uncompressed P-256 point in base64url");
    }
    if URL_SAFE_NO_PAD.decode(auth).map_or(0, |bytes| bytes.len()) != 16 {
        checker.refuse(format!("{pointer}/auth"), "must be 16 bytes in base64url");
    }
}

#[cfg(test)]
mod tests {
    use countersign_proto::ids::Id;

    use super::*;
    use crate::device::Undeliverable;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn addressee(channel: PushChannel) -> Addressee {
        Addressee {
            device_id: Id::from_uuid(uuid::Uuid::nil()),
            has_uv_key: false,
            push: PushBinding::None,
            channel,
            is_token_gone: false,
            undeliverable: None,
            last_used_at: NOW,
        }
    }

    fn first_state(addressee: &Addressee, wanted: bool) -> DeliveryState {
        first_delivery(addressee, wanted, NOW).state
    }

    #[test]
    fn a_device_without_a_channel_or_a_caller_without_the_wish_is_not_rung() {
        assert_eq!(first_state(&addressee(PushChannel::None), true), DeliveryState::PullOnly);
        assert_eq!(first_state(&addressee(PushChannel::Apns), false), DeliveryState::PullOnly);
        assert_eq!(first_state(&addressee(PushChannel::Apns), true), DeliveryState::Queued);
    }

    #[test]
    fn a_token_that_is_gone_is_not_tried() {
        let gone = Addressee { is_token_gone: true, ..addressee(PushChannel::Fcm) };
        assert_eq!(first_state(&gone, true), DeliveryState::TokenGone);
    }

    #[test]
    fn a_refused_token_says_why_and_is_tried_again_after_an_hour() {
        let refused = |since| {
            let refusal = Undeliverable { reason: "bad-device-token 400".to_owned(), since };
            Addressee { undeliverable: Some(refusal), ..addressee(PushChannel::Apns) }
        };
        let recent = first_delivery(&refused(NOW.plus_seconds(-3_599)), true, NOW);
        assert_eq!(
            (recent.state, recent.last_error.as_deref()),
            (DeliveryState::Rejected, Some("bad-device-token 400"))
        );
        assert_eq!(first_state(&refused(NOW.plus_seconds(-3_600)), true), DeliveryState::Queued);
    }

    #[test]
    fn one_push_that_goes_out_is_enough_and_trouble_is_told_otherwise() {
        use DeliveryState::{Delivered, PullOnly, Queued, Rejected, Retrying, Suppressed, Withdrawn};
        let fine = |states: &[DeliveryState]| status(states.iter().map(|state| (*state, false)));
        assert_eq!(fine(&[]), PushStatus::None);
        assert_eq!(fine(&[PullOnly]), PushStatus::None);
        assert_eq!(fine(&[PullOnly, Retrying]), PushStatus::Degraded);
        assert_eq!(fine(&[Rejected, Delivered]), PushStatus::Ok);
        assert_eq!(fine(&[Rejected, Queued]), PushStatus::Ok);
        assert_eq!(fine(&[Withdrawn]), PushStatus::Ok);
        assert_eq!(fine(&[Suppressed, Rejected]), PushStatus::Suppressed);
        assert_eq!(fine(&[Rejected, Suppressed]), PushStatus::Suppressed);
        assert_eq!(status([(Queued, true)]), PushStatus::Degraded);
        assert_eq!(status([(Queued, true), (Queued, false)]), PushStatus::Ok);
    }
}
