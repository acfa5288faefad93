//! The compact form itself (rule 1, base64url).

use super::*;

fn good() -> String {
    key(1).sign(Kind::Response, &samples::full(Kind::Response)).unwrap()
}

#[test]
fn a_token_is_three_parts_and_nothing_else() {
    let token = good();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    for wrong in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        json!({"payload": payload, "protected": header, "signature": signature}).to_string(),
    ] {
        assert_eq!(refusal(Kind::Response, &wrong), Refusal::Shape, "{wrong}");
    }
    assert_eq!(refusal(Kind::Response, b"\xFF.\xFF.\xFF"), Refusal::Shape);
}

#[test]
fn each_part_has_one_spelling() {
    let token = good();
    let parts: Vec<_> = token.split('.').collect();
    for index in 0..3 {
        let part = parts[index];
        let mut wrong = vec![
            format!("{part}="),
            format!("{part}=="),
            format!(" {part}"),
            format!("{part}\n"),
            format!("{part}\r\n"),
            format!("{}\n{}", &part[..4], &part[4..]),
            format!("{}+{}", &part[..1], &part[2..]),
            format!("{}/{}", &part[..1], &part[2..]),
            format!("{}%{}", &part[..1], &part[2..]),
            format!("{}\0{}", &part[..1], &part[2..]),
            format!("{}é{}", &part[..1], &part[3..]),
        ];
        // The same bytes with trailing bits that are not zero.
        wrong.extend(other_spellings(part));
        for text in wrong {
            let mut changed = parts.clone();
            changed[index] = &text;
            assert_eq!(refusal(Kind::Response, &changed.join(".")), Refusal::Base64, "{text}");
        }
    }
    assert!(!other_spellings(parts[2]).is_empty());
}

/// The spellings of the same bytes that a lenient decoder would take.
fn other_spellings(part: &str) -> Vec<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let unused_bits = match part.len() % 4 {
        2 => 4,
        3 => 2,
        _ => return Vec::new(),
    };
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|&letter| last.as_bytes()[0] == letter).unwrap();
    (1..1 << unused_bits).map(|bits| format!("{rest}{}", char::from(ALPHABET[value | bits]))).collect()
}

/// A token of exactly `size_bytes`: white space in the header and a long claim make up the difference.
fn token_of(kind: Kind, size_bytes: usize) -> String {
    let key = key(1);
    for spaces in 0..4 {
        let header = format!("{}{}", header(&key, kind), " ".repeat(spaces));
        let mut claims = samples::full(kind);
        claims["padding"] = json!("");
        let missing = size_bytes - forge(&key, &header, claims.to_string()).len();
        for length in missing * 3 / 4 - 3..missing * 3 / 4 + 4 {
            claims["padding"] = json!("x".repeat(length));
            let token = forge(&key, &header, claims.to_string());
            if token.len() == size_bytes {
                return token;
            }
        }
    }
    unreachable!("one of the paddings fits");
}

#[test]
fn the_last_byte_allowed_is_allowed_and_one_more_is_not() {
    for kind in Kind::ALL {
        let token = token_of(kind, kind.max_bytes());
        assert!(read(kind, &key(1), &token).is_ok(), "{kind:?}");
        let token = token_of(kind, kind.max_bytes() + 1);
        assert_eq!(refusal(kind, &token), Refusal::TooLarge, "{kind:?}");
        // The size is judged before anything else.
        assert_eq!(refusal(kind, &vec![0xFF; kind.max_bytes() + 1]), Refusal::TooLarge);
    }
}

#[test]
fn a_token_that_would_be_too_large_is_not_signed() {
    let key = key(1);
    for kind in Kind::ALL {
        let mut claims = samples::full(kind);
        claims["padding"] = json!("x".repeat(kind.max_bytes()));
        assert!(
            matches!(key.sign(kind, &claims), Err(SigningError::TooLarge { size_bytes }) if size_bytes > kind.max_bytes())
        );
    }
}

#[test]
fn a_token_of_exactly_the_size_allowed_is_signed() {
    let key = key(1);
    let mut exact = 0;
    for kind in Kind::ALL {
        let mut claims = samples::full(kind);
        claims["padding"] = json!("");
        let bare = key.sign(kind, &claims).unwrap();
        let most = (kind.max_bytes() - bare.len()) * 3 / 4 + 4;
        let largest = (0..most).rev().find_map(|length| {
            claims["padding"] = json!("x".repeat(length));
            key.sign(kind, &claims).ok()
        });
        // No bytes spell a payload of one character more than a multiple of four.
        let room = kind.max_bytes() - bare.split('.').next().unwrap().len() - 88;
        let expected = if room % 4 == 1 { kind.max_bytes() - 1 } else { kind.max_bytes() };
        assert_eq!(largest.unwrap().len(), expected, "{kind:?}");
        exact += usize::from(expected == kind.max_bytes());
    }
    assert!(exact > 0);
}
