//! Payloads that are well signed and still not a JSON object as we accept it.

use crate::json::Malformed;

use super::*;

fn read_payload(payload: impl AsRef<[u8]>) -> Result<Value, Refusal> {
    let kind = Kind::KeyProof;
    read(kind, &key(1), &forge(&key(1), header(&key(1), kind).to_string(), payload))
}

const GOOD: &str = r#"{"aud":"a","iat":1,"rotate_from":"d"}"#;

#[test]
fn a_plain_object_is_read_whatever_its_white_space_and_escapes() {
    for good in [GOOD, "\n{ \"aud\" :\t\"\\u0061\", \"iat\":1,\r\n\"rotate_from\":\"d\" } \n"] {
        assert_eq!(read_payload(good).unwrap(), json!({"aud": "a", "iat": 1, "rotate_from": "d"}));
    }
}

#[test]
fn what_is_not_one_object_in_utf8_is_refused() {
    let mut not_utf8 = GOOD.replace("\"d\"", "\"?\"").into_bytes();
    let place = not_utf8.iter().position(|&byte| byte == b'?').unwrap();
    not_utf8[place] = 0xE9;
    for bytes in
        [not_utf8, format!("\u{feff}{GOOD}").into(), format!("{GOOD}{GOOD}").into(), b"x".to_vec(), utf16(GOOD)]
    {
        assert_eq!(read_payload(bytes), Err(Refusal::Payload(Malformed::NotJson)));
    }
    for text in ["[]", "null", "1", "\"text\"", "true", &format!("[{GOOD}]")] {
        assert_eq!(read_payload(text), Err(Refusal::Payload(Malformed::NotAnObject)), "{text}");
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_member_named_twice_is_refused_even_where_it_would_be_ignored() {
    for extra in [r#""aud":"b""#, r#""\u0061ud":"a""#, r#""x":1,"x":1"#, r#""x":[{"y":{"z":1,"z":2}}]"#] {
        let payload = format!("{},{extra}}}", GOOD.trim_end_matches('}'));
        assert_eq!(read_payload(&payload), Err(Refusal::Payload(Malformed::DuplicateMember)), "{payload}");
    }
}

#[test]
fn nesting_is_bounded_even_where_it_would_be_ignored() {
    let nested =
        |levels: usize| format!("{},\"x\":{}{}}}", GOOD.trim_end_matches('}'), "[".repeat(levels), "]".repeat(levels));
    assert!(read_payload(nested(15)).is_ok());
    assert_eq!(read_payload(nested(16)), Err(Refusal::Payload(Malformed::TooDeep)));
    assert_eq!(read_payload(nested(2500)), Err(Refusal::Payload(Malformed::TooDeep)));
}

#[test]
fn an_iat_is_an_integer() {
    for iat in ["1.0", "1e0", "1E9", "1.7e9", "-0", "0.5", "\"1\"", "18446744073709551615", "99999999999999999999"] {
        let refusal = read_payload(GOOD.replace("\"iat\":1", &format!("\"iat\":{iat}"))).unwrap_err();
        assert_eq!(refusal.reason(), "claim", "{iat}");
        assert_eq!(refusal.broken_member(), None, "{iat}");
    }
    for iat in ["-1", "0", "9223372036854775807", "-9223372036854775808"] {
        let claims = read_payload(GOOD.replace("\"iat\":1", &format!("\"iat\":{iat}"))).unwrap();
        assert_eq!(claims["iat"].to_string(), iat);
    }
}
