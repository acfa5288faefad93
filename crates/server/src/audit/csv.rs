//! The log as CSV (RFC 4180), for spreadsheets: never a formula.
//!
//! A cell that a spreadsheet might calculate (it begins with `=`, `+`, `-`, `@`, a tab or a carriage return) gets a quote
//! in front. The last record is the signed checkpoint, so that a file that broke off is seen to have; only the other
//! format can be verified.

use countersign_proto::api::events::Event;

const NAMES: &str = "position,id,type,actor_type,actor_id,user_id,device_id,challenge_id,enrollment_id,api_client_id,\
                     request_id,created_at,data\r\n";

/// The names of the columns.
pub(super) fn header() -> Vec<u8> {
    NAMES.as_bytes().to_vec()
}

/// One event.
pub(super) fn row(event: &Event) -> Vec<u8> {
    let id = |id: Option<String>| id.unwrap_or_default();
    record(&[
        event.position.to_string(),
        event.id.to_string(),
        event.kind.clone(),
        event.actor.kind.clone(),
        id(event.actor.id.clone()),
        id(event.user_id.map(|id| id.to_string())),
        id(event.device_id.map(|id| id.to_string())),
        id(event.challenge_id.map(|id| id.to_string())),
        id(event.enrollment_id.map(|id| id.to_string())),
        id(event.api_client_id.map(|id| id.to_string())),
        event.request_id.clone(),
        event.created_at.to_string(),
        event.data.to_string(),
    ])
}

/// The last record: how many events there are, and the signed checkpoint over them.
pub(super) fn footer(size: u64, note: &str) -> Vec<u8> {
    let mut cells = vec![String::new(); 13];
    for (cell, value) in cells.iter_mut().zip([size.to_string(), String::new(), "checkpoint".to_owned()]) {
        *cell = value;
    }
    if let Some(last) = cells.last_mut() {
        note.clone_into(last);
    }
    record(&cells)
}

fn record(cells: &[String]) -> Vec<u8> {
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(",")).into_bytes()
}

fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_every_cell_is_one_cell() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("a,b", "\"a,b\""),
            ("a\nb", "\"a\nb\""),
            ("challenge.approved", "challenge.approved"),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
        assert_eq!(footer(7, "a\nb"), b"7,,checkpoint,,,,,,,,,,\"a\nb\"\r\n");
        assert_eq!(NAMES.split(',').count(), 13);
    }
}
