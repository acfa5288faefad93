//! Artefacts that no honest phone would send: any header, any claims, any bytes, properly signed or not.

use countersign_proto::jose::{SigningKey, base64url};
use serde_json::{Value, json};

/// The header of an artefact that names its key by `kid`.
pub fn header(typ: &str, key: &SigningKey) -> Value {
    json!({"alg": "ES256", "typ": typ, "kid": key.public_key().thumbprint().to_string()})
}

/// The header of an artefact that carries its key.
pub fn header_with_jwk(typ: &str, key: &SigningKey) -> Value {
    json!({"alg": "ES256", "typ": typ, "jwk": key.public_key().to_jwk()})
}

/// A compact JWS of exactly these texts, whatever they say.
pub fn sign(key: &SigningKey, header: &str, payload: &str) -> String {
    let input = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
    let signature = key.signature(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url::encode(signature))
}

/// A compact JWS of these values.
pub fn sign_json(key: &SigningKey, header: &Value, payload: &Value) -> String {
    sign(key, &header.to_string(), &payload.to_string())
}

/// The header's or the payload's JSON of a token.
pub fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&base64url::decode(part).unwrap()).unwrap()
}

/// The signature's bytes of a token.
pub fn signature(token: &str) -> Vec<u8> {
    base64url::decode(token.rsplit('.').next().unwrap()).unwrap()
}

/// The token with another signature.
pub fn with_signature(token: &str, signature: &[u8]) -> String {
    let (input, _) = token.rsplit_once('.').unwrap();
    format!("{input}.{}", base64url::encode(signature))
}

/// The other signature of the same message by the same key: s' = n − s, as valid as the first (RFC 6979 §2.4).
pub fn with_other_s(token: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut signature = signature(token);
    let mut borrow = 0_i16;
    for index in (0..32).rev() {
        let mut difference = i16::from(ORDER[index]) - i16::from(signature[32 + index]) - borrow;
        borrow = i16::from(difference < 0);
        if difference < 0 {
            difference += 256;
        }
        signature[32 + index] = u8::try_from(difference).unwrap();
    }
    with_signature(token, &signature)
}

/// The same signature in ASN.1 DER, as most libraries give it by default.
pub fn with_der(token: &str) -> String {
    let raw = signature(token);
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap();
        let mut value = bytes[start..].to_vec();
        if value[0] >= 0x80 {
            value.insert(0, 0);
        }
        let mut der = vec![2, u8::try_from(value.len()).unwrap()];
        der.append(&mut value);
        der
    };
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let mut der = vec![0x30, u8::try_from(body.len()).unwrap()];
    der.extend(body);
    with_signature(token, &der)
}
