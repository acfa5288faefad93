use super::*;
use crate::policy::{Policy, effective};
use countersign_proto::api::challenges::RequestedVerification;

struct Counting(std::sync::atomic::AtomicU8);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(37, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

fn request(json: &str) -> Result<ChallengeRequest, Vec<FieldError>> {
    check(serde_json::from_str(json).unwrap())
}

fn pointers(json: &str) -> Vec<String> {
    request(json).unwrap_err().into_iter().map(|error| error.pointer).collect()
}

#[test]
fn a_minimal_request_signs_in() {
    let got = request(r#"{"user":{"external_id":"ada"}}"#).unwrap();
    assert_eq!((got.text.action.as_str(), got.push), ("sign_in", true));
}

#[test]
fn every_member_at_fault_is_named() {
    let json = r#"{"user":{"external_id":" ada"},"action":"Sign In","message":"a\u202eb",
        "details":[{"label":"","value":"1"}],"device_ids":["x"],"context":{"ip":""}}"#;
    let all = ["/user/external_id", "/action", "/message", "/context/ip", "/details/0/label", "/device_ids/0"];
    assert_eq!(pointers(json), all);
}

#[test]
fn choices_are_three_distinct_numbers_with_the_right_one_among_them() {
    let ask = PolicyRequest {
        verification: Some(RequestedVerification { mode: VerificationMode::Choose, digits: None }),
        ..PolicyRequest::default()
    };
    let policy = effective(&Policy::default(), &ask).unwrap();
    let drawn = draw_number(&policy, &Counting(0.into()));
    let choices: std::collections::HashSet<_> = drawn.choices.unwrap().into_iter().collect();
    assert_eq!(choices.len(), 3);
    assert!(choices.contains(&drawn.number.unwrap()));
}

#[test]
fn from_its_expiry_on_a_challenge_is_expired_swept_or_not() {
    let end = Timestamp::from_seconds(100);
    assert_eq!(status_at(ChallengeStatus::Pending, end, end), ChallengeStatus::Expired);
    assert_eq!(status_at(ChallengeStatus::Pending, end, end.plus_millis(-1)), ChallengeStatus::Pending);
    assert_eq!(status_at(ChallengeStatus::Approved, end, end), ChallengeStatus::Approved);
}

/// A request with these members besides the user.
fn asked(members: serde_json::Value) -> Result<ChallengeRequest, Vec<FieldError>> {
    let mut body = members;
    body["user"] = serde_json::json!({"external_id": "ada"});
    request(&body.to_string())
}

#[test]
fn lists_are_as_long_as_the_protocol_says_and_no_longer() {
    let detail = serde_json::json!({"label": "a", "value": "b"});
    let details = |count: usize| asked(serde_json::json!({"details": vec![detail.clone(); count]}));
    assert_eq!(details(20).unwrap().text.details.unwrap().len(), 20);
    assert_eq!(details(21).unwrap_err()[0].pointer, "/details");
    let reasons =
        |count: usize| asked(serde_json::json!({"risk": {"level": "high", "reasons": vec!["new device"; count]}}));
    assert_eq!(reasons(10).unwrap().text.risk.unwrap().reasons, vec!["new device"; 10]);
    assert_eq!(reasons(11).unwrap_err()[0].pointer, "/risk/reasons");
    let ids = |count: usize| {
        let ids: Vec<_> = (0..count).map(|n| format!("01939b5e-7a2c-7def-8abc-000000000{n:03x}")).collect();
        asked(serde_json::json!({"device_ids": ids}))
    };
    for count in [1, 100] {
        assert_eq!(ids(count).unwrap().device_ids.unwrap().len(), count);
    }
    for count in [0, 101] {
        assert_eq!(ids(count).unwrap_err()[0].pointer, "/device_ids", "{count}");
    }
}

#[test]
fn a_device_is_named_once() {
    let id = "01939b5e-7a2c-7def-8abc-000000000001";
    let other = "01939b5e-7a2c-7def-8abc-000000000002";
    let named = asked(serde_json::json!({"device_ids": [id, other]})).unwrap().device_ids.unwrap();
    assert_eq!(named.iter().map(ToString::to_string).collect::<Vec<_>>(), [id, other]);
    let twice = asked(serde_json::json!({"device_ids": [id, other, id]})).unwrap_err();
    assert_eq!((twice[0].pointer.as_str(), twice.len()), ("/device_ids/2", 1));
}

#[test]
fn an_action_is_a_short_word_of_few_characters() {
    for action in ["a", "sign_in", "pay:order-7.1", &"a".repeat(64)] {
        let got = asked(serde_json::json!({"action": action})).unwrap();
        assert_eq!(got.text.action, action);
    }
    for action in ["", "A", "ä", "a b", "a/b", &"a".repeat(65)] {
        assert_eq!(asked(serde_json::json!({"action": action})).unwrap_err()[0].pointer, "/action", "{action}");
    }
}

#[test]
fn what_is_shown_is_what_was_sent() {
    let sent = serde_json::json!({
        "context": {"ip": "192.0.2.1", "user_agent": "Browser", "location": "Here", "device": "Laptop"},
        "details": [{"label": "Amount", "value": "1"}, {"label": "To", "value": "Bob"}],
        "risk": {"level": "low", "reasons": ["a", "b"]},
    });
    let text = asked(sent.clone()).unwrap().text;
    for member in ["context", "details", "risk"] {
        assert_eq!(serde_json::to_value(&text).unwrap()[member], sent[member], "{member}");
    }
}

#[test]
fn a_number_is_drawn_where_one_is_typed_or_chosen_and_nowhere_else() {
    for (mode, has_number, has_choices) in [
        (VerificationMode::Enter, true, false),
        (VerificationMode::Choose, true, true),
        (VerificationMode::Display, false, false),
    ] {
        let ask = PolicyRequest {
            verification: Some(RequestedVerification { mode, digits: None }),
            ..PolicyRequest::default()
        };
        let policy = effective(&Policy::default(), &ask).unwrap();
        let drawn = draw_number(&policy, &Counting(0.into()));
        assert_eq!((drawn.number.is_some(), drawn.choices.is_some()), (has_number, has_choices), "{mode:?}");
        let fits = |number: &String| Some(number.len()) == policy.digits.map(usize::from);
        assert!(drawn.number.iter().chain(drawn.choices.iter().flatten()).all(fits));
    }
}

#[test]
fn a_challenge_awaits_its_code_while_it_is_pending_and_a_device_shows_one() {
    let end = Timestamp::from_seconds(100);
    let mut record = record(end);
    assert!(!record.is_awaiting_code(), "no device shows one");
    record.code = Some(CodeRecord { code: Some("123456".into()), seal: "s".into(), entered_seal: None });
    assert!(record.is_awaiting_code());
    assert_eq!(record.status_at(end), ChallengeStatus::Expired);
    assert_eq!(record.status_at(end.plus_millis(-1)), ChallengeStatus::Pending);
    for status in [ChallengeStatus::Approved, ChallengeStatus::Denied, ChallengeStatus::Cancelled] {
        record.status = status;
        assert!(!record.is_awaiting_code(), "{status:?}");
        assert_eq!(record.status_at(end), status);
    }
}

fn record(expires_at: Timestamp) -> ChallengeRecord {
    let id = "01939b5e-7a2c-7def-8abc-000000000001";
    let text = request(r#"{"user":{"external_id":"ada"}}"#).unwrap().text;
    let facts = ChallengeFacts {
        id: id.parse().unwrap(),
        tenant_id: id.parse().unwrap(),
        client_id: id.parse().unwrap(),
        user: UserName { id: id.parse().unwrap(), external_id: "ada".into(), display_name: None },
        text,
        policy: effective(&Policy::default(), &PolicyRequest::default()).unwrap(),
        jws: "jws".into(),
        created_at: Timestamp::from_seconds(0),
        expires_at,
    };
    ChallengeRecord {
        facts,
        status: ChallengeStatus::Pending,
        reason: None,
        decided_at: None,
        device: None,
        evidence: None,
        flags: Vec::new(),
        code: None,
        delivery_states: Vec::new(),
        erased_at: None,
    }
}

#[test]
fn a_reference_is_signed_as_its_sha256() {
    // What `printf order-7 | openssl dgst -sha256 -binary | basenc --base64url` says, without the padding.
    assert_eq!(client_reference_digest("order-7"), "34z4AifsMjeSLfDs2IOFxUbkoxvbgSewM_AebyHxdd8");
}
