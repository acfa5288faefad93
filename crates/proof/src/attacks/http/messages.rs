//! Messages of HTTP/1 that two readers could read differently, or that have no end.
//!
//! Each holds a second request where a reader with another mind would find one. To add a message: a line in one of the
//! tables.

use super::raw::PATIENCE;
use crate::dice::Dice;

/// What the server may do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// At most one answer, a 4xx, and the end of the connection.
    Refusal,
    /// It has one meaning: these answers, then the end that it asks for.
    Answers(&'static [u16]),
}

/// A message, or several in one breath.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) due: Due,
}

/// A request whose body is read before anything is judged.
const HEAD: &str = "POST /v1/device/registrations HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/jwt\r\n";
/// What must not be taken for a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
const READY: &str = "GET /readyz HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

/// What follows [`HEAD`] and is refused; [`HIDDEN`] comes after it.
const REFUSED: &[(&str, &str)] = &[
    ("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\naaaaaa"),
    ("a list of lengths", "Content-Length: 5, 5\r\n\r\naaaaa"),
    ("a length with a sign", "Content-Length: +5\r\n\r\naaaaa"),
    ("a negative length", "Content-Length: -5\r\n\r\n"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n\r\naaaaa"),
    ("an unknown coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("no coding", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\naaaaa"),
    ("chunks that are not the last coding", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("a space before the colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a vertical tab before the coding", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
    ("a folded header", "X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("a bare carriage return", "X: a\rContent-Length: 5\r\n\r\naaaaa"),
    ("a zero byte in a header", "X: a\0b\r\n\r\n"),
    ("a header without a colon", "Nonsense\r\n\r\n"),
    ("a header without a name", ": a\r\n\r\n"),
    ("a chunk size beyond 64 bits", "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a chunk size of 64 bits", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("a negative chunk size", "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk size with a prefix", "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk that is longer than it says", "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"),
    ("a bare line feed in a chunk extension", "Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n"),
    ("bare line feeds between chunks", "Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n"),
];

/// Whole messages that are refused.
const REFUSED_WHOLE: &[(&str, &str)] = &[
    ("no host", "GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n"),
    ("chunks in HTTP/1.0", "POST /v1/device/registrations HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a version of its own", "GET /readyz HTTP/1.2\r\nHost: a.example\r\n\r\n"),
    ("a version of long ago", "GET /readyz\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
    ("a space before a header", "GET /readyz HTTP/1.1\r\n Host: a.example\r\n\r\n"),
    ("a control character in the path", "GET /ready\u{1}z HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    ("a half preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\r\n\r\n"),
];

/// Odd, but of one meaning.
const TAKEN: &[(&str, &str, &[u16])] = &[
    ("a chunk extension", "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", &[401, 404]),
    ("the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n\r\naaaaa", &[401, 404]),
    ("a trailer that is a length", "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 50\r\n\r\n", &[401, 404]),
    // Refused, but its end is certain: what follows is a request of its own.
    ("two hosts", "Host: b.example\r\nContent-Length: 0\r\n\r\n", &[400, 404]),
    ("a tab before the coding", "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", &[401, 404]),
];

/// All of them.
pub(super) fn all() -> Vec<Message> {
    let refused = REFUSED.iter().map(|(name, rest)| message(name, format!("{HEAD}{rest}{HIDDEN}"), Due::Refusal));
    let whole = REFUSED_WHOLE.iter().map(|(name, text)| message(name, format!("{text}{HIDDEN}"), Due::Refusal));
    let taken = TAKEN.iter().map(|(name, rest, due)| message(name, format!("{HEAD}{rest}{HIDDEN}"), Due::Answers(due)));
    refused.chain(whole).chain(taken).chain(long()).chain(several()).collect()
}

fn long() -> Vec<Message> {
    let many: String = (0..200).map(|number| format!("X-{number}: a\r\n")).collect();
    let (kilo, mega) = ("a".repeat(1_024), "a".repeat(1_024 * 1_024));
    let chunks = format!("{HEAD}{CHUNKED}{}0\r\n\r\n", format!("400\r\n{kilo}\r\n").repeat(2_048));
    vec![
        message("a path of 1 MiB", format!("GET /{mega} HTTP/1.1\r\nHost: a.example\r\n\r\n"), Due::Refusal),
        message("a header of 1 MiB", format!("{HEAD}X: {mega}\r\n\r\n"), Due::Refusal),
        message("a header without end", format!("{HEAD}X: {mega}"), Due::Refusal),
        message("a name without end", format!("{HEAD}{mega}"), Due::Refusal),
        message("200 headers", format!("{HEAD}{many}\r\n"), Due::Refusal),
        message("20,000 headers", format!("{HEAD}{}\r\n", "X: a\r\n".repeat(20_000)), Due::Refusal),
        message("a chunk extension of 1 MiB", format!("{HEAD}{CHUNKED}5;{mega}\r\nhello\r\n0\r\n\r\n"), Due::Refusal),
        message("2 MiB in chunks", chunks, Due::Refusal),
        message("1 MiB of line feeds", "\r\n".repeat(512 * 1_024), Due::Refusal),
    ]
}

fn several() -> Vec<Message> {
    const FIFTY: &[u16] = &[200; 50];
    let fifty = "GET /readyz HTTP/1.1\r\nHost: a.example\r\n\r\n".repeat(49);
    let length = HIDDEN.len();
    let unknown = "GET /none HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let hold = format!("GET /healthz HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n{HIDDEN}{HIDDEN}");
    vec![
        message("fifty requests in one breath", format!("{fifty}{READY}\r\n"), Due::Answers(FIFTY)),
        message(
            "a request after an error",
            format!("{unknown}\0 no request\r\n\r\n{HIDDEN}"),
            Due::Answers(&[404, 400]),
        ),
        message("a request in the body of another", hold, Due::Answers(&[200, 404])),
        message("a whole URL", READY.replace("/readyz", "http://other.example/readyz") + "\r\n", Due::Answers(&[200])),
        message(
            "a tunnel",
            format!("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n{HIDDEN}"),
            Due::Answers(&[404, 404]),
        ),
        message(
            "a change to HTTP/2",
            format!(
                "{READY}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
            Due::Answers(&[200]),
        ),
    ]
}

fn message(name: &'static str, text: String, due: Due) -> Message {
    Message { name, bytes: text.into_bytes(), due }
}

/// A valid request and a second one, with a few bytes changed, dropped, doubled or moved.
pub(super) fn mutated(dice: &mut Dice) -> Vec<u8> {
    const BYTES: &[u8] = b"\r\n \t:;,0\0\x0b\xff-+AZaz/";
    let mut bytes = format!("{HEAD}Content-Length: 5\r\nX-A: b\r\n\r\nhello{READY}\r\n").into_bytes();
    if dice.percent(50) {
        bytes = format!("{HEAD}{CHUNKED}5;a=b\r\nhello\r\n0\r\nX-T: u\r\n\r\n{READY}\r\n").into_bytes();
    }
    for _ in 0..=dice.below(4) {
        let length = u64::try_from(bytes.len()).unwrap_or(1);
        let at = usize::try_from(dice.below(length)).unwrap_or_default();
        let byte = dice.one_of(BYTES).copied().unwrap_or_default();
        match dice.below(4) {
            0 => bytes.insert(at, byte),
            1 => drop(bytes.remove(at)),
            2 => {
                let copied = bytes.iter().skip(at).take(12).copied().collect::<Vec<_>>();
                bytes.splice(at..at, copied);
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte),
        }
    }
    bytes
}

/// A request that goes on for longer than anybody waits.
pub(super) fn endless(is_body: bool) -> Vec<u8> {
    let seconds = usize::try_from(PATIENCE.as_secs()).unwrap_or(usize::MAX);
    let filling = "a".repeat(seconds.saturating_mul(2));
    let text =
        if is_body { format!("{HEAD}Content-Length: 4000\r\n\r\n{filling}") } else { format!("{HEAD}X: {filling}") };
    text.into_bytes()
}

/// Answers of a third of a megabyte, asked for again and again.
pub(super) fn greedy() -> Vec<u8> {
    "GET /openapi.json HTTP/1.1\r\nHost: a.example\r\n\r\n".repeat(200).into_bytes()
}
