//! Tokens: what devices and the server sign, and evidence.
//!
//! Asserted: a token is taken if and only if a second reading takes it (own base64url, a plain JSON parser, the header
//! compared as a whole, the signature as DER), but for JSON that two readers could disagree about; its claims say what its
//! payload says, and read the same when written and signed again; no other kind takes it; and three artefacts are
//! evidence if and only if the rules of protocol 6.4, said a second time, hold.

use std::sync::OnceLock;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use countersign_proto::{
    evidence::{self, Evidence, EvidenceError},
    jose::{
        Claims, Jwks, KeyMember, Kind, Refusal, ServerJwk, SigningKey, Unverified, Verified, base64url, claims::*,
        verify_server,
    },
};
use serde_json::{Value, json};

/// From then on (unix seconds) what the retired key signed is refused.
const RETIRED_AT: i64 = 1_700_000_000;

struct Keys {
    server: SigningKey,
    retired: SigningKey,
    device: SigningKey,
    uv: SigningKey,
    jwks: Jwks,
}

/// The same in each run; made once, for that is what costs.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = |seed: u8| SigningKey::from_private_bytes(&[seed; 32]).expect("a key");
        let (server, retired) = (key(7), key(8));
        let mut second = ServerJwk::of(&retired.public_key());
        second.retired_at = Some(countersign_proto::timestamp::Timestamp::from_seconds(RETIRED_AT));
        let jwks = Jwks { keys: vec![ServerJwk::of(&server.public_key()), second] };
        Keys { server, retired, device: key(9), uv: key(10), jwks }
    })
}

/// Two letters, then what they say: `r`: a token, `s`: header and payload to be signed, `o`: a payload to be signed by the
/// server's retired key, `e`: the three payloads of evidence. The second letter is the kind, or who signs the response.
pub fn run(data: &[u8]) -> bool {
    let [how, which, rest @ ..] = data else { return false };
    let kind = Kind::ALL[usize::from(*which) % Kind::ALL.len()];
    match how {
        b's' => of_signed(kind, rest),
        b'o' => of_retired(kind, rest),
        b'e' => of_evidence(*which, rest),
        _ => of_token(kind, rest),
    }
}

/// A line for the header, where an empty one stands for the right one; then the payload.
fn of_signed(kind: Kind, rest: &[u8]) -> bool {
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let [Some(header), Some(payload)] = [(); 2].map(|()| parts.next()) else { return false };
    let key = &keys().device;
    let right = right_header(kind, key).to_string();
    let header = if header.is_empty() { right.as_bytes() } else { header };
    of_token(kind, sign(key, header, payload).as_bytes())
}

fn of_token(kind: Kind, token: &[u8]) -> bool {
    let key = &keys().device;
    let second = read_again(kind, key, token);
    let first = Unverified::parse(kind, token).and_then(|unverified| unverified.verify(&key.public_key()));
    let verified = match first {
        Ok(verified) => verified,
        // Twice the same member, and what is nested too deeply, the second reader takes.
        Err(Refusal::Header(_) | Refusal::Payload(_)) => return false,
        Err(refusal) => {
            assert!(second.is_none(), "refused ({refusal}) and good");
            return false;
        }
    };
    let payload = second.expect("taken, and not good");
    assert_eq!(verified.text().as_bytes(), token);
    for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
        assert!(Unverified::parse(other, token).is_err(), "taken as {kind:?} and as {other:?}");
    }
    let Some(claims) = read(&verified) else { return false };
    assert!(says(&payload, &claims), "{claims} is not in {payload}");
    let again = sign(key, right_header(kind, key).to_string().as_bytes(), claims.to_string().as_bytes());
    // Written again it may be longer: a short number in the payload, a long one here.
    if again.len() <= kind.max_bytes() {
        let verified = Unverified::parse(kind, &again).and_then(|again| again.verify(&key.public_key()));
        assert_eq!(read(&verified.expect("it was signed")), Some(claims));
    }
    true
}

/// What the server's retired key says it signed.
fn of_retired(kind: Kind, payload: &[u8]) -> bool {
    let key = &keys().retired;
    let token = sign(key, right_header(kind, key).to_string().as_bytes(), payload);
    let find = |thumbprint: &_| keys().jwks.find(thumbprint);
    let iat = match kind {
        Kind::Binding => verify_server::<BindingClaims>(&token, &find).map(|claims| claims.iat),
        Kind::Challenge => verify_server::<ChallengeClaims>(&token, &find).map(|claims| claims.iat),
        Kind::Result => verify_server::<ResultClaims>(&token, &find).map(|claims| claims.iat),
        Kind::Policy => verify_server::<PolicyClaims>(&token, &find).map(|claims| claims.iat),
        _ => return false,
    };
    // The same by the key that still signs is never too late.
    let Ok(iat) = iat else { return false };
    assert!(iat <= RETIRED_AT, "signed at {iat}");
    true
}

/// The payloads of challenge, response and binding, a line each. `$device` and `$uv` stand for the keys, `$digest` for the
/// digest of the challenge that was signed.
fn of_evidence(who: u8, rest: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(rest) else { return false };
    let Keys { server, device, uv, jwks, .. } = keys();
    let jwk = |key: &SigningKey| json!(key.public_key().to_jwk()).to_string();
    let text = text.replace("\"$device\"", &jwk(device)).replace("\"$uv\"", &jwk(uv));
    let lines: Vec<&str> = text.split('\n').collect();
    let [challenge, response, binding] = lines[..] else { return false };
    let by_server =
        |kind: Kind, payload: &str| sign(server, right_header(kind, server).to_string().as_bytes(), payload.as_bytes());
    let signer = if who.is_multiple_of(2) { device } else { uv };
    let challenge_token = by_server(Kind::Challenge, challenge);
    let hash = base64url::encode(digest(&SHA256, challenge_token.as_bytes()));
    let response = response.replace("$digest", &hash);
    let header = right_header(Kind::Response, signer).to_string();
    let evidence = Evidence {
        challenge: challenge_token,
        response: sign(signer, header.as_bytes(), response.as_bytes()),
        binding: by_server(Kind::Binding, binding),
    };
    let verified = evidence::verify(&evidence, &|thumbprint| jwks.find(thumbprint));
    let is_malformed = matches!(
        verified,
        Err(EvidenceError::Challenge(_)
            | EvidenceError::Response(_)
            | EvidenceError::Binding(_)
            | EvidenceError::BindingKeys)
    );
    if is_malformed {
        return false;
    }
    let [challenge, response, binding] =
        [challenge, &response, binding].map(|text| serde_json::from_str::<Value>(text).expect("it was read"));
    let proves = proves(&challenge, &response, &binding, &hash, signer);
    assert_eq!(verified.is_ok(), proves, "{verified:?}: {challenge} {response} {binding}");
    proves
}

/// Protocol 6.4, said again over plain JSON.
fn proves(challenge: &Value, response: &Value, binding: &Value, hash: &str, signer: &SigningKey) -> bool {
    let same = |one: &Value, other: &Value| one == other;
    let jwk = json!(signer.public_key().to_jwk());
    let is_device_key = binding["cnf"]["jwk"] == jwk;
    let is_uv_key = !is_device_key && binding["uv_jwk"] == jwk;
    let number = |claims: &Value, name: &str| i128::from(claims[name].as_i64().expect("a time"));
    let signed_at = number(response, "iat");
    let is_asked = challenge["aud"].as_array().is_some_and(|devices| devices.contains(&binding["aud"]));
    let method = response.get("uv").cloned().unwrap_or_else(|| json!("other"));
    let counts = challenge["user_verification_methods"].as_array().is_none_or(|methods| methods.contains(&method));
    let needs_uv = challenge["user_verification"] == "required" && response["decision"] == "approve";
    (is_device_key || is_uv_key)
        && same(&binding["iss"], &challenge["iss"])
        && same(&response["aud"], &challenge["iss"])
        && same(&binding["tenant"], &challenge["tenant"]["id"])
        && same(&binding["sub"], &challenge["sub"])
        && same(&binding["external_id"], &challenge["user"]["external_id"])
        && is_asked
        && binding.get("purpose").is_none()
        && same(&response["iss"], &binding["aud"])
        && same(&response["sub"], &challenge["jti"])
        && response["challenge_sha256"] == hash
        && signed_at >= number(challenge, "iat") - 60
        && signed_at <= number(challenge, "exp") + 60
        && number(binding, "iat") <= number(challenge, "exp")
        && (!needs_uv || (is_uv_key && counts))
}

fn read(verified: &Verified<'_>) -> Option<Value> {
    fn claims<C: Claims>(verified: &Verified<'_>) -> Option<Value> {
        let claims: C = verified.claims().ok()?;
        let payload = json!(claims);
        assert_eq!(payload["iat"].as_i64(), Some(claims.iat()));
        Some(payload)
    }
    match verified.kind() {
        Kind::Registration => claims::<RegistrationClaims>(verified),
        Kind::Proof => claims::<ProofClaims>(verified),
        Kind::Response => claims::<ResponseClaims>(verified),
        Kind::PushUpdate => claims::<PushUpdateClaims>(verified),
        Kind::KeyRotation => claims::<KeyRotationClaims>(verified),
        Kind::KeyProof => claims::<KeyProofClaims>(verified),
        Kind::Deregistration => claims::<DeregistrationClaims>(verified),
        Kind::Dispute => claims::<DisputeClaims>(verified),
        Kind::ClientProof => claims::<ClientProofClaims>(verified),
        Kind::Binding => claims::<BindingClaims>(verified),
        Kind::Challenge => claims::<ChallengeClaims>(verified),
        Kind::Result => claims::<ResultClaims>(verified),
        Kind::Policy => claims::<PolicyClaims>(verified),
    }
}

/// Whether everything that was read stands in what was sent.
fn says(sent: &Value, read: &Value) -> bool {
    match (sent, read) {
        (Value::Object(sent), Value::Object(read)) => {
            read.iter().all(|(name, value)| sent.get(name).is_some_and(|given| says(given, value)))
        }
        (Value::Array(sent), Value::Array(read)) => {
            sent.len() == read.len() && sent.iter().zip(read).all(|(given, value)| says(given, value))
        }
        _ => sent == read,
    }
}

/// The payload of a token that this key signed as this kind, read without the code under test.
fn read_again(kind: Kind, key: &SigningKey, token: &[u8]) -> Option<Value> {
    if token.len() > if kind.is_signed_by_server() { 16_384 } else { 8_192 } {
        return None;
    }
    let text = std::str::from_utf8(token).ok()?;
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else { return None };
    let [header_bytes, payload_bytes, signature] = [header, payload, signature].map(decode);
    let header_json: Value = serde_json::from_slice(&header_bytes?).ok()?;
    if header_json != right_header(kind, key) {
        return None;
    }
    let message = format!("{header}.{payload}");
    let sec1 = key.public_key().to_sec1();
    let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &sec1);
    verifier.verify(message.as_bytes(), &der(&signature?)?).ok()?;
    let payload: Value = serde_json::from_slice(&payload_bytes?).ok()?;
    payload.is_object().then_some(payload)
}

fn right_header(kind: Kind, key: &SigningKey) -> Value {
    match kind.key_member() {
        KeyMember::Kid => json!({"alg": "ES256", "typ": kind.typ(), "kid": key.thumbprint()}),
        KeyMember::Jwk => json!({"alg": "ES256", "typ": kind.typ(), "jwk": key.public_key().to_jwk()}),
    }
}

fn sign(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
    let signature = key.signature(message.as_bytes()).expect("a signature");
    format!("{message}.{}", base64url::encode(signature))
}

/// Base64url without padding, each text the only one of its bytes.
fn decode(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for character in text.chars() {
        held = (held << 6) | u32::try_from(ALPHABET.find(character)?).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0 && bits < 6 && !text.is_empty()).then_some(bytes)
}

/// r‖s as a sequence of two integers.
fn der(signature: &[u8]) -> Option<Vec<u8>> {
    if signature.len() != 64 {
        return None;
    }
    let mut content = Vec::new();
    for half in signature.chunks(32) {
        let start = half.iter().position(|byte| *byte != 0)?;
        let sign = if half[start] >= 0x80 { &[0][..] } else { &[] };
        let length = sign.len() + half.len() - start;
        content.extend([2, u8::try_from(length).ok()?]);
        content.extend(sign.iter().chain(&half[start..]));
    }
    let mut sequence = vec![0x30, u8::try_from(content.len()).ok()?];
    sequence.extend(content);
    Some(sequence)
}
