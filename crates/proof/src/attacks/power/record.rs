//! What a server did to the files of one folder, in its order, as strace saw it.
//!
//! Memory that is shared through a file (`-shm`) is no part of it: SQLite makes it anew. Whatever is done to the folder
//! and is not understood here ends the attack: nothing may be missing. To understand one more call: its name in
//! [`CALLS`], its arm in `deed`.

use std::{collections::BTreeMap, sync::Arc};

use crate::ProofError;

/// The calls that change a file or make it safe; of others nothing is known, and the attack finds that out by comparing
/// what they came to with the files.
pub(super) const CALLS: &str = "trace=openat,creat,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,\
    copy_file_range,unlink,unlinkat,rename,renameat,renameat2,link,linkat,fsync,fdatasync,sync_file_range,msync";

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// A file was made, if there was none of this name.
    Made(String),
    /// A name was taken away.
    Gone(String),
    /// These bytes were written there.
    Write(String, usize, Arc<[u8]>),
    /// The file got this length.
    Length(String, usize),
    /// The file's contents are safe.
    Sync(String),
    /// The folder's names are safe.
    SyncFolder,
}

/// A deed that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When it began, in Unix microseconds.
    pub(super) at: i64,
    pub(super) deed: Deed,
}

/// Reads what strace wrote (`-f -ttt -y -xx`), in the order in which the calls returned. One that had not returned when
/// its process ended may have been done or not: it is taken as done, which no sync makes safe.
pub(super) fn parse(text: &str, folder: &str) -> Result<Vec<Event>, ProofError> {
    let (mut events, mut begun) = (Vec::new(), BTreeMap::<&str, (i64, &str)>::new());
    for line in text.lines() {
        let Some((process, at, call)) = head(line) else { continue };
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(process, (at, first));
        } else if let Some((_, rest)) = call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>")) {
            if let Some((at, first)) = begun.remove(process) {
                take(&mut events, at, &format!("{first}{rest}"), folder)?;
            }
        } else {
            take(&mut events, at, call, folder)?;
        }
    }
    for (at, first) in begun.into_values() {
        if first.starts_with("pwrite64") {
            let length = first.matches("\\x").count();
            take(&mut events, at, &format!("{first}) = {length}"), folder)?;
        }
    }
    Ok(events)
}

/// Process, time and the rest of a line.
fn head(line: &str) -> Option<(&str, i64, &str)> {
    let (process, rest) = line.split_once(' ')?;
    let (at, call) = rest.trim_start().split_once(' ')?;
    let (seconds, micros) = at.split_once('.')?;
    let at = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    Some((process, at, call))
}

fn take(events: &mut Vec<Event>, at: i64, call: &str, folder: &str) -> Result<(), ProofError> {
    let unknown = || {
        let shown: String = call.chars().take(200).collect();
        ProofError::Rig(format!("the record has what is not understood: {shown}"))
    };
    // `= ?`: its process was killed in it.
    let Some((call, result)) = call.rsplit_once(" = ") else { return Ok(()) };
    if result.starts_with('-') || result.starts_with('?') {
        return Ok(());
    }
    let (name, arguments) = call.split_once('(').ok_or_else(unknown)?;
    if let Some(found) = deed(name, closed(arguments), result, folder).ok_or_else(unknown)? {
        events.extend(found.into_iter().map(|deed| Event { at, deed }));
    }
    Ok(())
}

/// Without the parenthesis at the end, and the spaces after it.
fn closed(arguments: &str) -> &str {
    let arguments = arguments.trim_end();
    arguments.strip_suffix(')').unwrap_or(arguments)
}

/// `None`: it is not understood; `Some(None)`: it does not concern the folder.
fn deed(call: &str, arguments: &str, result: &str, folder: &str) -> Option<Option<Vec<Deed>>> {
    let mut parts = arguments.split(", ");
    let mut next = || parts.next().unwrap_or_default();
    match call {
        "openat" => {
            let Place::File(name) = place(result, folder)? else { return Some(None) };
            let (_, _, flags) = (next(), next(), next());
            let made = flags.contains("O_CREAT").then(|| Deed::Made(name.clone()));
            let emptied = flags.contains("O_TRUNC").then_some(Deed::Length(name, 0));
            Some(Some(made.into_iter().chain(emptied).collect()))
        }
        "unlink" => match place(next(), folder)? {
            Place::File(name) => Some(Some(vec![Deed::Gone(name)])),
            _ => Some(None),
        },
        "pwrite64" => {
            let Place::File(name) = place(next(), folder)? else { return Some(None) };
            let mut bytes = unhex(next().trim_matches('"'))?;
            let (_, at) = (next(), next().parse().ok()?);
            bytes.truncate(result.trim().parse().ok()?);
            Some(Some(vec![Deed::Write(name, at, bytes.into())]))
        }
        "ftruncate" => {
            let Place::File(name) = place(next(), folder)? else { return Some(None) };
            Some(Some(vec![Deed::Length(name, next().parse().ok()?)]))
        }
        "fsync" | "fdatasync" => match place(next(), folder)? {
            Place::File(name) => Some(Some(vec![Deed::Sync(name)])),
            Place::Folder => Some(Some(vec![Deed::SyncFolder])),
            Place::Elsewhere => Some(None),
        },
        // Calls that SQLite does not make on these files: if one day it does, this has to learn them.
        _ => {
            let spelled: String = folder.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            (!arguments.contains(&spelled)).then_some(None)
        }
    }
}

/// Where a call went.
enum Place {
    File(String),
    Folder,
    Elsewhere,
}

/// Of a descriptor with its path (`7<\x2f…>`), or a path (`"\x2f…"`).
fn place(text: &str, folder: &str) -> Option<Place> {
    let text = text.trim();
    let path = match text.split_once('<') {
        // A file that has no name any more is nobody's after a power cut.
        Some((_, path)) if path.ends_with("(deleted)") => return Some(Place::Elsewhere),
        Some((_, path)) => path.trim_end_matches('>'),
        None => text.trim_matches('"'),
    };
    // Sockets and the like are not spelled in bytes.
    let Some(path) = unhex(path) else { return Some(Place::Elsewhere) };
    let path = String::from_utf8(path).ok()?;
    if path == folder {
        return Some(Place::Folder);
    }
    let name = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    Some(match name {
        Some(name) if !name.ends_with("-shm") => Place::File(name.to_owned()),
        _ => Place::Elsewhere,
    })
}

/// `\x41\x42` as bytes.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split("\\x");
    if parts.next() != Some("") {
        return None;
    }
    parts.map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As strace spells a text.
    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    #[test]
    fn calls_are_understood_whole_and_in_two_parts() {
        let (db, wal, folder) = (hex("/d/a.db"), hex("/d/a.db-wal"), hex("/d"));
        let text = format!(
            "7 1700000000.000001 openat(AT_FDCWD<{folder}>, \"{wal}\", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 4<{wal}>\n\
             7 1700000000.000002 pwrite64(4<{wal}>, \"{ab}\", 2, 32 <unfinished ...>\n\
             8 1700000000.000003 fdatasync(5<{folder}>) = 0\n\
             7 1700000000.000004 <... pwrite64 resumed>) = 2\n\
             7 1700000000.000005 fdatasync(4<{wal}>)  = 0\n\
             7 1700000000.000006 ftruncate(3<{db}>, 4096) = 0\n\
             7 1700000000.000007 unlink(\"{wal}\") = 0\n\
             7 1700000000.000008 pwrite64(9<{db}>, \"{ab}\", 2, 0) = -1 EIO (Input/output error)\n\
             7 1700000000.000009 pwrite64(9<{shm}>, \"{ab}\", 2, 0) = 2\n\
             7 1700000000.000010 pwrite64(3<{db}>, \"{ab}\", 2, 8 <unfinished ...>\n\
             7 1700000000.000011 +++ killed by SIGKILL +++\n",
            ab = hex("ab"),
            shm = hex("/d/a.db-shm"),
        );
        let events = parse(&text, "/d").unwrap();
        let (db, wal) = ("a.db".to_owned(), "a.db-wal".to_owned());
        let deeds: Vec<_> = events.iter().map(|event| event.deed.clone()).collect();
        let ab: Arc<[u8]> = b"ab".as_slice().into();
        assert_eq!(
            deeds,
            [
                Deed::Made(wal.clone()),
                Deed::SyncFolder,
                Deed::Write(wal.clone(), 32, Arc::clone(&ab)),
                Deed::Sync(wal.clone()),
                Deed::Length(db.clone(), 4096),
                Deed::Gone(wal),
                Deed::Write(db, 8, ab),
            ]
        );
        assert_eq!(events[2].at, 1_700_000_000_000_002, "when it began");
    }

    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        let of = |path: &str| {
            let line = format!("7 1700000000.000001 fallocate(4<{}>, 0, 0, 4096) = 0\n", hex(path));
            parse(&line, "/d")
        };
        assert!(of("/d/a.db").is_err());
        assert_eq!(of("/e/a.db").unwrap(), []);
    }
}
