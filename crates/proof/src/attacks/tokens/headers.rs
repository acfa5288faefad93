//! Headers that no honest phone writes, signed by a key that is known: what the holder of a phone can do.

use aws_lc_rs::hmac;
use countersign_proto::jose::{Kind, base64url};
use serde_json::{Map, Value, json};

use super::maker::{Maker, claims};
use crate::ProofError;

/// Members that take the place of others, or come beside them, as JSON.
const CHANGED: &[(&str, &str, &str)] = &[
    ("header: another alg", "alg", r#""none""#),
    ("header: another alg", "alg", r#""None""#),
    ("header: another alg", "alg", r#""""#),
    ("header: another alg", "alg", r#""es256""#),
    ("header: another alg", "alg", r#""ES256 ""#),
    ("header: another alg", "alg", r#""ES256K""#),
    ("header: another alg", "alg", r#""ES384""#),
    ("header: another alg", "alg", r#""ES512""#),
    ("header: another alg", "alg", r#""HS256""#),
    ("header: another alg", "alg", r#""RS256""#),
    ("header: another alg", "alg", r#""PS256""#),
    ("header: another alg", "alg", r#""EdDSA""#),
    ("header: an alg of another type", "alg", r#"["ES256"]"#),
    ("header: an alg of another type", "alg", r#"{"ES256":true}"#),
    ("header: an alg of another type", "alg", "256"),
    ("header: an alg of another type", "alg", "null"),
    ("header: another typ", "typ", r#""JWT""#),
    ("header: another typ", "typ", r#""countersign-nothing+jwt""#),
    ("header: another typ", "typ", "null"),
    ("header: another typ", "typ", "7"),
    ("header: crit", "crit", r#"["b64"]"#),
    ("header: crit", "crit", r#"["exp"]"#),
    ("header: crit", "crit", "[]"),
    ("header: crit", "crit", r#"["alg"]"#),
    ("header: crit", "crit", r#"["alg","alg"]"#),
    ("header: b64", "b64", "false"),
    ("header: b64", "b64", "true"),
    ("header: an address of keys", "jku", r#""https://keys.example/jwks.json""#),
    ("header: an address of keys", "x5u", r#""https://keys.example/chain.pem""#),
    ("header: a certificate", "x5c", r#"["MIIB"]"#),
    ("header: a certificate", "x5t#S256", r#""MIIB""#),
    ("header: another member", "cty", r#""JWT""#),
    ("header: another member", "zip", r#""DEF""#),
    ("header: another member", "enc", r#""A256GCM""#),
    ("header: another member", "iat", "1"),
    ("header: another member", "", r#""""#),
    ("header: another member", "Alg", r#""none""#),
    ("header: another member", "ALG", r#""none""#),
    ("header: another member", "alg\u{0}", r#""none""#),
    ("header: another kid", "kid", "null"),
    ("header: another kid", "kid", r#""""#),
    ("header: another kid", "kid", r#""../../dev/null""#),
    ("header: another kid", "kid", r#"["a"]"#),
    ("header: another jwk", "jwk", "null"),
    ("header: another jwk", "jwk", "{}"),
    ("header: another jwk", "jwk", r#"{"kty":"oct","k":"AAAA"}"#),
    ("header: another jwk", "jwk", r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#),
];

/// What becomes of the members of a `jwk`.
const KEYS: &[(&str, &str)] = &[
    ("kty", r#""ec""#),
    ("kty", r#""OKP""#),
    ("crv", r#""P-384""#),
    ("crv", r#""p-256""#),
    ("crv", r#""secp256k1""#),
    ("x", r#""AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#),
    ("x", r#""AA""#),
    ("y", r#""AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#),
    ("y", r#""_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE=""#),
    ("y", "null"),
    ("d", r#""AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE""#),
    ("use", r#""sig""#),
    ("use", r#""enc""#),
    ("alg", r#""ES256""#),
    ("kid", r#""one""#),
    ("key_ops", r#"["verify"]"#),
];

/// A token with such a header.
pub(super) fn spoil(maker: &mut Maker, kind: Kind, number: u64) -> Result<(&'static str, Vec<u8>), ProofError> {
    let payload = claims(number).to_string();
    let mut members = maker.header(kind);
    let (class, header) = match maker.dice.below(16) {
        0..6 => {
            let (class, name, value) = *maker.dice.one_of(CHANGED).unwrap_or(&("", "", ""));
            members.insert(name.to_owned(), parsed(value));
            (class, Value::Object(members).to_string())
        }
        6 | 7 => key(maker, members),
        8 => without_one(maker, members),
        9 | 10 => twice(maker, &members),
        11 => ("header: reordered", reordered(maker, &members)),
        12 => spelled(maker, &members),
        13 => text(maker, &members),
        14 => return hmac_signed(maker, members, &payload),
        _ => {
            let other = maker.dice.one_of(&Kind::ALL).copied().filter(|other| *other != kind);
            let typ = other.map_or_else(|| format!("application/{}", kind.typ()), |other| other.typ().to_owned());
            members.insert("typ".to_owned(), json!(typ));
            ("header: another typ", Value::Object(members).to_string())
        }
    };
    Ok((class, maker.sign(header.as_bytes(), payload.as_bytes())?.into_bytes()))
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Another's key, or a key in another form; where the kind has none, one that comes beside `kid`.
fn key(maker: &mut Maker, mut members: Map<String, Value>) -> (&'static str, String) {
    let (name, value) = *maker.dice.one_of(KEYS).unwrap_or(&("", ""));
    let which = maker.dice.below(5);
    let other = maker.unknown();
    let mut jwk = json!(maker.known().public_key().to_jwk());
    match which {
        0 => members.insert("kid".to_owned(), json!(other.thumbprint())),
        1 => members.insert("jwk".to_owned(), json!(other.public_key().to_jwk())),
        _ => {
            if let Value::Object(jwk) = &mut jwk {
                jwk.insert(name.to_owned(), parsed(value));
            }
            members.insert("jwk".to_owned(), jwk)
        }
    };
    ("header: another key", Value::Object(members).to_string())
}

fn without_one(maker: &mut Maker, mut members: Map<String, Value>) -> (&'static str, String) {
    let names: Vec<String> = members.keys().cloned().collect();
    if let Some(name) = maker.dice.one_of(&names) {
        members.remove(name);
    }
    ("header: a member less", Value::Object(members).to_string())
}

fn pairs(members: &Map<String, Value>) -> Vec<String> {
    members.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect()
}

/// A member that is named twice, once in an escape or not; with another value or the same.
fn twice(maker: &mut Maker, members: &Map<String, Value>) -> (&'static str, String) {
    let mut pairs = pairs(members);
    let more = [
        r#""alg":"none""#,
        r#""alg":"ES256""#,
        r#""\u0061lg":"none""#,
        r#""typ":"JWT""#,
        r#""kid":"a""#,
        r#""kid":null"#,
        r#""jwk":{}"#,
        r#""kid":"a","kid":"b""#,
    ];
    let more = maker.dice.one_of(&more).copied().unwrap_or_default().to_owned();
    let at = if maker.dice.percent(50) { 0 } else { pairs.len() };
    pairs.insert(at, more);
    ("header: a member twice, or one more", format!("{{{}}}", pairs.join(",")))
}

fn reordered(maker: &mut Maker, members: &Map<String, Value>) -> String {
    let mut pairs = pairs(members);
    let by = usize::try_from(maker.dice.below(3)).unwrap_or_default();
    pairs.rotate_left(by);
    if maker.dice.percent(50) {
        pairs.reverse();
    }
    format!("{{{}}}", pairs.join(","))
}

/// The same members with white space and escapes that mean the same.
fn spelled(maker: &mut Maker, members: &Map<String, Value>) -> (&'static str, String) {
    let text = Value::Object(members.clone()).to_string();
    let text = match maker.dice.below(5) {
        0 => text.replace(':', " :\r\n\t"),
        1 => format!(" {text}\n"),
        2 => text.replace("\"alg\"", "\"\\u0061\\u006Cg\""),
        3 => text.replace("ES256", "\\u0045S256"),
        _ => text.replace("+jwt", "\\u002bjwt"),
    };
    ("header: spelled otherwise", text)
}

/// What is no JSON object.
fn text(maker: &mut Maker, members: &Map<String, Value>) -> (&'static str, String) {
    let text = Value::Object(members.clone()).to_string();
    let inner = text.trim_matches(['{', '}']).to_owned();
    let texts = [
        format!("\u{feff}{text}"),
        format!("{text}{text}"),
        format!("{text}\0"),
        format!("[{text}]"),
        format!("{{{inner},}}"),
        format!("{{{inner}"),
        format!("{{{inner}/**/}}"),
        text.replace('"', "'"),
        Value::from(text.as_str()).to_string(),
        "null".to_owned(),
        "{}".to_owned(),
        "[".repeat(500),
        format!("{{{inner},\"deep\":{}1{}}}", "[".repeat(64), "]".repeat(64)),
    ];
    ("header: no object", maker.dice.one_of(&texts).cloned().unwrap_or_default())
}

/// HS256 with the public key as the secret: what a verifier that believes `alg` would take.
fn hmac_signed(
    maker: &mut Maker,
    mut members: Map<String, Value>,
    payload: &str,
) -> Result<(&'static str, Vec<u8>), ProofError> {
    members.insert("alg".to_owned(), json!("HS256"));
    let input = format!("{}.{}", base64url::encode(Value::Object(members).to_string()), base64url::encode(payload));
    let public = maker.known().public_key().to_sec1();
    let of = |secret: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    let secret = if maker.dice.percent(50) {
        public.to_vec()
    } else {
        json!(maker.known().public_key().to_jwk()).to_string().into_bytes()
    };
    Ok(("header: HS256 with the public key", format!("{input}.{}", base64url::encode(of(&secret))).into_bytes()))
}
