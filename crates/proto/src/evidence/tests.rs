use serde_json::{Value, json};

use super::*;
use crate::jose::tests::{key, samples};
use crate::jose::{Jwks, ServerJwk, SigningKey};

const SERVER: u8 = 1;
const DEVICE: u8 = 2;
const UV: u8 = 3;
const STRANGER: u8 = 4;

/// A decision's three sets of claims, and who signs each: to be spoilt one way at a time.
struct Case {
    challenge: Value,
    response: Value,
    binding: Value,
    challenge_signer: u8,
    response_signer: u8,
    binding_signer: u8,
    challenge_sha256: Option<String>,
    /// The text in the evidence, where it is not the one that was answered.
    shown_instead: Option<Value>,
}

fn good() -> Case {
    let mut case = Case {
        challenge: samples::full(Kind::Challenge),
        response: samples::full(Kind::Response),
        binding: samples::full(Kind::Binding),
        challenge_signer: SERVER,
        response_signer: DEVICE,
        binding_signer: SERVER,
        challenge_sha256: None,
        shown_instead: None,
    };
    case.binding["cnf"]["jwk"] = json!(key(DEVICE).public_key().to_jwk());
    case.binding["uv_jwk"] = json!(key(UV).public_key().to_jwk());
    case
}

fn sign(seed: u8, kind: Kind, claims: &Value) -> String {
    key(seed).sign(kind, claims).unwrap()
}

impl Case {
    fn evidence(mut self) -> Evidence {
        let challenge = sign(self.challenge_signer, Kind::Challenge, &self.challenge);
        let digest = self.challenge_sha256.unwrap_or_else(|| jose::sha256(&challenge));
        self.response["challenge_sha256"] = json!(digest);
        let challenge = match self.shown_instead {
            Some(claims) => sign(self.challenge_signer, Kind::Challenge, &claims),
            None => challenge,
        };
        Evidence {
            challenge,
            response: sign(self.response_signer, Kind::Response, &self.response),
            binding: sign(self.binding_signer, Kind::Binding, &self.binding),
        }
    }

    fn verify(self) -> Result<VerifiedEvidence, EvidenceError> {
        let jwks = Jwks { keys: vec![ServerJwk::of(&key(SERVER).public_key())] };
        verify(&self.evidence(), &|kid| jwks.find(kid))
    }
}

#[test]
fn a_true_decision_is_proven_with_the_key_that_signed_it() {
    let verified = good().verify().unwrap();
    assert_eq!(verified.signed_by, SignedBy::DeviceKey);
    assert_eq!(verified.response.decision, Decision::Approve);
    assert_eq!(verified.challenge.user.external_id, "alice");
    let with_uv = Case { response_signer: UV, ..good() };
    assert_eq!(with_uv.verify().unwrap().signed_by, SignedBy::UvKey);
}

/// A change to a good case, and what it must lead to.
type Spoil = (&'static str, fn(&mut Case), EvidenceError);

#[test]
fn whatever_does_not_belong_together_proves_nothing() {
    let another_key = || Refusal::AnotherKey;
    let cases: Vec<Spoil> = vec![
        ("challenge by a stranger", |case| case.challenge_signer = STRANGER, EvidenceError::Challenge(another_key())),
        ("challenge by the device", |case| case.challenge_signer = DEVICE, EvidenceError::Challenge(another_key())),
        ("binding by a stranger", |case| case.binding_signer = STRANGER, EvidenceError::Binding(another_key())),
        ("binding by the device", |case| case.binding_signer = DEVICE, EvidenceError::Binding(another_key())),
        ("response by a stranger", |case| case.response_signer = STRANGER, EvidenceError::Response(another_key())),
        ("response by the server", |case| case.response_signer = SERVER, EvidenceError::Response(another_key())),
        (
            "uv key not bound",
            |case| {
                case.response_signer = UV;
                remove(&mut case.binding, "uv_jwk")
            },
            EvidenceError::Response(another_key()),
        ),
        ("binding's issuer", |case| case.binding["iss"] = json!("https://other"), EvidenceError::Issuer),
        ("challenge's issuer", |case| case.challenge["iss"] = json!("https://other"), EvidenceError::Issuer),
        ("response's audience", |case| case.response["aud"] = json!("https://other"), EvidenceError::Issuer),
        ("binding's external id", |case| case.binding["external_id"] = json!("mallory"), EvidenceError::User),
        ("binding's tenant", |case| case.binding["tenant"] = json!("t2"), EvidenceError::Tenant),
        ("challenge's tenant", |case| case.challenge["tenant"]["id"] = json!("t2"), EvidenceError::Tenant),
        ("binding's user", |case| case.binding["sub"] = json!("other"), EvidenceError::User),
        ("challenge's user", |case| case.challenge["sub"] = json!("other"), EvidenceError::User),
        ("addressed to nobody", |case| case.challenge["aud"] = json!([]), EvidenceError::NotAddressed),
        ("addressed to another", |case| case.challenge["aud"] = json!(["other"]), EvidenceError::NotAddressed),
        ("bound to another device", |case| case.binding["aud"] = json!("other"), EvidenceError::NotAddressed),
        ("bound as a broker", |case| case.binding["purpose"] = json!("broker"), EvidenceError::NotAddressed),
        ("speaks for another device", |case| case.response["iss"] = json!("other"), EvidenceError::Device),
        ("answers another challenge", |case| case.response["sub"] = json!("c2"), EvidenceError::AnotherChallenge),
        ("another digest", |case| case.challenge_sha256 = Some(jose::sha256("x")), EvidenceError::AlteredChallenge),
        (
            "another text",
            |case| case.shown_instead = Some(with_message(&case.challenge)),
            EvidenceError::AlteredChallenge,
        ),
        ("too early", |case| case.response["iat"] = json!(iat(&case.challenge) - 61), EvidenceError::OutsideLifetime),
        (
            "too late",
            |case| case.response["iat"] = json!(iat(&case.challenge) + 120 + 61),
            EvidenceError::OutsideLifetime,
        ),
        ("absurdly late", |case| case.response["iat"] = json!(i64::MAX), EvidenceError::OutsideLifetime),
        (
            "bound afterwards",
            |case| case.binding["iat"] = json!(iat(&case.challenge) + 121),
            EvidenceError::LateBinding,
        ),
        (
            "without biometric",
            |case| case.challenge["user_verification"] = json!("required"),
            EvidenceError::UserVerification,
        ),
        (
            "bound to no point",
            |case| case.binding["cnf"]["jwk"]["x"] = json!("A".repeat(43)),
            EvidenceError::BindingKeys,
        ),
        ("bound to no uv point", |case| case.binding["uv_jwk"]["kty"] = json!("RSA"), EvidenceError::BindingKeys),
    ];
    for (name, spoil, expected) in cases {
        let mut case = good();
        spoil(&mut case);
        assert_eq!(case.verify().unwrap_err(), expected, "{name}");
    }
}

fn iat(challenge: &Value) -> i64 {
    challenge["iat"].as_i64().unwrap()
}

fn with_message(challenge: &Value) -> Value {
    let mut changed = challenge.clone();
    changed["message"] = json!("Pay 1,000,000");
    changed
}

fn remove(claims: &mut Value, name: &str) {
    claims.as_object_mut().unwrap().remove(name).unwrap();
}

#[test]
fn the_ends_of_the_lifetime_belong_to_it() {
    for offset in [-60, 0, 120, 180] {
        let mut case = good();
        case.response["iat"] = json!(iat(&case.challenge) + offset);
        assert!(case.verify().is_ok(), "{offset}");
    }
    let mut case = good();
    case.binding["iat"] = json!(iat(&case.challenge) + 120);
    assert!(case.verify().is_ok());
}

#[test]
fn required_user_verification_binds_an_approve_and_not_a_deny() {
    let case = |decision: &str, response_signer: u8| {
        let mut case = Case { response_signer, ..good() };
        case.challenge["user_verification"] = json!("required");
        case.challenge.as_object_mut().unwrap().remove("user_verification_methods");
        case.response["decision"] = json!(decision);
        case.verify()
    };
    assert!(case("approve", UV).is_ok());
    assert!(case("deny", UV).is_ok());
    assert!(case("deny", DEVICE).is_ok());
    assert_eq!(case("approve", DEVICE).unwrap_err(), EvidenceError::UserVerification);
}

#[test]
fn required_user_verification_is_by_a_method_that_the_challenge_accepts() {
    let case = |accepted: Value, uv: Option<&str>| {
        let mut case = Case { response_signer: UV, ..good() };
        case.challenge["user_verification"] = json!("required");
        case.challenge["user_verification_methods"] = accepted;
        match uv {
            Some(uv) => case.response["uv"] = json!(uv),
            None => drop(case.response.as_object_mut().unwrap().remove("uv")),
        }
        case.verify().map(|_| ())
    };
    assert_eq!(case(json!(["fpt", "face"]), Some("face")), Ok(()));
    assert_eq!(case(json!(["fpt", "face"]), Some("pin")), Err(EvidenceError::UserVerification));
    // Who does not say how means `other`.
    assert_eq!(case(json!(["fpt"]), None), Err(EvidenceError::UserVerification));
    assert_eq!(case(json!(["other"]), None), Ok(()));
}

#[test]
fn one_key_for_both_roles_counts_as_the_weaker() {
    let mut case = good();
    case.binding["uv_jwk"] = case.binding["cnf"]["jwk"].clone();
    assert_eq!(case.verify().unwrap().signed_by, SignedBy::DeviceKey);
}

#[test]
fn artefacts_in_each_others_place_are_refused() {
    let Evidence { challenge, response, binding } = good().evidence();
    let keys = |_: &Thumbprint| Some(ServerKey { key: key(SERVER).public_key(), last_iat: None });
    let orders = [
        (&binding, &response, &challenge, EvidenceError::Challenge(Refusal::Type)),
        (&response, &response, &binding, EvidenceError::Challenge(Refusal::Type)),
        (&challenge, &response, &response, EvidenceError::Binding(Refusal::Type)),
        (&challenge, &challenge, &binding, EvidenceError::Response(Refusal::Type)),
    ];
    for (first, second, third, expected) in orders {
        let evidence = Evidence { challenge: first.clone(), response: second.clone(), binding: third.clone() };
        assert_eq!(verify(&evidence, &keys).unwrap_err(), expected);
    }
}

#[test]
fn a_retired_server_key_proves_the_old_and_not_the_new() {
    let evidence = good().evidence();
    let server: SigningKey = key(SERVER);
    let signed_at = iat(&samples::full(Kind::Challenge));
    let with_end = |last_iat| {
        verify(&evidence, &|_| Some(ServerKey { key: server.public_key(), last_iat: Some(last_iat) })).map(|_| ())
    };
    assert_eq!(with_end(signed_at), Ok(()));
    assert_eq!(with_end(signed_at - 1), Err(EvidenceError::Challenge(Refusal::AnotherKey)));
}

#[test]
fn evidence_prints_no_artefact() {
    let evidence = good().evidence();
    assert_eq!(format!("{evidence:?}"), "Evidence { .. }");
}
