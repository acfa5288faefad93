//! Public keys in every form that they come in: JWK, SEC 1, PEM, thumbprints and the server's set of keys.
//!
//! Asserted: a key that is taken is a point that the other library would agree on a secret with, is written back as it was
//! read, and has the thumbprint that RFC 7638 says; and 65 bytes are taken if and only if the other library takes them.

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    digest::{SHA256, digest},
};
use countersign_proto::{
    jose::{Jwk, Jwks, PublicKey, Thumbprint, base64url},
    json,
};
use serde_json::json;

/// The first byte says which form the rest is in.
pub fn run(data: &[u8]) -> bool {
    let Some((form, rest)) = data.split_first() else { return false };
    match form % 4 {
        0 => of_jwk(rest),
        1 => of_sec1(rest),
        2 => of_pem(rest),
        _ => of_jwks(rest),
    }
}

fn of_jwk(bytes: &[u8]) -> bool {
    let Ok(jwk) = json::from_slice::<Jwk>(bytes) else { return false };
    let Ok(key) = PublicKey::from_jwk(&jwk) else { return false };
    assert_eq!(key.to_jwk(), jwk, "a key has one spelling");
    assert_eq!((jwk.x.len(), jwk.y.len()), (43, 43));
    check(&key);
    true
}

fn of_sec1(bytes: &[u8]) -> bool {
    // The other library knows the compressed form, too, which we do not take.
    let is_point = bytes.len() == 65 && bytes[0] == 4 && is_point(bytes);
    let key = PublicKey::from_sec1(bytes);
    assert_eq!(key.is_ok(), is_point, "{bytes:02x?}");
    let Ok(key) = key else { return false };
    assert_eq!(key.to_sec1().as_slice(), bytes);
    check(&key);
    true
}

fn of_pem(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(key) = PublicKey::from_pem(text) else { return false };
    assert!(text.contains("-----BEGIN PUBLIC KEY-----"), "{text}");
    check(&key);
    true
}

fn of_jwks(bytes: &[u8]) -> bool {
    let Ok(set) = json::from_slice::<Jwks>(bytes) else { return false };
    let mut found = false;
    for entry in &set.keys {
        let Ok(kid) = entry.kid.parse::<Thumbprint>() else {
            continue;
        };
        assert_eq!(base64url::decode(kid.as_str()).map(|bytes| bytes.len()), Some(32));
        let Some(server_key) = set.find(&kid) else { continue };
        found = true;
        check(&server_key.key);
        assert_eq!(thumbprint(&server_key.key.to_jwk()), kid.as_str(), "found by another name");
        // The first entry of that name is the one that counts.
        let first = set.keys.iter().find(|entry| entry.kid == kid.as_str()).expect("it was found");
        assert_eq!((first.use_.as_str(), first.alg.as_str(), first.kty.as_str()), ("sig", "ES256", "EC"));
        let ends = [first.retired_at, first.revoked_at].map(|end| end.map(|end| end.as_seconds()));
        for end in ends.into_iter().flatten() {
            assert!(server_key.last_iat.is_some_and(|last| last <= end), "an end that does not end it");
        }
        assert_eq!(server_key.last_iat.is_none(), ends == [None, None]);
    }
    found
}

fn check(key: &PublicKey) {
    assert!(is_point(&key.to_sec1()), "{key:?} is on no curve");
    let jwk = key.to_jwk();
    assert_eq!(PublicKey::from_jwk(&jwk), Ok(*key));
    assert_eq!(key.thumbprint().as_str(), thumbprint(&jwk));
    // A wrong signature is one under any key.
    assert!(!key.verifies(b"message", &[0; 64]) && !key.verifies(b"message", &[0xff; 64]));
}

/// RFC 7638: the required members in the order of the alphabet, which is how the library writes an object.
fn thumbprint(jwk: &Jwk) -> String {
    let members = json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "y": jwk.y}).to_string();
    base64url::encode(digest(&SHA256, members.as_bytes()))
}

/// Whether the other library would agree on a secret with it.
fn is_point(sec1: &[u8]) -> bool {
    let own = PrivateKey::from_private_key(&ECDH_P256, &[7; 32]).expect("a key of ours");
    agree(&own, UnparsedPublicKey::new(&ECDH_P256, sec1), (), |_| Ok(())).is_ok()
}
