use countersign_proto::jose::claims::{ChallengeTenant, ChallengeUser, ResultClaims};
use countersign_proto::jose::{ServerJwk, SigningKey, base64url};
use countersign_proto::vocabulary::{ChallengeStatus, UserVerification};

use super::*;

const ISSUER: &str = "https://approve.example";
const NOW: i64 = 1_700_000_000;

fn id<T: std::str::FromStr>(last: u8) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("01939b5e-7a2c-7def-8abc-0000000000{last:02x}").parse().unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_private_bytes(&[seed; 32]).unwrap()
}

fn keys(key: &SigningKey) -> Jwks {
    Jwks { keys: vec![ServerJwk::of(&key.public_key())] }
}

fn addressee() -> Addressee<'static> {
    Addressee { issuer: ISSUER, tenant_id: id(1), user_id: id(2), device_id: id(3) }
}

/// A challenge that this phone may show.
fn claims() -> ChallengeClaims {
    let text = |last: u8| id::<ChallengeId>(last).to_string();
    ChallengeClaims {
        iss: ISSUER.to_owned(),
        aud: vec![text(9), text(3)],
        sub: text(2),
        jti: text(4),
        iat: NOW,
        exp: NOW + 120,
        nonce: "n".repeat(43),
        tenant: ChallengeTenant { id: text(1), name: "Example".to_owned() },
        user: ChallengeUser { external_id: "ada".to_owned(), display_name: None },
        application: Some("VPN".to_owned()),
        action: "sign_in".to_owned(),
        message: None,
        context: None,
        details: None,
        verification: ChallengeVerification { mode: VerificationMode::Enter, digits: Some(6), choices: None },
        user_verification: UserVerification::Preferred,
        user_verification_methods: None,
        profile: None,
        policy_version: 1,
        azp: text(5),
        client_reference_sha256: None,
        number_mac: None,
    }
}

/// What a phone does with `claims` signed by the server.
fn received(claims: &ChallengeClaims) -> Result<VerifiedChallenge, ChallengeRefusal> {
    let challenge = key(7).sign(Kind::Challenge, claims).unwrap();
    verify(&pending(challenge), &keys(&key(7)))
}

fn pending(challenge: String) -> PendingChallenge {
    PendingChallenge { id: id(4), challenge, expires_at: Timestamp::from_seconds(NOW + 120) }
}

fn verify(pending: &PendingChallenge, keys: &Jwks) -> Result<VerifiedChallenge, ChallengeRefusal> {
    verify_challenge(pending, &addressee(), keys, Timestamp::from_seconds(NOW + 1))
}

#[test]
fn a_challenge_for_this_phone_is_shown_as_it_was_signed() {
    let challenge = received(&claims()).unwrap();
    assert_eq!(challenge.claims(), &claims());
    assert_eq!(challenge.sha256(), jose::sha256(challenge.text()));
}

#[test]
fn a_challenge_signed_by_another_key_is_refused() {
    let forged = pending(key(8).sign(Kind::Challenge, &claims()).unwrap());
    assert_eq!(verify(&forged, &keys(&key(7))), Err(ChallengeRefusal::Signature(Refusal::AnotherKey)));
}

#[test]
fn a_challenge_signed_by_a_key_that_had_been_revoked_is_refused() {
    let challenge = pending(key(7).sign(Kind::Challenge, &claims()).unwrap());
    let mut keys = keys(&key(7));
    keys.keys[0].revoked_at = Some(Timestamp::from_seconds(NOW));
    assert!(verify(&challenge, &keys).is_ok());
    keys.keys[0].revoked_at = Some(Timestamp::from_seconds(NOW - 1));
    assert_eq!(verify(&challenge, &keys), Err(ChallengeRefusal::Signature(Refusal::AnotherKey)));
}

#[test]
fn an_altered_challenge_is_refused() {
    let text = key(7).sign(Kind::Challenge, &claims()).unwrap();
    let mut parts = text.split('.');
    let (header, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
    let altered = ChallengeClaims { application: Some("Payroll".to_owned()), ..claims() };
    let payload = base64url::encode(serde_json::to_vec(&altered).unwrap());
    let altered = pending(format!("{header}.{payload}.{signature}"));
    assert_eq!(verify(&altered, &keys(&key(7))), Err(ChallengeRefusal::Signature(Refusal::Signature)));
}

#[test]
fn a_challenge_that_is_not_for_this_phone_is_refused() {
    let text = |last: u8| id::<ChallengeId>(last).to_string();
    let other_tenant = ChallengeTenant { id: text(9), ..claims().tenant };
    for (wrong, refusal) in [
        (ChallengeClaims { iss: "https://other.example".to_owned(), ..claims() }, ChallengeRefusal::Issuer),
        (ChallengeClaims { tenant: other_tenant, ..claims() }, ChallengeRefusal::Tenant),
        (ChallengeClaims { sub: text(9), ..claims() }, ChallengeRefusal::User),
        (ChallengeClaims { aud: vec![text(9)], ..claims() }, ChallengeRefusal::NotAddressed),
        (ChallengeClaims { aud: Vec::new(), ..claims() }, ChallengeRefusal::NotAddressed),
        (ChallengeClaims { jti: text(9), ..claims() }, ChallengeRefusal::AnotherId),
    ] {
        assert_eq!(received(&wrong), Err(refusal));
    }
}

#[test]
fn a_challenge_is_refused_from_its_last_second_on() {
    let with_exp = |exp| ChallengeClaims { exp, ..claims() };
    assert!(received(&with_exp(NOW + 2)).is_ok());
    for exp in [NOW + 1, NOW, 0, i64::MIN] {
        assert_eq!(received(&with_exp(exp)), Err(ChallengeRefusal::Expired));
    }
}

#[test]
fn a_choice_without_numbers_is_refused() {
    let choose = |choices| {
        let verification = ChallengeVerification { mode: VerificationMode::Choose, digits: Some(2), choices };
        received(&ChallengeClaims { verification, ..claims() })
    };
    assert!(choose(Some(vec!["12".to_owned(), "34".to_owned(), "56".to_owned()])).is_ok());
    assert_eq!(choose(None), Err(ChallengeRefusal::NoChoices));
    assert_eq!(choose(Some(Vec::new())), Err(ChallengeRefusal::NoChoices));
}

#[test]
fn what_the_server_signed_as_something_else_is_no_challenge() {
    let text = |last: u8| id::<ChallengeId>(last).to_string();
    let result = ResultClaims {
        iss: ISSUER.to_owned(),
        aud: text(3),
        sub: text(2),
        external_id: "ada".to_owned(),
        jti: text(4),
        iat: NOW,
        exp: NOW + 300,
        client_reference: None,
        application: None,
        action: "sign_in".to_owned(),
        status: ChallengeStatus::Approved,
        reason: None,
        verification: countersign_proto::jose::claims::ResultVerification {
            mode: VerificationMode::Enter,
            digits: Some(6),
        },
        policy_version: 1,
        profile: None,
        amr: None,
        flags: None,
        device_id: None,
    };
    let result = pending(key(7).sign(Kind::Result, &result).unwrap());
    assert_eq!(verify(&result, &keys(&key(7))), Err(ChallengeRefusal::Signature(Refusal::Type)));
}

#[test]
fn text_that_is_no_token_is_refused() {
    for text in ["", ".", "..", "a.b.c", &"x".repeat(20_000), "é.é.é"] {
        assert!(matches!(verify(&pending(text.to_owned()), &keys(&key(7))), Err(ChallengeRefusal::Signature(_))));
    }
}
