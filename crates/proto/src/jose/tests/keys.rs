//! Public keys and thumbprints.

use std::str::FromStr;

use super::*;

#[test]
fn a_point_has_one_form() {
    let key = key(1).public_key();
    let sec1 = key.to_sec1();
    assert_eq!(PublicKey::from_sec1(&sec1), Ok(key));
    assert_eq!(PublicKey::from_jwk(&key.to_jwk()), Ok(key));
    let parity = 2 + (sec1[64] & 1);
    let compressed = [&[parity], &sec1[1..33]].concat();
    let tagged = |tag: u8| [&[tag], &sec1[1..]].concat();
    let cases = [
        Vec::new(),
        vec![0],
        vec![0; 65],
        compressed,
        tagged(0),
        tagged(2),
        tagged(3),
        tagged(6),
        tagged(7),
        sec1[1..].to_vec(),
        sec1[..64].to_vec(),
        [sec1.as_slice(), &[0]].concat(),
        [&[4], [0; 64].as_slice()].concat(),
        [&[4], [0xFF; 64].as_slice()].concat(),
        [&[4], &sec1[33..], &sec1[1..33]].concat(),
    ];
    for bytes in cases {
        assert_eq!(PublicKey::from_sec1(&bytes), Err(InvalidKey), "{bytes:?}");
    }
}

#[test]
fn every_changed_bit_of_a_point_leaves_the_curve() {
    let sec1 = key(1).public_key().to_sec1();
    for bit in 0..65 * 8 {
        let mut changed = sec1;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(PublicKey::from_sec1(&changed), Err(InvalidKey), "bit {bit}");
    }
}

#[test]
fn a_private_key_is_in_the_group_and_gives_its_point() {
    let order = base64url::decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").unwrap();
    for wrong in [[0; 32], [0xFF; 32], order.clone().try_into().unwrap()] {
        assert!(SigningKey::from_private_bytes(&wrong).is_err());
    }
    let mut last: [u8; 32] = order.try_into().unwrap();
    last[31] -= 1;
    let mut one = [0; 32];
    one[31] = 1;
    // 1·G and (n−1)·G = −G share x and differ in y.
    let (first, last) = [one, last].map(|d| SigningKey::from_private_bytes(&d).unwrap().public_key().to_jwk()).into();
    assert_eq!(first.x, last.x);
    assert_ne!(first.y, last.y);
}

#[test]
fn a_generated_key_is_new_and_survives_its_bytes() {
    let key = SigningKey::generate().unwrap();
    assert_ne!(key.thumbprint(), SigningKey::generate().unwrap().thumbprint());
    let again = SigningKey::from_private_bytes(&key.private_bytes()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    let token = again.sign(Kind::Proof, &samples::full(Kind::Proof)).unwrap();
    assert!(read(Kind::Proof, &key, &token).is_ok());
}

#[test]
fn a_thumbprint_is_43_characters_in_their_one_spelling() {
    let text = key(1).thumbprint().to_string();
    assert_eq!(Thumbprint::from_str(&text).unwrap().to_string(), text);
    assert_eq!(serde_json::from_value::<Thumbprint>(json!(text)).unwrap().as_str(), text);
    for wrong in ["", &text[1..], &format!("{text}="), &format!("{text}A"), &"B".repeat(43), &"+".repeat(43)] {
        assert!(Thumbprint::from_str(wrong).is_err(), "{wrong}");
        assert!(serde_json::from_value::<Thumbprint>(json!(wrong)).is_err());
    }
}

#[test]
fn a_server_key_is_found_only_if_its_entry_is_true() {
    let (key, other) = (key(1).public_key(), key(2).public_key());
    let entry = ServerJwk::of(&key);
    let find = |entry: ServerJwk| Jwks { keys: vec![ServerJwk::of(&other), entry] }.find(&key.thumbprint());
    assert_eq!(find(entry.clone()), Some(ServerKey { key, last_iat: None }));
    assert_eq!(find(ServerJwk { x: ServerJwk::of(&other).x, ..entry.clone() }), None);
    assert_eq!(find(ServerJwk { kid: key.thumbprint().to_string(), ..ServerJwk::of(&other) }), None);
    assert_eq!(find(ServerJwk { alg: "ES384".into(), ..entry.clone() }), None);
    assert_eq!(find(ServerJwk { use_: "enc".into(), ..entry.clone() }), None);
    assert_eq!(find(ServerJwk { kty: "RSA".into(), ..entry.clone() }), None);
    let at = crate::timestamp::Timestamp::from_seconds;
    let ended = ServerJwk { retired_at: Some(at(90)), revoked_at: Some(at(80)), ..entry.clone() };
    assert_eq!(find(ended).unwrap().last_iat, Some(80));
    let written = serde_json::to_value(Jwks { keys: vec![entry] }).unwrap();
    assert_eq!(written["keys"][0]["use"], json!("sig"));
    assert_eq!(written["keys"][0].as_object().unwrap().len(), 7);
}

#[test]
fn what_a_key_signed_after_its_end_is_refused() {
    let key = key(1);
    let mut claims = samples::full(Kind::Result);
    claims["iat"] = json!(100);
    let token = key.sign(Kind::Result, &claims).unwrap();
    let read =
        |last_iat| verify_server::<ResultClaims>(&token, &|_| Some(ServerKey { key: key.public_key(), last_iat }));
    assert!(read(None).is_ok());
    assert!(read(Some(100)).is_ok());
    assert_eq!(read(Some(99)).unwrap_err(), Refusal::AnotherKey);
    assert_eq!(verify_server::<ResultClaims>(&token, &|_| None).unwrap_err(), Refusal::AnotherKey);
}
