//! Replies of Apple, Google, push services and webhooks' addresses.
//!
//! Asserted: a push is accepted, and a token given up, only for the documented replies, read a second time by another
//! parser; a pause is never negative and as long as was asked; whatever was said, no word of it is in the verdict.

use std::pin::Pin;

use countersign_core::{
    clock::Clock,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{ids::Id, push::PushBinding, timestamp::Timestamp};
use countersign_push::{
    CODES, Outcome, Reason, WebhookOutcome,
    judged::{Provider, Reply, judge, judge_webhook},
};
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// When the device told its token.
const TOLD_MILLIS: i64 = (1_800_000_000 - 3_600) * 1_000;
const UNREGISTERED: &str = "UNREGISTERED";

/// Stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn sleep_until(&self, _: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        unreachable!("no verdict sleeps")
    }
}

/// A byte for who answers; three lines: status, `Retry-After` and `Date`, each of the two absent if empty; the body.
pub fn run(data: &[u8]) -> bool {
    let Some((who, rest)) = data.split_first() else { return false };
    let mut lines = rest.splitn(4, |byte| *byte == b'\n');
    let [Some(status), Some(retry_after), Some(date), Some(body)] = [(); 4].map(|()| lines.next()) else {
        return false;
    };
    let status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
    let Some(status @ 100..=999) = status else { return false };
    let reply = Reply {
        status,
        retry_after: Some(retry_after).filter(|value| !value.is_empty()),
        date: Some(date).filter(|value| !value.is_empty()),
        body,
    };
    match who % 4 {
        0 => of_push(Provider::Apns, reply),
        1 => of_push(Provider::Fcm, reply),
        2 => of_push(Provider::WebPush, reply),
        _ => of_webhook(reply),
    }
}

fn of_push(provider: Provider, reply: Reply<'_>) -> bool {
    let outcome = judge(provider, reply, &push(), &Still);
    assert_eq!(outcome, judge(provider, reply, &push(), &Still), "a verdict depends on nothing else");
    if let Some(reason) = outcome.reason() {
        check_reason(provider, reason, reply.status);
    }
    if let Outcome::Retry { after_millis, .. } = outcome {
        check_pause(reply.retry_after, after_millis);
    }
    assert!(!matches!(outcome, Outcome::NotTried { .. }), "it was tried");
    let body: Value = serde_json::from_slice(reply.body).unwrap_or_default();
    let (may_be_accepted, may_be_gone) = match provider {
        Provider::Apns => (reply.status == 200, is_gone_for_apple(&body) && reply.status != 200),
        Provider::Fcm => (
            reply.status == 200 && body["name"].as_str().is_some_and(|name| !name.is_empty()),
            is_gone_for_google(&body) && reply.status != 200,
        ),
        Provider::WebPush => ((200..=204).contains(&reply.status), matches!(reply.status, 404 | 410)),
    };
    if outcome == Outcome::Accepted {
        assert!(may_be_accepted, "{outcome:?}");
    }
    if matches!(outcome, Outcome::TokenGone(_)) {
        assert!(may_be_gone, "{outcome:?}");
    }
    if reply.status >= 500 {
        // What another reply would mean for a token is in the body; what is broken says nothing about the message.
        let names_a_cause = body["reason"].is_string() || body["error"].is_object();
        assert!(names_a_cause || matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }
    outcome == Outcome::Accepted
}

fn is_gone_for_apple(body: &Value) -> bool {
    let is_named = matches!(body["reason"].as_str(), Some("Unregistered" | "ExpiredToken"));
    is_named && body["timestamp"].as_i64().is_none_or(|gone_at| gone_at >= TOLD_MILLIS)
}

fn is_gone_for_google(body: &Value) -> bool {
    let details = body["error"]["details"].as_array();
    details.is_some_and(|details| {
        details.iter().any(|detail| {
            detail["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError"
                && detail["errorCode"] == UNREGISTERED
        })
    })
}

fn check_reason(provider: Provider, reason: Reason, status: u16) {
    assert!(CODES.contains(&reason.code), "{reason}");
    let expected = if provider == Provider::WebPush { None } else { Some(status) };
    assert_eq!(reason.status, expected, "{reason}");
}

/// Digits are seconds; of anything else only that the pause is none or not negative.
fn check_pause(asked: Option<&[u8]>, after_millis: Option<i64>) {
    assert!(after_millis.is_none_or(|millis| millis >= 0), "{after_millis:?}");
    let digits = asked.and_then(|asked| std::str::from_utf8(asked).ok()).filter(|asked| asked.len() <= 15);
    if let Some(seconds) = digits.and_then(|asked| asked.parse::<u64>().ok()).filter(|_| asked_is_digits(asked)) {
        assert_eq!(after_millis, i64::try_from(seconds).ok().map(|seconds| seconds * 1_000));
    }
    if asked.is_none() {
        assert_eq!(after_millis, None);
    }
}

fn asked_is_digits(asked: Option<&[u8]>) -> bool {
    asked.is_some_and(|asked| asked.iter().all(u8::is_ascii_digit))
}

fn of_webhook(reply: Reply<'_>) -> bool {
    let outcome = judge_webhook(reply, &Still);
    assert_eq!(outcome == WebhookOutcome::Delivered, (200..300).contains(&reply.status), "{outcome:?}");
    assert_eq!(outcome == WebhookOutcome::Gone, reply.status == 410, "{outcome:?}");
    if let WebhookOutcome::Failed { retry_after_millis, reason, was_asked } = outcome {
        assert_eq!((reason, was_asked), ("unexpected-status", true));
        check_pause(reply.retry_after, retry_after_millis);
    }
    outcome == WebhookOutcome::Delivered
}

fn push() -> LeasedNotification {
    fn id<K>() -> Id<K> {
        "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("an id")
    }
    LeasedNotification {
        id: id(),
        tenant_id: id(),
        kind: NotificationKind::Challenge,
        device_id: id(),
        challenge_id: Some(id()),
        push: PushBinding::None,
        push_updated_at: Timestamp::from_millis(TOLD_MILLIS),
        was_undeliverable: false,
        attempts: 0,
        expires_at: NOW.plus_seconds(120),
        lease: id(),
        leased_until: NOW.plus_seconds(10),
    }
}
