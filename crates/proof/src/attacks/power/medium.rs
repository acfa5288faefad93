//! The files of one folder as a disk has them: what was synced, and what was only written.
//!
//! A file's contents are safe by `fsync` or `fdatasync` of that file, its name, or that it has none any more, by one of
//! the folder, and by nothing else: less than any file system promises. Whatever is not safe when the power goes is kept,
//! lost or torn, each write for itself, in any order. Never touches a real file. To add a thing that may go wrong: a
//! variant of [`Temper`], or a throw in `thrown`.

use std::{collections::BTreeMap, sync::Arc};

use super::record::{Deed, Event};
use crate::dice::Dice;

/// Writes are torn at multiples of this, as disks write.
const SECTOR: usize = 512;

/// The files by their names.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What a disk makes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temper {
    /// All of it is lost.
    Strict,
    /// All of it is there: it was lucky.
    Lucky,
    /// All is there but the first half of the writes: later ones overtook it.
    Overtaken,
    /// So many of a hundred are there, whole or torn.
    Mixed(u64),
    /// All of it is there in part.
    Torn,
}

/// In turn.
const TEMPERS: [Temper; 6] =
    [Temper::Strict, Temper::Mixed(50), Temper::Torn, Temper::Overtaken, Temper::Mixed(85), Temper::Lucky];

impl Temper {
    /// The so manieth of all.
    pub(super) fn number(number: usize) -> Self {
        TEMPERS.get(number % TEMPERS.len()).copied().unwrap_or(Self::Strict)
    }
}

/// What became of the writes that were not synced.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Fates {
    pub(super) kept: u64,
    pub(super) lost: u64,
    pub(super) torn: u64,
}

/// A disk with its cache.
#[derive(Debug, Clone)]
pub(super) struct Medium {
    files: Vec<File>,
    /// Names as they are safe.
    names: BTreeMap<String, usize>,
    /// Names as programs see them.
    seen: BTreeMap<String, usize>,
    /// What has happened to names since the folder was synced: made (whose), or taken away.
    renamed: Vec<(String, Option<usize>)>,
    /// Syncs are acknowledged, and nothing is done.
    lies: bool,
}

#[derive(Debug, Clone, Default)]
struct File {
    safe: Vec<u8>,
    unsafe_changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Arc<[u8]>),
    Length(usize),
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => write(contents, *at, bytes),
            Self::Length(length) => contents.resize(*length, 0),
        }
    }
}

fn write(contents: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if contents.len() < end {
        contents.resize(end, 0);
    }
    if let Some(place) = contents.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

impl Medium {
    /// A disk on which these files are safe.
    pub(super) fn new(files: &Files) -> Self {
        let names: BTreeMap<_, _> = files.keys().cloned().zip(0..).collect();
        let files = files.values().map(|safe| File { safe: safe.clone(), unsafe_changes: Vec::new() }).collect();
        Self { files, seen: names.clone(), names, renamed: Vec::new(), lies: false }
    }

    /// From now on it says of each sync that it is done, and does not do it.
    pub(super) fn lie(&mut self) {
        self.lies = true;
    }

    /// Does what the server did.
    pub(super) fn play(&mut self, event: &Event) {
        match &event.deed {
            Deed::Made(name) if !self.seen.contains_key(name) => {
                let number = self.files.len();
                self.files.push(File::default());
                self.seen.insert(name.clone(), number);
                self.renamed.push((name.clone(), Some(number)));
            }
            Deed::Made(_) => {}
            Deed::Gone(name) => {
                self.seen.remove(name);
                self.renamed.push((name.clone(), None));
            }
            Deed::Write(name, at, bytes) => self.change(name, Change::Write(*at, Arc::clone(bytes))),
            Deed::Length(name, length) => self.change(name, Change::Length(*length)),
            Deed::Sync(_) | Deed::SyncFolder if self.lies => {}
            Deed::Sync(name) => {
                if let Some(file) = self.seen.get(name).and_then(|number| self.files.get_mut(*number)) {
                    for change in std::mem::take(&mut file.unsafe_changes) {
                        change.apply(&mut file.safe);
                    }
                }
            }
            Deed::SyncFolder => {
                self.renamed.clear();
                self.names.clone_from(&self.seen);
            }
        }
    }

    fn change(&mut self, name: &str, change: Change) {
        if let Some(file) = self.seen.get(name).and_then(|number| self.files.get_mut(*number)) {
            file.unsafe_changes.push(change);
        }
    }

    /// How many writes are not safe.
    pub(super) fn at_stake(&self) -> usize {
        self.files.iter().map(|file| file.unsafe_changes.len()).sum::<usize>() + self.renamed.len()
    }

    /// As programs see it, while the power is on.
    pub(super) fn seen(&self) -> Files {
        let whole = |number: &usize| {
            let file = self.files.get(*number)?;
            let mut contents = file.safe.clone();
            file.unsafe_changes.iter().for_each(|change| change.apply(&mut contents));
            Some(contents)
        };
        self.seen.iter().filter_map(|(name, number)| Some((name.clone(), whole(number)?))).collect()
    }

    /// As it is found after a power cut now.
    pub(super) fn after_a_power_cut(&self, temper: Temper, dice: &mut Dice, fates: &mut Fates) -> Files {
        let mut names = self.names.clone();
        for (name, number) in &self.renamed {
            let is_there = match temper {
                Temper::Strict => false,
                Temper::Lucky => true,
                _ => dice.percent(50),
            };
            match number {
                Some(number) if is_there => drop(names.insert(name.clone(), *number)),
                None if is_there => drop(names.remove(name)),
                _ => {}
            }
        }
        let mut found = Files::new();
        for (name, number) in names {
            if let Some(file) = self.files.get(number) {
                found.insert(name, file.thrown(temper, dice, fates));
            }
        }
        found
    }
}

impl File {
    fn thrown(&self, temper: Temper, dice: &mut Dice, fates: &mut Fates) -> Vec<u8> {
        let mut contents = self.safe.clone();
        let half = self.unsafe_changes.len().div_ceil(2);
        let mut there = Vec::new();
        for (number, change) in self.unsafe_changes.iter().enumerate() {
            let (is_there, is_torn) = match temper {
                Temper::Strict => (false, false),
                Temper::Lucky => (true, false),
                Temper::Overtaken => (number >= half, false),
                Temper::Mixed(percent) => (dice.percent(percent), dice.percent(25)),
                Temper::Torn => (true, true),
            };
            match change {
                Change::Write(at, bytes) if is_there && is_torn => {
                    fates.torn += 1;
                    there.extend(sectors(*at, bytes).into_iter().filter(|_| dice.percent(50)));
                }
                _ if is_there => {
                    fates.kept += 1;
                    there.push(change.clone());
                }
                _ => {
                    fates.lost += 1;
                    // The file's length may have reached the disk without what was written.
                    if let (Change::Write(at, bytes), true) = (change, dice.percent(25) && temper != Temper::Strict) {
                        let end = at.saturating_add(bytes.len()).max(contents.len());
                        contents.resize(end, 0);
                    }
                }
            }
        }
        if temper != Temper::Lucky && dice.percent(50) {
            shuffle(&mut there, dice);
        }
        there.iter().for_each(|change| change.apply(&mut contents));
        contents
    }
}

/// A write, cut where a disk's sectors end.
fn sectors(at: usize, bytes: &[u8]) -> Vec<Change> {
    let (mut pieces, mut at, mut left) = (Vec::new(), at, bytes);
    while !left.is_empty() {
        let (piece, rest) = left.split_at(left.len().min(SECTOR - at % SECTOR));
        pieces.push(Change::Write(at, piece.into()));
        (at, left) = (at.saturating_add(piece.len()), rest);
    }
    pieces
}

fn shuffle<T>(all: &mut [T], dice: &mut Dice) {
    for last in (1..all.len()).rev() {
        let other = usize::try_from(dice.below(last as u64 + 1)).unwrap_or(0);
        all.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(medium: &mut Medium, deeds: impl IntoIterator<Item = Deed>) {
        deeds.into_iter().for_each(|deed| medium.play(&Event { at: 0, deed }));
    }

    fn wrote(name: &str, at: usize, bytes: &[u8]) -> Deed {
        Deed::Write(name.to_owned(), at, bytes.into())
    }

    fn cut(medium: &Medium, temper: Temper) -> Files {
        medium.after_a_power_cut(temper, &mut Dice::new(1), &mut Fates::default())
    }

    fn disk() -> Medium {
        Medium::new(&Files::from([("db".to_owned(), b"old".to_vec())]))
    }

    #[test]
    fn what_was_synced_is_there_and_nothing_else_has_to_be() {
        let mut medium = disk();
        play(&mut medium, [wrote("db", 0, b"new"), Deed::Sync("db".to_owned()), wrote("db", 3, b"er")]);
        assert_eq!(cut(&medium, Temper::Strict)["db"], b"new");
        assert_eq!(cut(&medium, Temper::Lucky)["db"], b"newer");
        assert_eq!((medium.seen()["db"].as_slice(), medium.at_stake()), (&b"newer"[..], 1));
    }

    #[test]
    fn a_name_is_safe_with_its_folder_only() {
        let mut medium = disk();
        let wal = "wal".to_owned();
        play(&mut medium, [Deed::Made(wal.clone()), wrote("wal", 0, b"x"), Deed::Sync(wal.clone())]);
        assert!(!cut(&medium, Temper::Strict).contains_key("wal"));
        play(&mut medium, [Deed::SyncFolder, Deed::Gone(wal)]);
        assert_eq!(cut(&medium, Temper::Strict)["wal"], b"x");
        assert!(!cut(&medium, Temper::Lucky).contains_key("wal") && !medium.seen().contains_key("wal"));
    }

    #[test]
    fn a_disk_that_lies_keeps_nothing() {
        let mut medium = disk();
        medium.lie();
        play(&mut medium, [wrote("db", 0, b"new"), Deed::Sync("db".to_owned())]);
        assert_eq!(cut(&medium, Temper::Strict)["db"], b"old");
    }

    #[test]
    fn a_write_is_torn_where_a_sector_ends() {
        let pieces = sectors(500, &[7; 1_036]);
        let cut: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                Change::Write(at, bytes) => (*at, bytes.len()),
                Change::Length(_) => (0, 0),
            })
            .collect();
        assert_eq!(cut, [(500, 12), (512, 512), (1_024, 512)]);
        let mut medium = disk();
        play(&mut medium, [wrote("db", 0, &[7; 64 * SECTOR])]);
        let torn = &cut_of(&medium);
        assert!(torn.chunks(SECTOR).any(|sector| sector[3..] == [7; SECTOR - 3]));
        assert!(torn.chunks(SECTOR).any(|sector| sector[3..].iter().all(|byte| *byte == 0)));
    }

    fn cut_of(medium: &Medium) -> Vec<u8> {
        cut(medium, Temper::Torn).remove("db").unwrap()
    }

    #[test]
    fn a_shorter_file_is_one_more_change() {
        let mut medium = disk();
        play(&mut medium, [Deed::Length("db".to_owned(), 1)]);
        assert_eq!((cut(&medium, Temper::Strict)["db"].len(), cut(&medium, Temper::Lucky)["db"].len()), (3, 1));
    }
}
