//! The journal of an apply: what is to be put back, then how far it came, a checksum and a record in JSON a line.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use campanile_common::id::Digest;
use serde::{Deserialize, Serialize};

use super::snapshot::Was;
use super::{Attempt, UndoError};
use crate::config::step::Undo;
use crate::os::file;

/// Format of the first line.
const FORMAT: u16 = 1;

/// Something that an apply does, with what undoes it; in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// A path is changed.
    Path { path: String, was: Was },
    /// A program of a later item changes this path.
    Kept { path: String, was: Was },
    /// A program runs.
    Program { undo: Undo },
}

/// How far an apply came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The item of this index is being done.
    Doing(u32),
    /// All is done, and confirmed where it must be: nothing is undone any more.
    Committed,
}

impl Record {
    /// What a path was can be seen later; that a program ran, and how it ends, cannot.
    fn is_synced(&self, items: &[Item]) -> bool {
        match self {
            Self::Doing(index) => {
                let item = usize::try_from(*index).ok().and_then(|index| items.get(index));
                matches!(item, Some(Item::Program { .. }) | None)
            }
            Self::Committed => true,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u16,
    number: u64,
    digest: Digest,
    nonce: u64,
    is_enforcement: bool,
    items: usize,
}

/// The file, open at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    path: std::path::PathBuf,
    file: File,
    items: Vec<Item>,
}

fn line(text: &str) -> String {
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

/// The record in a line, when it is whole.
fn checked(line: &str) -> Option<&str> {
    let (sum, text) = line.split_once(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(text.as_bytes())).then_some(text)
}

impl Journal {
    /// A new one that appears as a whole, synced.
    pub(super) fn begin(path: &Path, attempt: &Attempt, items: &[Item]) -> Result<Self, UndoError> {
        let failed = |source| UndoError::Write { path: path.to_owned(), source };
        let (number, digest) = attempt.named;
        let header = Header {
            format: FORMAT,
            number,
            digest,
            nonce: attempt.nonce,
            is_enforcement: attempt.is_enforcement,
            items: items.len(),
        };
        let json = |source: serde_json::Error| failed(io::Error::other(source));
        let mut text = line(&serde_json::to_string(&header).map_err(json)?);
        for item in items {
            text.push_str(&line(&serde_json::to_string(item).map_err(json)?));
        }
        file::replace(path, text.as_bytes()).map_err(failed)?;
        let file = File::options().append(true).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, items: items.to_vec() })
    }

    /// Reads one; none where there is none. A last line that was cut short never came to be.
    #[expect(clippy::type_complexity, reason = "the parts of a journal, taken apart by its only caller")]
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Attempt, Vec<Item>, Vec<Record>)>, UndoError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(UndoError::Read { path: path.to_owned(), source }),
        };
        let damaged = |line| UndoError::Damaged { path: path.to_owned(), line };
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.split_inclusive('\n').enumerate().peekable();
        let mut next = || {
            let (index, found) = lines.next()?;
            let whole = found.strip_suffix('\n').and_then(checked);
            Some((index + 1, whole.map(str::to_owned), lines.peek().is_none(), found.len()))
        };
        let Some((_, Some(first), ..)) = next() else { return Err(damaged(1)) };
        let header: Header = serde_json::from_str(&first).map_err(|_| damaged(1))?;
        if header.format != FORMAT {
            return Err(damaged(1));
        }
        let mut items = Vec::new();
        for _ in 0..header.items {
            let Some((number, whole, ..)) = next() else { return Err(damaged(items.len() + 2)) };
            let item = whole.and_then(|text| serde_json::from_str(&text).ok());
            items.push(item.ok_or_else(|| damaged(number))?);
        }
        let (mut records, mut cut) = (Vec::new(), 0);
        while let Some((number, whole, is_last, length)) = next() {
            match whole.and_then(|text| serde_json::from_str(&text).ok()) {
                Some(record) => records.push(record),
                None if is_last => cut = length,
                None => return Err(damaged(number)),
            }
        }
        let failed = |source| UndoError::Write { path: path.to_owned(), source };
        let file = File::options().append(true).open(path).map_err(failed)?;
        if cut > 0 {
            let whole = u64::try_from(text.len().saturating_sub(cut)).unwrap_or(0);
            file.set_len(whole).map_err(failed)?;
        }
        let attempt = Attempt {
            named: (header.number, header.digest),
            nonce: header.nonce,
            is_enforcement: header.is_enforcement,
        };
        let journal = Self { path: path.to_owned(), file, items: items.clone() };
        Ok(Some((journal, attempt, items, records)))
    }

    pub(super) fn append(&mut self, record: &Record) -> Result<(), UndoError> {
        let text = serde_json::to_string(record).expect("a record has no odd keys");
        let written = self
            .file
            .write_all(line(&text).as_bytes())
            .and_then(|()| if record.is_synced(&self.items) { self.file.sync_data() } else { Ok(()) });
        written.map_err(|source| UndoError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt { named: (3, Digest::from_bytes([3; 32])), nonce: 99, is_enforcement: false }
    }

    fn items() -> Vec<Item> {
        let path = Item::Path { path: "/etc/motd".to_owned(), was: Was::Absent };
        vec![path, Item::Program { undo: Undo::Left("it ran".to_owned()) }]
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert!(Journal::open(&path).unwrap().is_none());
        let mut journal = Journal::begin(&path, &attempt(), &items()).unwrap();
        journal.append(&Record::Doing(0)).unwrap();
        journal.append(&Record::Doing(1)).unwrap();
        let (mut journal, read, found, records) = Journal::open(&path).unwrap().unwrap();
        assert_eq!((read, found), (attempt(), items()));
        assert_eq!(records, [Record::Doing(0), Record::Doing(1)]);
        journal.append(&Record::Committed).unwrap();
        assert_eq!(Journal::open(&path).unwrap().unwrap().3.last(), Some(&Record::Committed));
    }

    #[test]
    fn a_journal_cut_short_at_any_byte_is_read_to_its_last_whole_record_or_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::begin(&path, &attempt(), &items()).unwrap();
        let begun = std::fs::read(&path).unwrap().len();
        journal.append(&Record::Doing(0)).unwrap();
        journal.append(&Record::Committed).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let opened = Journal::open(&path);
            if length < begun {
                assert!(matches!(opened, Err(UndoError::Damaged { .. })), "{length}");
            } else {
                let (mut journal, _, _, records) = opened.unwrap().unwrap();
                assert!(!records.contains(&Record::Committed), "{length}");
                // What comes after the cut is whole again.
                journal.append(&Record::Doing(1)).unwrap();
                assert_eq!(Journal::open(&path).unwrap().unwrap().3.last(), Some(&Record::Doing(1)));
            }
        }
    }

    #[test]
    fn a_changed_byte_before_the_last_line_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::begin(&path, &attempt(), &items()).unwrap();
        journal.append(&Record::Doing(0)).unwrap();
        journal.append(&Record::Committed).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        for index in 0..last {
            let mut changed = whole.clone();
            changed[index] ^= 0x10;
            std::fs::write(&path, &changed).unwrap();
            assert!(matches!(Journal::open(&path), Err(UndoError::Damaged { .. })), "{index}");
        }
    }
}
