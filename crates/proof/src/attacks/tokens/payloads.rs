//! Payloads that readers could read differently, under a good signature.

use countersign_proto::jose::Kind;
use serde_json::Value;

use super::maker::Maker;
use crate::ProofError;

const TEXTS: &[(&str, &[u8])] = &[
    ("payload: a member twice", br#"{"decision":"deny","decision":"approve"}"#),
    ("payload: a member twice", br#"{"decision":"approve","decision":"deny"}"#),
    ("payload: a member twice", br#"{"d\u0065cision":"approve","decision":"deny"}"#),
    ("payload: a member twice within", br#"{"device":{"name":"a","name":"b"}}"#),
    ("payload: a member twice within", br#"{"proofs":[{"a":1,"a":2}]}"#),
    ("payload: no object", b"[]"),
    ("payload: no object", b"[{}]"),
    ("payload: no object", b"null"),
    ("payload: no object", b"true"),
    ("payload: no object", b"7"),
    ("payload: no object", b"\"approve\""),
    ("payload: no JSON", b"{"),
    ("payload: no JSON", b"{\"a\":1,}"),
    ("payload: no JSON", b"{'a':1}"),
    ("payload: no JSON", b"{a:1}"),
    ("payload: no JSON", b"{\"a\":01}"),
    ("payload: no JSON", b"{\"a\":+1}"),
    ("payload: no JSON", b"{\"a\":.5}"),
    ("payload: no JSON", b"{\"a\":NaN}"),
    ("payload: no JSON", b"{\"a\":Infinity}"),
    ("payload: no JSON", b"{\"a\":\"\n\"}"),
    ("payload: no JSON", b"{\"a\":\"\\x41\"}"),
    ("payload: no JSON", b"{\"a\":1}//"),
    ("payload: no JSON", b"\0"),
    ("payload: followed by something", b"{\"a\":1}{\"a\":2}"),
    ("payload: followed by something", b"{\"a\":1}\0"),
    ("payload: followed by something", b"{\"a\":1} x"),
    ("payload: a byte order mark", b"\xef\xbb\xbf{\"a\":1}"),
    ("payload: no UTF-8", b"{\"a\":\"\xff\"}"),
    ("payload: no UTF-8", b"{\"a\":\"\xc0\xaf\"}"),
    ("payload: no UTF-8", b"{\"a\":\"\xed\xa0\x80\"}"),
    ("payload: no UTF-8", b"{\"a\xfe\":1}"),
    ("payload: UTF-16", b"{\0\"\0a\0\"\0:\x001\0}\0"),
    ("payload: half a character", br#"{"a":"\ud800"}"#),
    ("payload: half a character", br#"{"\udc00":1}"#),
    ("payload: a number beyond all", b"{\"iat\":1e999}"),
    ("payload: a number beyond all", b"{\"iat\":-1e999}"),
];

/// A token with such a payload.
pub(super) fn spoil(maker: &mut Maker, kind: Kind) -> Result<(&'static str, Vec<u8>), ProofError> {
    let header = Value::Object(maker.header(kind)).to_string();
    let (class, payload) = match maker.dice.below(10) {
        0 => ("payload: too deep", format!("{{\"a\":{}{}}}", "[".repeat(20), "]".repeat(20)).into_bytes()),
        1 => ("payload: too deep", format!("{{\"a\":{}", "[".repeat(2_000)).into_bytes()),
        2 => ("payload: too long", format!("{{\"a\":\"{}\"}}", "a".repeat(16 * 1024)).into_bytes()),
        _ => {
            let (class, text) = *maker.dice.one_of(TEXTS).unwrap_or(&("payload: no JSON", b""));
            (class, text.to_vec())
        }
    };
    Ok((class, maker.sign(header.as_bytes(), &payload)?.into_bytes()))
}
