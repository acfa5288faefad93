//! Texts of tokens that were spoilt by somebody who holds no key.

use countersign_proto::jose::base64url;

use super::maker::Maker;

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// One of the many ways.
pub(super) fn spoil(maker: &mut Maker, token: &str) -> (&'static str, Vec<u8>) {
    let Some((input, signature)) = token.rsplit_once('.') else { return ("honest", token.as_bytes().to_vec()) };
    let Some((header, payload)) = input.split_once('.') else { return ("honest", token.as_bytes().to_vec()) };
    match maker.dice.below(8) {
        0 => bytes(maker, token),
        1 | 2 => spelled(maker, [header, payload, signature]),
        3..6 => {
            let raw: [u8; 64] = base64url::decode(signature).and_then(|raw| raw.try_into().ok()).unwrap_or([0; 64]);
            let (class, raw) = signed(maker, raw, input);
            (class, format!("{input}.{}", base64url::encode(raw)).into_bytes())
        }
        6 => arranged(maker, [header, payload, signature]),
        _ => other_forms(maker, [header, payload, signature]),
    }
}

/// A byte here or there.
fn bytes(maker: &mut Maker, token: &str) -> (&'static str, Vec<u8>) {
    let mut bytes = token.as_bytes().to_vec();
    let length = u64::try_from(bytes.len()).unwrap_or_default();
    let at = usize::try_from(maker.dice.below(length)).unwrap_or_default();
    let byte = u8::try_from(maker.dice.below(256)).unwrap_or_default();
    match maker.dice.below(5) {
        0 => {
            let place = bytes.get_mut(at);
            // Always another one.
            place.into_iter().for_each(|place| *place ^= byte.max(1));
            ("text: a byte changed", bytes)
        }
        1 => {
            bytes.insert(at, byte);
            ("text: a byte more", bytes)
        }
        2 => {
            bytes.remove(at);
            ("text: a byte less", bytes)
        }
        3 => {
            bytes.truncate(at);
            ("text: cut off", bytes)
        }
        _ => {
            bytes.extend(vec![byte; 1 + at]);
            ("text: longer", bytes)
        }
    }
}

/// The same bytes in base64 that is not the one spelling.
fn spelled(maker: &mut Maker, parts: [&str; 3]) -> (&'static str, Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let which = usize::try_from(maker.dice.below(3)).unwrap_or_default();
    let part = parts.get(which).copied().unwrap_or_default().to_owned();
    let middle = part.len() / 2;
    let (class, changed) = match maker.dice.below(6) {
        0 => ("base64: padded", format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4))),
        1 => ("base64: padded where none is due", format!("{part}===")),
        2 => ("base64: the other alphabet", part.replace('-', "+").replace('_', "/")),
        3 => {
            let (before, after) = part.split_at(middle);
            let white = maker.dice.one_of(&[" ", "\n", "\r\n", "\t", "\u{b}", "\0"]).copied().unwrap_or(" ");
            ("base64: white space within", format!("{before}{white}{after}"))
        }
        4 => {
            let (before, last) = part.split_at(part.len().saturating_sub(1));
            let place = ALPHABET.iter().position(|letter| last.as_bytes() == [*letter]).unwrap_or_default();
            let next = ALPHABET.get(place ^ 1).map_or('A', |letter| char::from(*letter));
            ("base64: other last bits", format!("{before}{next}"))
        }
        _ => ("base64: percent signs", part.replace('-', "%2D").replace('_', "%5F")),
    };
    let is_same = changed == part;
    let mut parts = parts.map(str::to_owned);
    if let Some(place) = parts.get_mut(which) {
        *place = changed;
    }
    (if is_same { "honest" } else { class }, parts.join(".").into_bytes())
}

/// Another signature under the same text.
fn signed(maker: &mut Maker, raw: [u8; 64], input: &str) -> (&'static str, Vec<u8>) {
    let (r, s) = raw.split_at(32);
    let zero = [0; 32];
    let mut random = [0; 64];
    maker.dice.fill(&mut random);
    match maker.dice.below(14) {
        0 => ("signature: r or s is 0", [&zero, s].concat()),
        1 => ("signature: r or s is 0", [r, &zero].concat()),
        2 => ("signature: r or s is 0", [zero, zero].concat()),
        3 => ("signature: r or s is n", [&ORDER, s].concat()),
        4 => ("signature: r or s is n", [r, &ORDER].concat()),
        5 => ("signature: n - s", [r, &from_order(s)].concat()),
        6 => ("signature: n - r", [&from_order(r), s].concat()),
        7 => ("signature: swapped", [s, r].concat()),
        8 => ("signature: DER", der(r, s)),
        9 => ("signature: another length", raw.iter().take(63).copied().collect()),
        10 => ("signature: another length", [&[0], r, &[0], s].concat()),
        11 => ("signature: another length", Vec::new()),
        12 => ("signature: by another key", maker.unknown().signature(input.as_bytes()).unwrap_or([0; 64]).to_vec()),
        _ => ("signature: random", random.to_vec()),
    }
}

/// n - value.
fn from_order(value: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference: Vec<u8> = ORDER
        .iter()
        .zip(value)
        .rev()
        .map(|(order, value)| {
            let (first, one) = order.overflowing_sub(*value);
            let (second, two) = first.overflowing_sub(borrow);
            borrow = u8::from(one || two);
            second
        })
        .collect();
    difference.reverse();
    difference
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |value: &[u8]| {
        let mut digits: Vec<u8> = value.iter().copied().skip_while(|byte| *byte == 0).collect();
        if digits.first().is_none_or(|first| *first >= 128) {
            digits.insert(0, 0);
        }
        [vec![2, u8::try_from(digits.len()).unwrap_or_default()], digits].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap_or_default()], both].concat()
}

fn arranged(maker: &mut Maker, [header, payload, signature]: [&str; 3]) -> (&'static str, Vec<u8>) {
    let texts = [
        format!("{payload}.{header}.{signature}"),
        format!("{header}.{signature}.{payload}"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{signature}."),
        format!(".{header}.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{header}.{payload}.{signature}"),
        format!("{header}.{payload}.{payload}.{signature}.{signature}"),
        "..".to_owned(),
        String::new(),
    ];
    ("text: parts moved", maker.dice.one_of(&texts).cloned().unwrap_or_default().into_bytes())
}

fn other_forms(maker: &mut Maker, [header, payload, signature]: [&str; 3]) -> (&'static str, Vec<u8>) {
    let token = format!("{header}.{payload}.{signature}");
    let forms = [
        ("text: JSON form", format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#)),
        (
            "text: JSON form",
            format!(r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#),
        ),
        ("text: white space around", format!(" {token}")),
        ("text: white space around", format!("{token}\n")),
        ("text: white space around", format!("{token}\r\n")),
        ("text: white space around", format!("\u{feff}{token}")),
        ("text: something around", format!("Bearer {token}")),
        ("text: something around", format!("\"{token}\"")),
        ("text: something around", format!("{token}~")),
        ("text: something around", format!("{token},{token}")),
        ("text: something around", format!("{token}\0")),
        ("text: other dots", token.replace('.', "%2E")),
        ("text: other dots", token.replace('.', "\u{3002}")),
        ("text: other dots", token.replace('.', "\u{2024}")),
    ];
    let (class, text) = maker.dice.one_of(&forms).cloned().unwrap_or_default();
    (class, text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_from_the_order_comes_back() {
        let value: Vec<u8> = (1..=32).collect();
        assert_eq!(from_order(&from_order(&value)), value);
        let mut one = [0; 32];
        one[31] = 1;
        assert_eq!(from_order(&one)[..31], ORDER[..31]);
        assert_eq!(from_order(&one)[31], ORDER[31] - 1);
    }

    #[test]
    fn der_has_no_sign_and_no_zeros_in_front() {
        let mut r = [0; 32];
        r[31] = 0x80;
        let mut s = [0; 32];
        s[31] = 7;
        assert_eq!(der(&r, &s), [0x30, 7, 2, 2, 0, 0x80, 2, 1, 7]);
    }
}
