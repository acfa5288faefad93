//! Frames of HTTP/2 (RFC 9113 section 4), written and read by hand: a library would refuse to write most of these.
//!
//! To add an attack: a line in [`all`], with what is due.

use std::collections::BTreeMap;

use crate::dice::Dice;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// `:method GET`, `:scheme http`, `:authority a` from the static table of HPACK, ready for a `:path`.
const GET: &[u8] = b"\x82\x86\x41\x01a";

/// What the server has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It ends the connection, or says that it will.
    End,
    /// It goes on, bounded: not more than one answer to each request.
    Bounds,
}

/// One connection's worth of frames.
#[derive(Debug)]
pub(super) struct Flood {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) due: Due,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = Vec::with_capacity(payload.len().saturating_add(9));
    bytes.extend(length.into_iter().skip(1));
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The preface and empty settings.
fn greeting() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

fn get(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap_or_default();
    [GET, &[0x04, length], path.as_bytes()].concat()
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(path))
}

/// The ids that a client may open, in their order.
fn ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number.saturating_mul(2).saturating_add(1))
}

/// A header field that nothing remembers: `x: ` and so many bytes (up to 126).
fn field(bytes: u8) -> Vec<u8> {
    [&[0x00, 1, b'x', bytes], vec![b'a'; usize::from(bytes)].as_slice()].concat()
}

/// All of them; `size` multiplies the floods.
pub(super) fn all(size: u32) -> Vec<Flood> {
    let flood = |name, due, frames: Vec<u8>| Flood { name, due, bytes: [greeting(), frames].concat() };
    let many = |count: u32, one: &[u8]| one.repeat(usize::try_from(count.saturating_mul(size)).unwrap_or(usize::MAX));
    let open = frame(HEADERS, 0, 1, &get("/v1/devices"));
    let overflow = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    let full = field(126).repeat(120);
    // One entry of 4,000 bytes for the dynamic table, then references to it of one byte each.
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &vec![b'a'; 4_000]].concat();
    let bomb = [get("/readyz"), entry, vec![0xbe; 10_000]].concat();
    let wide = frame(CONTINUATION, 0, 1, &full).repeat(20);
    let reset = |id| [request(id, "/v1/devices"), frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat();
    let end = frame(CONTINUATION, END_HEADERS, 1, &[]);
    let mut floods = vec![
        flood("rapid reset", Due::End, ids(20_000_u32.saturating_mul(size)).flat_map(reset).collect()),
        flood(
            "CONTINUATION without end",
            Due::End,
            [open.clone(), many(2_000, &frame(CONTINUATION, 0, 1, &full))].concat(),
        ),
        flood("empty CONTINUATION", Due::End, [open.clone(), many(50_000, &frame(CONTINUATION, 0, 1, &[]))].concat()),
        flood("a header list of 300 KiB", Due::Bounds, [open.clone(), wide, end].concat()),
        flood("a bomb of HPACK", Due::Bounds, frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)),
        flood("PING", Due::Bounds, many(50_000, &frame(PING, 0, 0, &[7; 8]))),
        flood("SETTINGS", Due::Bounds, many(50_000, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]))),
        flood("PRIORITY", Due::Bounds, many(50_000, &frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 9]))),
        flood("unknown frames", Due::Bounds, many(50_000, &frame(200, 0, 0, b"what"))),
        flood(
            "empty DATA",
            Due::Bounds,
            [frame(HEADERS, END_HEADERS, 1, &post()), many(50_000, &frame(DATA, 0, 1, &[]))].concat(),
        ),
        flood("a window beyond 31 bits", Due::End, overflow.repeat(2)),
        flood(
            "streams without end",
            Due::Bounds,
            ids(2_000).flat_map(|id| frame(HEADERS, END_HEADERS, id, &post())).collect(),
        ),
        flood("2,000 requests", Due::Bounds, ids(2_000).flat_map(|id| request(id, "/readyz")).collect()),
    ];
    floods.extend(misuses().into_iter().map(|(name, due, frames)| flood(name, due, frames)));
    floods
}

/// A registration of a device, whose body is to follow.
fn post() -> Vec<u8> {
    const PATH: &[u8] = b"/v1/device/registrations";
    let kind: &[u8] = b"\x0f\x10\x0fapplication/jwt";
    [b"\x83\x86\x41\x01a\x04", &[24][..], PATH, kind].concat()
}

/// What breaks a rule once.
fn misuses() -> Vec<(&'static str, Due, Vec<u8>)> {
    let whole = END_HEADERS | END_STREAM;
    let with = |fields: &[u8]| frame(HEADERS, whole, 1, &[&get("/readyz"), fields].concat());
    let mut long = frame(DATA, 0, 1, &[]);
    long.splice(0..3, [255, 255, 255]);
    vec![
        ("a stream of the server's", Due::End, request(2, "/readyz")),
        ("a stream of nobody's", Due::End, request(0, "/readyz")),
        ("a stream that goes back", Due::End, [request(5, "/readyz"), request(3, "/readyz")].concat()),
        ("a stream twice", Due::Bounds, [request(1, "/readyz"), request(1, "/readyz")].concat()),
        ("DATA on no stream", Due::End, frame(DATA, 0, 0, b"data")),
        ("DATA on a stream that was not opened", Due::End, frame(DATA, 0, 1, b"data")),
        ("RST_STREAM of what was not opened", Due::End, frame(RST_STREAM, 0, 1, &[0; 4])),
        ("WINDOW_UPDATE of what was not opened", Due::End, frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE by nothing", Due::End, frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        (
            "PUSH_PROMISE of a client",
            Due::End,
            [request(1, "/readyz"), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])].concat(),
        ),
        ("CONTINUATION of nothing", Due::End, frame(CONTINUATION, END_HEADERS, 1, &get("/readyz"))),
        (
            "another frame within headers",
            Due::End,
            [frame(HEADERS, 0, 1, &get("/readyz")), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("a frame of 16 MiB", Due::End, long),
        ("more padding than payload", Due::End, frame(HEADERS, whole | PADDED, 1, &[200, 0x82])),
        ("PING of seven bytes", Due::End, frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", Due::End, frame(PING, 0, 1, &[0; 8])),
        ("SETTINGS of five bytes", Due::End, frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS acknowledged with bytes", Due::End, frame(SETTINGS, 1, 0, &[0, 4, 0, 0, 0, 0])),
        ("a window setting beyond 31 bits", Due::End, frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255])),
        ("a frame size below the least", Due::End, frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("an index beyond the tables", Due::End, frame(HEADERS, whole, 1, b"\x82\xff\xff\xff\x7f")),
        ("a table larger than agreed", Due::End, frame(HEADERS, whole, 1, b"\x3f\xff\xff\xff\x7f\x82")),
        ("a header name in capitals", Due::Bounds, with(b"\x00\x01X\x01a")),
        ("a header of the connection", Due::Bounds, with(b"\x00\x0aconnection\x05close")),
        ("chunks", Due::Bounds, with(b"\x00\x11transfer-encoding\x07chunked")),
        ("a second path", Due::Bounds, with(b"\x04\x07/hidden")),
        ("a status", Due::Bounds, with(b"\x88")),
        ("a line feed in a header", Due::Bounds, with(b"\x00\x01x\x03a\nb")),
        ("a length that is not the body's", Due::Bounds, with(b"\x0f\x0d\x0250")),
        ("GOAWAY at once", Due::Bounds, frame(GOAWAY, 0, 0, &[0; 8])),
    ]
}

/// Answers that may not be sent: a window of nothing, and requests for as many streams as there may be.
pub(super) fn stalled() -> Vec<u8> {
    let nothing = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let requests: Vec<u8> = ids(250).flat_map(|id| request(id, "/openapi.json")).collect();
    [PREFACE, &nothing, &requests].concat()
}

/// Frames of random kinds, flags, streams and contents.
pub(super) fn random(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = greeting();
    for _ in 0..50 {
        let byte = |dice: &mut Dice, below| u8::try_from(dice.below(below)).unwrap_or_default();
        let mut payload = vec![0; usize::from(byte(dice, 64))];
        dice.fill(&mut payload);
        if dice.percent(50) {
            payload = get("/readyz");
        }
        let stream = u32::try_from(dice.below(9)).unwrap_or_default();
        let (kind, flags) = (byte(dice, 11), byte(dice, 256));
        bytes.extend(frame(kind, flags, stream, &payload));
    }
    bytes
}

/// What the server's frames come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Heads of answers by stream.
    pub(super) answers: BTreeMap<u32, u32>,
    pub(super) has_said_goodbye: bool,
}

/// Reads them; the last may be cut off.
pub(super) fn said(mut bytes: &[u8]) -> Said {
    let mut said = Said::default();
    while let Some((&[a, b, c, kind, _flags, d, e, f, g], rest)) = bytes.split_first_chunk::<9>() {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        match kind {
            HEADERS => {
                let count = said.answers.entry(u32::from_be_bytes([d, e, f, g])).or_default();
                *count = count.saturating_add(1);
            }
            GOAWAY => said.has_said_goodbye = true,
            _ => {}
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    said
}

/// How many requests these bytes of a client may be taken for.
pub(super) fn requests(bytes: &[u8]) -> usize {
    said(bytes.strip_prefix(PREFACE).unwrap_or(bytes)).answers.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_they_are_read() {
        let bytes = [request(1, "/a"), request(3, "/a"), frame(GOAWAY, 0, 0, &[0; 8]), request(1, "/a")].concat();
        let found = said(&bytes);
        assert_eq!(found, Said { answers: BTreeMap::from([(1, 2), (3, 1)]), has_said_goodbye: true });
        assert_eq!(frame(PING, 1, 2, &[9; 2]), [0, 0, 2, 6, 1, 0, 0, 0, 2, 9, 9]);
        assert_eq!(requests(&[greeting(), bytes].concat()), 2);
    }

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = all(1).iter().map(|flood| flood.name).collect();
        assert_eq!(names.len(), all(1).len());
    }
}
