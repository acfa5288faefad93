use countersign_proto::{
    ids::{Id, kind},
    jose::claims::{ChallengeTenant, ChallengeUser, ChallengeVerification},
    vocabulary::UvMethod,
};

use super::*;
use crate::{
    challenge::ChallengeText,
    policy::{Policy, PolicyRequest, effective},
    ports::users::UserName,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn id<K>(n: u8) -> Id<K> {
    format!("01939b5e-7a2c-7def-8abc-0000000000{n:02x}").parse().unwrap()
}

#[derive(Clone)]
struct Case {
    facts: ChallengeFacts,
    signed: ChallengeClaims,
    signer: Signer,
    response: ResponseClaims,
}

/// A right approve of a challenge that asks for six typed digits.
fn approve() -> Case {
    let policy = effective(&Policy::default(), &PolicyRequest::default()).unwrap();
    let signer = Signer { device_id: id(1), tenant_id: id(2), user_id: id(3), role: KeyRole::Device };
    let jws = "the.signed.challenge".to_owned();
    let signed = ChallengeClaims {
        iss: "https://a.example".into(),
        aud: vec![id::<kind::Device>(9).to_string(), signer.device_id.to_string()],
        sub: signer.user_id.to_string(),
        jti: id::<kind::Challenge>(4).to_string(),
        iat: NOW.as_seconds(),
        exp: NOW.as_seconds() + 120,
        nonce: "n".into(),
        tenant: ChallengeTenant { id: signer.tenant_id.to_string(), name: "T".into() },
        user: ChallengeUser { external_id: "ada".into(), display_name: None },
        application: None,
        action: "sign_in".into(),
        message: None,
        context: None,
        details: None,
        verification: ChallengeVerification { mode: policy.mode, digits: policy.digits, choices: None },
        user_verification: policy.user_verification,
        user_verification_methods: None,
        profile: None,
        policy_version: 1,
        azp: "client".into(),
        client_reference_sha256: None,
        number_mac: None,
    };
    let facts = ChallengeFacts {
        id: id(4),
        tenant_id: signer.tenant_id,
        client_id: id(5),
        user: UserName { id: signer.user_id, external_id: "ada".into(), display_name: None },
        text: ChallengeText::of_action("sign_in"),
        policy,
        jws: jws.clone(),
        created_at: NOW,
        expires_at: NOW.plus_seconds(120),
    };
    let response = ResponseClaims {
        iss: signer.device_id.to_string(),
        aud: "https://a.example".into(),
        sub: facts.id.to_string(),
        iat: NOW.as_seconds(),
        jti: "j".into(),
        challenge_sha256: Digest::of(&jws).to_b64u(),
        decision: Decision::Approve,
        number: Some("042137".into()),
        reason: None,
        uv: None,
    };
    Case { facts, signed, signer, response }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn judge(&self) -> Result<Verdict, Refusal> {
        judge(&self.facts, &self.signed, &self.signer, &self.response, |number| number == "042137")
    }
}

fn deny(case: &mut Case) {
    case.response.decision = Decision::Deny;
    case.response.number = None;
}

#[test]
fn the_right_number_approves_and_a_wrong_one_denies_for_good() {
    assert_eq!(approve().judge(), Ok(Verdict::Approve { with_number: true }));
    let wrong = approve().with(|case| case.response.number = Some("042138".into()));
    assert_eq!(wrong.judge(), Ok(Verdict::WrongNumber));
}

#[test]
fn a_challenge_that_is_not_the_devices_own_is_not_found() {
    type Change = fn(&mut Case);
    let changes: [(&str, Change); 9] = [
        ("another path", |case| case.response.sub = id::<kind::Challenge>(8).to_string()),
        ("another tenant", |case| case.signer.tenant_id = id(8)),
        ("another user", |case| case.signer.user_id = id(8)),
        ("another device", |case| case.signer.device_id = id(8)),
        ("row of another tenant", |case| case.facts.tenant_id = id(8)),
        ("row of another user", |case| case.facts.user.id = id(8)),
        ("text of another tenant", |case| case.signed.tenant.id = id::<kind::Tenant>(8).to_string()),
        ("text of another user", |case| case.signed.sub = id::<kind::User>(8).to_string()),
        ("text of another challenge", |case| case.signed.jti = id::<kind::Challenge>(8).to_string()),
    ];
    for (name, change) in changes {
        assert_eq!(approve().with(change).judge(), Err(Refusal::NotFound), "{name}");
        assert_eq!(approve().with(deny).with(change).judge(), Err(Refusal::NotFound), "{name}");
    }
}

#[test]
fn what_was_signed_must_be_what_was_shown_for_approve_and_deny() {
    let altered = |case: &mut Case| case.response.challenge_sha256 = Digest::of("another text").to_b64u();
    assert_eq!(approve().with(altered).judge(), Err(Refusal::ChallengeMismatch));
    assert_eq!(approve().with(deny).with(altered).judge(), Err(Refusal::ChallengeMismatch));
}

#[test]
fn required_user_verification_needs_the_second_key_for_approve_only() {
    let required = |case: &mut Case| case.signed.user_verification = UserVerification::Required;
    // Saying so is not enough: only the key counts.
    let claimed = approve().with(required).with(|case| case.response.uv = Some(UvMethod::Face));
    assert_eq!(claimed.judge(), Err(Refusal::UserVerificationRequired));
    let by_uv_key = approve().with(required).with(|case| case.signer.role = KeyRole::UserVerification);
    assert_eq!(by_uv_key.judge(), Ok(Verdict::Approve { with_number: true }));
    assert_eq!(approve().with(required).with(deny).judge(), Ok(Verdict::Deny(None)));
}

#[test]
fn a_number_is_exactly_as_many_ascii_digits_as_asked_for() {
    for number in ["", "04213", "0421370", "04213a", " 42137", "٠٤٢١٣٧", "-42137"] {
        let case = approve().with(|case| case.response.number = Some(number.into()));
        assert_eq!(case.judge(), Err(Refusal::NumberMalformed), "{number}");
    }
    assert_eq!(approve().with(|case| case.response.number = None).judge(), Err(Refusal::NumberMissing));
}

#[test]
fn a_number_or_reason_where_none_is_due_is_refused() {
    let no_number = |case: &mut Case| {
        case.signed.verification.mode = VerificationMode::None;
        case.signed.verification.digits = None;
    };
    assert_eq!(approve().with(no_number).judge(), Err(Refusal::NumberNotDue));
    let plain = approve().with(no_number).with(|case| case.response.number = None);
    assert_eq!(plain.judge(), Ok(Verdict::Approve { with_number: false }));
    assert_eq!(approve().with(|case| case.response.decision = Decision::Deny).judge(), Err(Refusal::NumberNotDue));
    let reason = approve().with(|case| case.response.reason = Some(DenyReason::NotMe));
    assert_eq!(reason.judge(), Err(Refusal::ReasonNotDue));
}

fn open() -> DecisionState {
    DecisionState {
        device_status: DeviceStatus::Active,
        key_is_current: true,
        challenge_status: ChallengeStatus::Pending,
        expires_at: NOW.plus_seconds(1),
        locked_until: None,
    }
}

#[test]
fn obstacles_are_told_in_the_protocols_order() {
    let malformed = Err(Refusal::NumberMalformed);
    let mut state = DecisionState {
        device_status: DeviceStatus::Revoked,
        key_is_current: false,
        challenge_status: ChallengeStatus::Denied,
        expires_at: NOW,
        locked_until: Some(NOW.plus_seconds(9)),
    };
    let told = |judged, state: &DecisionState| first_obstacle(judged, true, state, NOW);
    assert_eq!(told(malformed, &state), Some(Obstacle::DeviceNotActive(DeviceStatus::Revoked)));
    state.device_status = DeviceStatus::Active;
    assert_eq!(told(malformed, &state), Some(Obstacle::StaleKey));
    state.key_is_current = true;
    assert_eq!(told(Err(Refusal::NotFound), &state), Some(Obstacle::Refused(Refusal::NotFound)));
    assert_eq!(told(malformed, &state), Some(Obstacle::Closed(ChallengeStatus::Denied)));
    state.challenge_status = ChallengeStatus::Pending;
    assert_eq!(told(malformed, &state), Some(Obstacle::Closed(ChallengeStatus::Expired)));
    state.expires_at = NOW.plus_millis(1);
    let mismatch = Err(Refusal::ChallengeMismatch);
    assert_eq!(told(mismatch, &state), Some(Obstacle::Refused(Refusal::ChallengeMismatch)));
    assert_eq!(told(malformed, &state), Some(Obstacle::Locked(NOW.plus_seconds(9))));
    state.locked_until = Some(NOW);
    assert_eq!(told(malformed, &state), Some(Obstacle::Refused(Refusal::NumberMalformed)));
    assert_eq!(told(Ok(Verdict::WrongNumber), &state), None);
}

#[test]
fn a_lock_stops_what_says_approve_and_never_a_deny() {
    let state = DecisionState { locked_until: Some(Timestamp::NEVER), ..open() };
    let locked = Some(Obstacle::Locked(Timestamp::NEVER));
    assert_eq!(first_obstacle(Ok(Verdict::Approve { with_number: true }), true, &state, NOW), locked);
    assert_eq!(first_obstacle(Ok(Verdict::WrongNumber), true, &state, NOW), locked);
    assert_eq!(first_obstacle(Ok(Verdict::Deny(None)), false, &state, NOW), None);
}

#[test]
fn only_the_second_key_makes_it_more_than_possession() {
    let signed = approve().signed;
    assert_eq!(amr(&signed, KeyRole::Device, Some(UvMethod::Fpt)), ["pop", "mca", "user"]);
    assert_eq!(amr(&signed, KeyRole::UserVerification, Some(UvMethod::Fpt)), ["pop", "mca", "user", "mfa", "fpt"]);
    assert_eq!(amr(&signed, KeyRole::UserVerification, None), ["pop", "mca", "user", "mfa"]);
}

#[test]
fn a_method_that_the_challenge_does_not_accept_is_possession_only() {
    let only_biometrics =
        |case: &mut Case| case.signed.user_verification_methods = Some(vec![UvMethod::Fpt, UvMethod::Face]);
    let by_uv_key = approve().with(only_biometrics).with(|case| case.signer.role = KeyRole::UserVerification);
    let required = by_uv_key.with(|case| case.signed.user_verification = UserVerification::Required);
    // Not to say how means `other`.
    for (uv, counts) in [(None, false), (Some(UvMethod::Pin), false), (Some(UvMethod::Face), true)] {
        let mut case = required.clone();
        case.response.uv = uv;
        let judged =
            if counts { Ok(Verdict::Approve { with_number: true }) } else { Err(Refusal::UserVerificationRequired) };
        assert_eq!(case.judge(), judged, "{uv:?}");
        case.signed.user_verification = UserVerification::Preferred;
        assert_eq!(case.judge(), Ok(Verdict::Approve { with_number: true }), "{uv:?}");
        let methods = amr(&case.signed, KeyRole::UserVerification, uv);
        assert_eq!(methods.contains(&"mfa".to_owned()), counts, "{methods:?}");
    }
}

#[test]
fn in_mode_display_an_approve_without_a_number_asks_for_the_code() {
    let display = |case: &mut Case| case.signed.verification.mode = VerificationMode::Display;
    assert_eq!(approve().with(display).judge(), Err(Refusal::NumberNotDue));
    let asks = approve().with(display).with(|case| case.response.number = None);
    assert_eq!(asks.judge(), Ok(Verdict::ShowCode));
    let state = DecisionState { locked_until: Some(Timestamp::NEVER), ..open() };
    assert_eq!(first_obstacle(asks.judge(), true, &state, NOW), Some(Obstacle::Locked(Timestamp::NEVER)));
    assert!(Verdict::ShowCode.says_approve());
}

#[test]
fn an_approve_within_400_ms_is_too_fast() {
    assert!(is_too_fast(NOW, NOW.plus_millis(399)));
    assert!(!is_too_fast(NOW, NOW.plus_millis(400)));
    // A clock that went back proves nothing.
    assert!(is_too_fast(NOW, NOW.plus_millis(-1)));
}

#[test]
fn the_ends_of_a_lifetime_and_its_skew_belong_to_it() {
    let signed = approve().signed;
    for iat in [signed.iat - 60, signed.iat, signed.exp, signed.exp + 60] {
        assert!(is_within_lifetime(&signed, iat), "{iat}");
    }
    for iat in [signed.iat - 61, signed.exp + 61, i64::MIN, i64::MAX] {
        assert!(!is_within_lifetime(&signed, iat), "{iat}");
    }
}

#[test]
fn a_key_is_bound_before_the_challenge_ends_or_it_decides_nothing() {
    let signed = approve().signed;
    assert!(is_bound_in_time(&signed, signed.exp));
    assert!(!is_bound_in_time(&signed, signed.exp + 1));
}

#[test]
fn a_number_that_is_picked_proves_less_than_one_that_is_typed() {
    let choose = |case: &mut Case| case.signed.verification.mode = VerificationMode::Choose;
    assert_eq!(approve().with(choose).judge(), Ok(Verdict::Approve { with_number: false }));
}

#[test]
fn whatever_a_response_comes_to_it_says_approve_or_deny() {
    for verdict in [Verdict::Approve { with_number: true }, Verdict::ShowCode, Verdict::WrongNumber] {
        assert!(verdict.says_approve(), "{verdict:?}");
    }
    assert!(!Verdict::Deny(None).says_approve());
}
