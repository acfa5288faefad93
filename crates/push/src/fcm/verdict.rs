//! What each of FCM's answers means (the documented error codes of HTTP v1; protocol 8.5).
//!
//! The code stands in `error.details` as an `FcmError`; without one `error.status` is what is left, and that never
//! clears a token: a 404 that does not say `UNREGISTERED` is a wrong project or a proxy.

use countersign_proto::{json, timestamp::Timestamp};
use serde::Deserialize;

use crate::{
    circuit::Health,
    report::{Outcome, Reason},
    transport::Answer,
};

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: Failure,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    status: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(rename = "errorCode")]
    code: String,
}

/// An answer of success names the message.
#[derive(Deserialize)]
struct Sent {
    name: String,
}

/// What Google means, from either place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Error {
    /// An `FcmError`: said by FCM about this message.
    OfFcm(&'static str),
    /// A `google.rpc` status: said by whatever stands in front.
    OfGoogle(&'static str),
    Unknown,
}

/// FCM's codes and Google's statuses, and our words for them.
const CODES: &[(&str, &str)] = &[
    ("UNREGISTERED", "unregistered"),
    ("INVALID_ARGUMENT", "invalid-argument"),
    ("SENDER_ID_MISMATCH", "sender-id-mismatch"),
    ("QUOTA_EXCEEDED", "quota-exceeded"),
    ("UNAVAILABLE", "unavailable"),
    ("INTERNAL", "internal"),
    ("THIRD_PARTY_AUTH_ERROR", "third-party-auth-error"),
    ("UNSPECIFIED_ERROR", "unspecified-error"),
    ("RESOURCE_EXHAUSTED", "quota-exceeded"),
    ("UNAUTHENTICATED", "unauthenticated"),
    ("PERMISSION_DENIED", "permission-denied"),
    ("NOT_FOUND", "not-found"),
    ("DEADLINE_EXCEEDED", "deadline-exceeded"),
];

fn error(answer: &Answer) -> Error {
    // Strictly: serde alone takes an array for an object.
    let body: Body = json::from_slice(&answer.body).unwrap_or_default();
    let ours = |theirs: &str| CODES.iter().find(|(code, _)| *code == theirs).map(|(_, ours)| *ours);
    let fcm = body.error.details.iter().find(|detail| detail.kind == FCM_ERROR).and_then(|detail| ours(&detail.code));
    match (fcm, ours(&body.error.status)) {
        (Some(code), _) => Error::OfFcm(code),
        (None, Some(code)) => Error::OfGoogle(code),
        (None, None) => Error::Unknown,
    }
}

/// Whether it was the access token that was refused: a new one may do.
pub(super) fn is_unauthenticated(answer: &Answer) -> bool {
    answer.status == 401 && error(answer) != Error::OfFcm("third-party-auth-error")
}

pub(crate) fn verdict(answer: &Answer, now: Timestamp) -> (Outcome, Health) {
    let status = answer.status;
    let retry = |reason| Outcome::Retry { after_millis: answer.retry_after_millis(now), reason };
    if status == 200 {
        // A success that names no message is not FCM's: a portal's page, say.
        return match json::from_slice::<Sent>(&answer.body) {
            Ok(sent) if !sent.name.is_empty() => (Outcome::Accepted, Health::Alive),
            _ => {
                let reason = Reason::answered("bad-response", status);
                (retry(reason), Health::Failing(reason))
            }
        };
    }
    let refused = |code| {
        let reason = Reason::answered(code, status);
        (retry(reason), Health::Refused(reason))
    };
    let failing = |code| {
        let reason = Reason::answered(code, status);
        (retry(reason), waits(answer, now).unwrap_or(Health::Failing(reason)))
    };
    let busy = |code| (retry(Reason::answered(code, status)), waits(answer, now).unwrap_or(Health::Unknown));
    match error(answer) {
        Error::OfFcm(code @ "unregistered") => (Outcome::TokenGone(Reason::answered(code, status)), Health::Alive),
        // The last is about the device's platform: a token of iOS or of a browser in a project without a key for it.
        Error::OfFcm(code @ ("invalid-argument" | "sender-id-mismatch" | "third-party-auth-error"))
        | Error::OfGoogle(code @ ("invalid-argument" | "sender-id-mismatch" | "third-party-auth-error")) => {
            (Outcome::Undeliverable(Reason::answered(code, status)), Health::Alive)
        }
        Error::OfGoogle(code @ ("unauthenticated" | "permission-denied")) => refused(code),
        // It names neither the token nor the account: nothing to act on.
        Error::OfGoogle(code @ "not-found") => (retry(Reason::answered(code, status)), Health::Unknown),
        Error::OfFcm(code @ "quota-exceeded") | Error::OfGoogle(code @ "quota-exceeded") => busy(code),
        Error::OfFcm(code) | Error::OfGoogle(code) if status >= 500 => failing(code),
        _ if status == 401 => refused("unauthenticated"),
        _ if status == 429 => busy("quota-exceeded"),
        _ if status == 503 => failing("unexpected-status"),
        _ => match answer.unexpected(now) {
            rejected @ Outcome::Rejected(_) => (rejected, Health::Unknown),
            outcome => (outcome, outcome.reason().map_or(Health::Unknown, Health::Failing)),
        },
    }
}

/// What an answer to the doctor's probe says of the account. A token that is none is found out only by whoever may send.
pub(super) fn probe(answer: &Answer) -> Result<String, String> {
    let code = match error(answer) {
        Error::OfFcm(code) | Error::OfGoogle(code) => code,
        Error::Unknown => "unexpected-status",
    };
    match (answer.status, code) {
        (200, _) | (400, "invalid-argument") | (404, "not-found" | "unregistered") | (403, "sender-id-mismatch") => {
            Ok("the service account may send".to_owned())
        }
        (status @ (401 | 403), code) => {
            Err(format!("the service account may not send for this project: {code} {status}"))
        }
        (status, code) => Err(format!("could not be tried: {code} {status}")),
    }
}

/// A pause that Google asks for is for the whole project.
fn waits(answer: &Answer, now: Timestamp) -> Option<Health> {
    let millis = answer.retry_after_millis(now).filter(|millis| *millis > 0)?;
    matches!(answer.status, 429 | 503).then_some(Health::Waits(millis))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;
    use crate::testing::NOW;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    fn refused(status: u16, rpc: &str, code: &str) -> Answer {
        let body = json!({"error": {"code": status, "message": "canary", "status": rpc,
            "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest"}, {"@type": FCM_ERROR, "errorCode": code}]}});
        answer(status, &body.to_string())
    }

    #[test]
    fn every_documented_error_has_its_verdict() {
        let gone = |outcome: &Outcome| matches!(outcome, Outcome::TokenGone(_));
        let undeliverable = |outcome: &Outcome| matches!(outcome, Outcome::Undeliverable(_));
        let retry = |outcome: &Outcome| matches!(outcome, Outcome::Retry { .. });
        type Check = fn(&Outcome) -> bool;
        let rows: [(u16, &str, &str, Check, &str, &str); 8] = [
            (404, "NOT_FOUND", "UNREGISTERED", gone, "unregistered", "alive"),
            (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", undeliverable, "invalid-argument", "alive"),
            (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", undeliverable, "sender-id-mismatch", "alive"),
            (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", retry, "quota-exceeded", "unknown"),
            (503, "UNAVAILABLE", "UNAVAILABLE", retry, "unavailable", "failing"),
            (500, "INTERNAL", "INTERNAL", retry, "internal", "failing"),
            (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", undeliverable, "third-party-auth-error", "alive"),
            (500, "UNKNOWN", "UNSPECIFIED_ERROR", retry, "unspecified-error", "failing"),
        ];
        for (status, rpc, theirs, check, ours, health_word) in rows {
            let (outcome, health) = verdict(&refused(status, rpc, theirs), NOW);
            let reason = Reason::answered(ours, status);
            assert!(check(&outcome) && outcome.reason() == Some(reason), "{theirs}: {outcome:?}");
            let expected = match health_word {
                "alive" => Health::Alive,
                "failing" => Health::Failing(reason),
                _ => Health::Unknown,
            };
            assert_eq!(health, expected, "{theirs}");
        }
    }

    #[test]
    fn a_token_is_cleared_only_by_fcm_itself_and_in_so_many_words() {
        for body in [
            "",
            "<html>404</html>",
            r#"{"error":{"code":404,"status":"NOT_FOUND"}}"#,
            r#"{"error":{"code":404,"status":"UNREGISTERED"}}"#,
            r#"{"error":{"code":404,"details":[{"@type":"else","errorCode":"UNREGISTERED"}]}}"#,
            r#"{"error":{"details":7}}"#,
            r#"[["NOT_FOUND",[["type.googleapis.com/google.firebase.fcm.v1.FcmError","UNREGISTERED"]]]]"#,
            r#"{"error":["NOT_FOUND",[["type.googleapis.com/google.firebase.fcm.v1.FcmError","UNREGISTERED"]]]}"#,
            r#"[]"#,
        ] {
            let (outcome, _) = verdict(&answer(404, body), NOW);
            assert!(!matches!(outcome, Outcome::TokenGone(_)), "{body}");
        }
    }

    #[test]
    fn an_account_that_may_not_send_is_trouble_for_all() {
        let (_, health) = verdict(&answer(403, r#"{"error":{"status":"PERMISSION_DENIED"}}"#), NOW);
        assert_eq!(health, Health::Refused(Reason::answered("permission-denied", 403)));
        let (_, health) = verdict(&answer(401, "<html>"), NOW);
        assert_eq!(health, Health::Refused(Reason::answered("unauthenticated", 401)));
        assert!(is_unauthenticated(&answer(401, "")));
        let (outcome, health) = verdict(&answer(404, r#"{"error":{"status":"NOT_FOUND"}}"#), NOW);
        assert_eq!((outcome, health), (Outcome::retry(Reason::answered("not-found", 404)), Health::Unknown));
        assert!(!is_unauthenticated(&refused(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")));
    }

    #[test]
    fn whoever_is_told_that_the_token_is_wrong_may_send() {
        for (status, rpc, code) in [
            (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
            (404, "NOT_FOUND", "UNREGISTERED"),
            (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        ] {
            assert!(probe(&refused(status, rpc, code)).is_ok(), "{code}");
        }
        assert!(probe(&answer(404, r#"{"error":{"status":"NOT_FOUND"}}"#)).is_ok());
        let said = |status, body: &str| probe(&answer(status, body)).unwrap_err();
        let refused = "the service account may not send for this project: permission-denied 403";
        assert_eq!(said(403, r#"{"error":{"status":"PERMISSION_DENIED"}}"#), refused);
        assert!(said(401, r#"{"error":{"status":"UNAUTHENTICATED"}}"#).starts_with("the service account may not send"));
        assert!(said(403, "<html>").starts_with("the service account may not send"));
        for status in [302, 404, 429, 503] {
            assert_eq!(said(status, "<html>"), format!("could not be tried: unexpected-status {status}"));
        }
    }

    #[test]
    fn a_success_names_its_message() {
        assert_eq!(
            verdict(&answer(200, r#"{"name":"projects/p/messages/1"}"#), NOW),
            (Outcome::Accepted, Health::Alive)
        );
        for body in ["", "{}", "<html>welcome</html>", r#"{"name":""}"#, r#"["name"]"#] {
            let (outcome, _) = verdict(&answer(200, body), NOW);
            assert_eq!(outcome, Outcome::retry(Reason::answered("bad-response", 200)), "{body}");
        }
    }

    #[test]
    fn what_nobody_documents_is_typed_and_a_pause_is_passed_on() {
        let unexpected = |status| Reason::answered("unexpected-status", status);
        assert_eq!(verdict(&answer(418, "canary"), NOW).0, Outcome::Rejected(unexpected(418)));
        assert_eq!(verdict(&answer(302, "canary"), NOW).0, Outcome::retry(unexpected(302)));
        let mut busy = answer(503, "<html>busy</html>");
        busy.headers.insert("retry-after", HeaderValue::from_static("3"));
        let expected = Outcome::Retry { after_millis: Some(3_000), reason: unexpected(503) };
        assert_eq!(verdict(&busy, NOW), (expected, Health::Waits(3_000)));
        let mut over = refused(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED");
        over.headers.insert("retry-after", HeaderValue::from_static("60"));
        assert_eq!(verdict(&over, NOW).1, Health::Waits(60_000));
        over.headers.insert("retry-after", HeaderValue::from_static("0"));
        assert_eq!(verdict(&over, NOW).1, Health::Unknown);
    }
}
