//! Kinds against kinds.

use std::collections::HashSet;

use super::*;

#[test]
fn a_token_is_accepted_as_its_own_kind_and_as_no_other() {
    let key = key(1);
    for kind in Kind::ALL {
        let token = key.sign(kind, &samples::full(kind)).unwrap();
        for expected in Kind::ALL {
            match Unverified::parse(expected, &token) {
                Ok(_) => assert_eq!(kind, expected),
                Err(refusal) => {
                    assert_ne!(kind, expected);
                    assert_eq!(refusal, Refusal::Type, "{kind:?} as {expected:?}");
                }
            }
        }
        assert!(read(kind, &key, &token).is_ok());
    }
}

#[test]
fn a_kind_takes_its_own_key_member_and_not_the_other() {
    let key = key(1);
    for kind in Kind::ALL {
        let header = match kind.key_member() {
            KeyMember::Jwk => json!({"alg": "ES256", "typ": kind.typ(), "kid": key.thumbprint()}),
            KeyMember::Kid => json!({"alg": "ES256", "typ": kind.typ(), "jwk": key.public_key().to_jwk()}),
        };
        let token = forge(&key, header.to_string(), samples::full(kind).to_string());
        assert_eq!(refusal(kind, &token), Refusal::HeaderMembers, "{kind:?}");
    }
}

#[test]
fn claims_are_read_from_a_token_of_their_kind_only() {
    let key = key(1);
    let token = key.sign(Kind::Response, &samples::full(Kind::Response)).unwrap();
    let verified = Unverified::parse(Kind::Response, &token).unwrap().verify(&key.public_key()).unwrap();
    assert_eq!(verified.claims::<ProofClaims>().unwrap_err(), Refusal::AnotherKind);
    assert_eq!(verified.claims::<ResponseClaims>().unwrap().sub, "c1");
}

#[test]
fn every_kind_has_its_own_type_and_the_size_of_its_signer() {
    let types: HashSet<_> = Kind::ALL.iter().map(|kind| kind.typ()).collect();
    assert_eq!(types.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert!(kind.typ().starts_with("countersign-") && kind.typ().ends_with("+jwt"));
        let expected = if kind.is_signed_by_server() { 16_384 } else { 8192 };
        assert_eq!(kind.max_bytes(), expected);
    }
    let by_server: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.is_signed_by_server()).collect();
    assert_eq!(by_server, [Kind::Binding, Kind::Challenge, Kind::Result, Kind::Policy]);
}

#[test]
fn a_registration_may_be_five_minutes_off_and_everything_else_one() {
    for kind in Kind::ALL {
        let expected = if kind == Kind::Registration { 300 } else { 60 };
        assert_eq!(kind.iat_window_seconds(), expected, "{kind:?}");
    }
}

#[test]
fn a_token_keeps_its_kind_its_text_and_its_key_on_its_way() {
    for kind in [Kind::Response, Kind::KeyProof] {
        let key = key(1);
        let token = key.sign(kind, &samples::full(kind)).unwrap();
        let unverified = Unverified::parse(kind, &token).unwrap();
        assert_eq!((unverified.kind(), unverified.text()), (kind, token.as_str()));
        assert_eq!(unverified.key().thumbprint(), *key.thumbprint());
        let verified = unverified.verify(&key.public_key()).unwrap();
        assert_eq!((verified.kind(), verified.text(), *verified.signer()), (kind, token.as_str(), key.public_key()));
    }
}

#[test]
fn the_key_of_a_header_proves_itself_only_where_the_kind_carries_one() {
    let key = key(1);
    let token = |kind| key.sign(kind, &samples::full(kind)).unwrap();
    let (registration, response) = (token(Kind::Registration), token(Kind::Response));
    let proven = Unverified::parse(Kind::Registration, &registration).unwrap().verify_with_header_key();
    assert_eq!(*proven.unwrap().signer(), key.public_key());
    let named = Unverified::parse(Kind::Response, &response).unwrap().verify_with_header_key();
    assert_eq!(named.unwrap_err(), Refusal::AnotherKey);
}
