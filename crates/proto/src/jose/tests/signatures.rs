//! Signatures (rules 4 and 5).

use super::*;

/// The order of P-256's group, big-endian.
const N: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA, 0xAD, 0xA7,
    0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

struct Signed {
    input: String,
    signature: [u8; 64],
}

fn good() -> Signed {
    let token = key(1).sign(Kind::Response, &samples::full(Kind::Response)).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = base64url::decode(signature).unwrap().try_into().unwrap();
    Signed { input: input.to_owned(), signature }
}

impl Signed {
    fn with(&self, signature: impl AsRef<[u8]>) -> Result<Value, Refusal> {
        read(Kind::Response, &key(1), &format!("{}.{}", self.input, base64url::encode(signature)))
    }
}

/// n − s.
fn negated(s: &[u8]) -> [u8; 32] {
    let mut result = [0; 32];
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i16::from(N[index]) - i16::from(s[index]) - borrow;
        borrow = i16::from(difference < 0);
        result[index] = u8::try_from(difference + 256 * borrow).unwrap();
    }
    result
}

/// The DER form of r‖s.
fn der(signature: &[u8; 64]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|&byte| byte != 0).unwrap();
        let mut body = bytes[start..].to_vec();
        if body[0] >= 0x80 {
            body.insert(0, 0);
        }
        [vec![2, u8::try_from(body.len()).unwrap()], body].concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

#[test]
fn both_s_and_its_negative_verify() {
    let good = good();
    let (r, s) = good.signature.split_at(32);
    let other = [r, negated(s).as_slice()].concat();
    assert_ne!(other, good.signature);
    assert_eq!(good.with(good.signature).unwrap(), good.with(other).unwrap());
}

#[test]
fn r_and_s_outside_the_group_are_refused() {
    let good = good();
    let (r, s) = good.signature.split_at(32);
    let zero = [0; 32];
    let over = [0xFF; 32];
    for (r, s) in [
        (zero.as_slice(), s),
        (r, zero.as_slice()),
        (&zero, &zero),
        (&N, s),
        (r, &N),
        (&N, &N),
        (&over, s),
        (r, &over),
        (s, r),
    ] {
        assert_eq!(good.with([r, s].concat()), Err(Refusal::Signature));
    }
}

#[test]
fn a_signature_has_64_bytes() {
    let good = good();
    let with_zero = |signature: &[u8]| [&[0], signature].concat();
    for wrong in [
        good.signature[..63].to_vec(),
        [good.signature.as_slice(), &[0]].concat(),
        with_zero(&good.signature),
        [with_zero(&good.signature[..32]), with_zero(&good.signature[32..])].concat(),
        good.signature[..32].to_vec(),
        vec![0],
        vec![0; 128],
    ] {
        assert_eq!(good.with(wrong), Err(Refusal::SignatureLength));
    }
}

#[test]
fn a_der_signature_is_refused() {
    // r and s vary in length between runs of the signer: many draws, none of them may pass.
    for _ in 0..64 {
        let good = good();
        let der = der(&good.signature);
        let expected = if der.len() == 64 { Refusal::Signature } else { Refusal::SignatureLength };
        assert_eq!(good.with(der), Err(expected));
    }
}

#[test]
fn every_changed_bit_of_the_signature_is_refused() {
    let good = good();
    for bit in 0..512 {
        let mut changed = good.signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(good.with(changed), Err(Refusal::Signature), "bit {bit}");
    }
}

#[test]
fn what_was_not_signed_is_refused() {
    let key = key(1);
    for kind in Kind::ALL {
        let token = key.sign(kind, &samples::full(kind)).unwrap();
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let mut claims = samples::full(kind);
        claims["iat"] = json!(1);
        let changed = base64url::encode(claims.to_string());
        assert_eq!(read(kind, &key, &format!("{header}.{changed}.{signature}")), Err(Refusal::Signature));
        // Same meaning, other bytes: the bytes are what is signed.
        let spaced = format!("{} ", String::from_utf8(base64url::decode(header).unwrap()).unwrap());
        let respelt = format!("{}.{payload}.{signature}", base64url::encode(spaced));
        assert_eq!(read(kind, &key, &respelt), Err(Refusal::Signature));
    }
}

#[test]
fn the_key_must_be_the_one_that_the_header_names() {
    let (key, other) = (key(1), key(2));
    for kind in Kind::ALL {
        let token = key.sign(kind, &samples::full(kind)).unwrap();
        let unverified = Unverified::parse(kind, &token).unwrap();
        assert_eq!(unverified.key().thumbprint(), *key.thumbprint());
        assert_eq!(unverified.verify(&other.public_key()).unwrap_err(), Refusal::AnotherKey);
        // Signed by one key, naming another.
        let lie = forge(&other, header(&key, kind).to_string(), samples::full(kind).to_string());
        assert_eq!(read(kind, &key, &lie), Err(Refusal::Signature));
        assert_eq!(read(kind, &other, &lie), Err(Refusal::AnotherKey));
    }
}

#[test]
fn only_a_header_with_a_jwk_can_bring_its_key() {
    let key = key(1);
    for kind in Kind::ALL {
        let token = key.sign(kind, &samples::full(kind)).unwrap();
        let verified = Unverified::parse(kind, &token).unwrap().verify_with_header_key();
        match kind.key_member() {
            KeyMember::Jwk => assert_eq!(*verified.unwrap().signer(), key.public_key()),
            KeyMember::Kid => assert_eq!(verified.unwrap_err(), Refusal::AnotherKey),
        }
    }
}

#[test]
fn nothing_of_the_payload_is_read_before_the_signature_is_checked() {
    let kind = Kind::Response;
    for payload in ["not JSON", "{\"a\":1,\"a\":1}", "[]", "{}"] {
        let lie = forge(&key(2), header(&key(1), kind).to_string(), payload);
        assert_eq!(read(kind, &key(1), &lie), Err(Refusal::Signature), "{payload}");
    }
}
