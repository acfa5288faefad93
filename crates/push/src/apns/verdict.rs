//! What each of Apple's answers means (Apple's documented statuses and reasons; protocol 8.5).
//!
//! A reason is looked up in a table; a text that is not in it is not repeated anywhere.

use countersign_core::ports::notifications::LeasedNotification;
use countersign_proto::{json, timestamp::Timestamp};
use serde::Deserialize;

use crate::{
    circuit::Health,
    report::{Outcome, Reason},
    transport::Answer,
};

/// Apple's error body.
#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    reason: String,
    /// When Apple last knew the token to be good: unix milliseconds (410 only).
    #[serde(default)]
    timestamp: Option<i64>,
}

/// What the sender itself acts on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// 403 `ExpiredProviderToken`.
    TokenExpired,
    /// 429 `TooManyProviderTokenUpdates`.
    TokenTooSoon,
    /// Anything else.
    Other,
}

/// What a reason concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// This device's token: refused, may exist.
    Token,
    /// This device's token: no longer valid.
    Gone,
    /// This message: our fault.
    Message,
    /// Our key, team or topic.
    Credentials,
    /// Too much at once.
    Pace,
    /// Apple itself.
    Apple,
}

/// Apple's reasons, our codes, and what they concern.
const REASONS: &[(&str, &str, About)] = &[
    ("BadDeviceToken", "bad-device-token", About::Token),
    ("DeviceTokenNotForTopic", "device-token-not-for-topic", About::Token),
    ("Unregistered", "unregistered", About::Gone),
    ("ExpiredToken", "expired-token", About::Gone),
    ("BadCollapseId", "bad-collapse-id", About::Message),
    ("BadExpirationDate", "bad-expiration-date", About::Message),
    ("BadMessageId", "bad-message-id", About::Message),
    ("BadPath", "bad-path", About::Message),
    ("BadPriority", "bad-priority", About::Message),
    ("DuplicateHeaders", "duplicate-headers", About::Message),
    ("InvalidPushType", "invalid-push-type", About::Message),
    ("MethodNotAllowed", "method-not-allowed", About::Message),
    ("MissingDeviceToken", "missing-device-token", About::Message),
    ("PayloadEmpty", "payload-empty", About::Message),
    ("PayloadTooLarge", "payload-too-large", About::Message),
    ("BadCertificate", "bad-certificate", About::Credentials),
    ("BadCertificateEnvironment", "bad-certificate-environment", About::Credentials),
    ("BadEnvironmentKeyIdInToken", "bad-environment-key-id", About::Credentials),
    ("BadTopic", "bad-topic", About::Credentials),
    ("ExpiredProviderToken", "expired-provider-token", About::Credentials),
    ("Forbidden", "forbidden", About::Credentials),
    ("InvalidProviderToken", "invalid-provider-token", About::Credentials),
    ("MissingProviderToken", "missing-provider-token", About::Credentials),
    ("MissingTopic", "missing-topic", About::Credentials),
    ("TopicDisallowed", "topic-disallowed", About::Credentials),
    ("UnrelatedKeyIdInToken", "unrelated-key-id", About::Credentials),
    ("TooManyProviderTokenUpdates", "too-many-token-updates", About::Pace),
    ("TooManyRequests", "too-many-requests", About::Pace),
    ("IdleTimeout", "idle-timeout", About::Apple),
    ("InternalServerError", "internal-server-error", About::Apple),
    ("ServiceUnavailable", "service-unavailable", About::Apple),
    ("Shutdown", "shutdown", About::Apple),
];

fn body(answer: &Answer) -> Body {
    // Strictly: serde alone takes an array for an object, and a token would be given up for what nobody documents.
    json::from_slice(&answer.body).unwrap_or_default()
}

fn look_up(reason: &str) -> Option<(&'static str, About)> {
    REASONS.iter().find(|(theirs, ..)| *theirs == reason).map(|(_, ours, about)| (*ours, *about))
}

pub(super) fn read(answer: &Answer) -> Answered {
    if !matches!(answer.status, 403 | 429) {
        return Answered::Other;
    }
    match (answer.status, body(answer).reason.as_str()) {
        (403, "ExpiredProviderToken") => Answered::TokenExpired,
        (429, "TooManyProviderTokenUpdates") => Answered::TokenTooSoon,
        _ => Answered::Other,
    }
}

/// A token that is no token: nothing was sent.
pub(super) const fn unsendable() -> (Outcome, Health) {
    (Outcome::Undeliverable(Reason::of("bad-device-token")), Health::Unknown)
}

pub(crate) fn verdict(answer: &Answer, notification: &LeasedNotification, now: Timestamp) -> (Outcome, Health) {
    if answer.status == 200 {
        return (Outcome::Accepted, Health::Alive);
    }
    let body = body(answer);
    let retry = |reason| Outcome::Retry { after_millis: answer.retry_after_millis(now), reason };
    let Some((code, about)) = look_up(&body.reason) else { return unknown(answer, now) };
    let reason = Reason::answered(code, answer.status);
    match about {
        About::Token => (Outcome::Undeliverable(reason), Health::Alive),
        About::Gone if is_of_former_token(body.timestamp, notification) => {
            (retry(Reason { code: "unregistered-stale", ..reason }), Health::Alive)
        }
        About::Gone => (Outcome::TokenGone(reason), Health::Alive),
        About::Message => (Outcome::Rejected(reason), Health::Alive),
        About::Credentials => (retry(reason), Health::Refused(reason)),
        About::Pace => (retry(reason), Health::Unknown),
        About::Apple => (retry(reason), Health::Failing(reason)),
    }
}

/// A token that the device registered again after Apple had given it up is a good one: the push is repeated, and nothing is
/// cleared.
fn is_of_former_token(gone_at_millis: Option<i64>, notification: &LeasedNotification) -> bool {
    gone_at_millis.is_some_and(|gone_at| gone_at < notification.push_updated_at.as_millis())
}

/// A reason that is not in the table, or none (a proxy's page).
fn unknown(answer: &Answer, now: Timestamp) -> (Outcome, Health) {
    let outcome = match answer.status {
        429 => Outcome::Retry {
            after_millis: answer.retry_after_millis(now),
            reason: Reason::answered("too-many-requests", 429),
        },
        _ => answer.unexpected(now),
    };
    let health = match (answer.status, outcome) {
        (429, _) | (_, Outcome::Rejected(_)) => Health::Unknown,
        (_, outcome) => outcome.reason().map_or(Health::Unknown, Health::Failing),
    };
    (outcome, health)
}

/// What an answer to the doctor's probe says of the key.
pub(super) fn probe(answer: &Answer) -> Result<String, String> {
    let reason = body(answer).reason;
    match (answer.status, look_up(&reason)) {
        (400, Some(("bad-device-token", _))) => Ok("Apple accepts key, team and topic".to_owned()),
        (status, Some((code, About::Credentials))) => {
            Err(format!("Apple refuses the key, the team or the topic: {code} {status}"))
        }
        (status, Some((code, _))) => Err(format!("Apple answers {code} {status}")),
        (status, None) => Err(format!("Apple answers {status} for a reason that is not documented")),
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::ports::notifications::NotificationKind;
    use countersign_proto::push::PushBinding;
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::testing::{NOW, notification};

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    fn judge(status: u16, body: &str) -> (Outcome, Health) {
        verdict(&answer(status, body), &notification(NotificationKind::Challenge, PushBinding::None), NOW)
    }

    #[test]
    fn every_documented_reason_has_its_verdict() {
        for (theirs, ours, about) in REASONS {
            let (outcome, health) = judge(499, &format!(r#"{{"reason":"{theirs}"}}"#));
            let reason = Reason::answered(ours, 499);
            let expected = match about {
                About::Token => (Outcome::Undeliverable(reason), Health::Alive),
                About::Gone => (Outcome::TokenGone(reason), Health::Alive),
                About::Message => (Outcome::Rejected(reason), Health::Alive),
                About::Credentials => (Outcome::retry(reason), Health::Refused(reason)),
                About::Pace => (Outcome::retry(reason), Health::Unknown),
                About::Apple => (Outcome::retry(reason), Health::Failing(reason)),
            };
            assert_eq!((outcome, health), expected, "{theirs}");
        }
    }

    #[test]
    fn the_reasons_that_matter_most_are_read_as_the_protocol_says() {
        let outcome = |status, reason: &str| judge(status, &format!(r#"{{"reason":"{reason}"}}"#)).0;
        assert!(matches!(outcome(400, "BadDeviceToken"), Outcome::Undeliverable(_)));
        assert!(matches!(outcome(400, "DeviceTokenNotForTopic"), Outcome::Undeliverable(_)));
        assert!(matches!(outcome(413, "PayloadTooLarge"), Outcome::Rejected(_)));
        assert!(matches!(outcome(400, "BadExpirationDate"), Outcome::Rejected(_)));
        assert!(matches!(outcome(403, "InvalidProviderToken"), Outcome::Retry { .. }));
        assert!(matches!(outcome(400, "TopicDisallowed"), Outcome::Retry { .. }));
        assert!(matches!(outcome(429, "TooManyProviderTokenUpdates"), Outcome::Retry { .. }));
        assert!(matches!(outcome(503, "ServiceUnavailable"), Outcome::Retry { .. }));
        assert_eq!(read(&answer(403, r#"{"reason":"ExpiredProviderToken"}"#)), Answered::TokenExpired);
        assert_eq!(read(&answer(429, r#"{"reason":"TooManyProviderTokenUpdates"}"#)), Answered::TokenTooSoon);
        assert_eq!(read(&answer(400, r#"{"reason":"ExpiredProviderToken"}"#)), Answered::Other);
    }

    #[test]
    fn a_token_that_was_registered_again_is_never_cleared() {
        let registered = notification(NotificationKind::Challenge, PushBinding::None).push_updated_at.as_millis();
        let gone = |millis: i64| judge(410, &format!(r#"{{"reason":"Unregistered","timestamp":{millis}}}"#)).0;
        let reason = Reason::answered("unregistered", 410);
        assert_eq!(gone(registered + 1), Outcome::TokenGone(reason));
        assert_eq!(gone(registered), Outcome::TokenGone(reason));
        assert_eq!(gone(registered - 1), Outcome::retry(Reason::answered("unregistered-stale", 410)));
        assert_eq!(judge(410, r#"{"reason":"Unregistered"}"#).0, Outcome::TokenGone(reason));
        assert!(matches!(judge(410, r#"{"reason":"ExpiredToken","timestamp":1}"#).0, Outcome::Retry { .. }));
    }

    #[test]
    fn an_array_is_no_answer_of_apples() {
        for body in [r#"["Unregistered"]"#, r#"["Unregistered",1800000000000]"#, r#"["BadDeviceToken"]"#] {
            let unexpected = Reason::answered("unexpected-status", 410);
            assert_eq!(judge(410, body).0, Outcome::Rejected(unexpected), "{body}");
        }
    }

    #[test]
    fn a_pause_holds_also_where_another_token_is_gone() {
        let mut gone = answer(410, r#"{"reason":"Unregistered","timestamp":1}"#);
        gone.headers.insert("retry-after", HeaderValue::from_static("7"));
        let (outcome, _) = verdict(&gone, &notification(NotificationKind::Test, PushBinding::None), NOW);
        assert!(matches!(outcome, Outcome::Retry { after_millis: Some(7_000), .. }), "{outcome:?}");
    }

    #[test]
    fn what_nobody_documents_is_typed_and_not_repeated() {
        let unexpected = |status| Reason::answered("unexpected-status", status);
        for body in ["", "<html>canary</html>", r#"{"reason":"Canary"}"#, r#"{"reason":7}"#, "[]", "null"] {
            assert_eq!(judge(400, body), (Outcome::Rejected(unexpected(400)), Health::Unknown), "{body}");
            assert_eq!(judge(410, body), (Outcome::Rejected(unexpected(410)), Health::Unknown), "{body}");
            let failed = (Outcome::retry(unexpected(502)), Health::Failing(unexpected(502)));
            assert_eq!(judge(502, body), failed, "{body}");
            assert_eq!(judge(302, body).0, Outcome::retry(unexpected(302)), "{body}");
            assert_eq!(judge(201, body).0, Outcome::retry(unexpected(201)), "{body}");
        }
    }

    #[test]
    fn a_pause_that_apple_asks_for_is_passed_on() {
        let mut busy = answer(429, r#"{"reason":"TooManyRequests"}"#);
        busy.headers.insert("retry-after", HeaderValue::from_static("7"));
        let (outcome, _) = verdict(&busy, &notification(NotificationKind::Test, PushBinding::None), NOW);
        assert!(matches!(outcome, Outcome::Retry { after_millis: Some(7_000), .. }), "{outcome:?}");
    }
}
