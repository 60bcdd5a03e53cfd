//! The receipt journal of one node: lines with checksums, appended, synced where it matters, rewritten when long.
//!
//! A journal and not the state store: a node may have 10^5 packs, and a pack must cost no more than two syncs, its own
//! and its folder's. So the receipt of a pack is written and not synced; a power cut may lose it, and the object, which
//! is durable, then gets a new receipt with a *later* time: it becomes younger, never older. What decides (snapshots,
//! deletions, holds) is synced before it counts. After a sync the next line says so; damage before such a line is
//! damage, behind the last one it is the end of what was written.

#![expect(clippy::disallowed_methods, reason = "an edge: the journal is a file")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use campanile_common::id::NodeId;

use super::record::Record;

/// Begins every journal, before its format and its node.
const NAME: &str = "campanile-receipts";
/// Newest format.
const FORMAT: u16 = 1;

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("cannot use receipt journal {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a journal of this node.
    #[error("receipt journal {path} is not of node {node}; restore it from a self-backup")]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Whose it should be.
        node: NodeId,
    },
    /// Of a later program.
    #[error(
        "receipt journal {path} has format {found}, newest known is {FORMAT}; install the newer aggregator"
    )]
    TooNew {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// Damaged within what was synced.
    #[error("receipt journal {path} is damaged at byte {at}; restore it from a self-backup")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// In bytes from its beginning.
        at: usize,
    },
    /// Objects without a journal.
    #[error("receipt journal {path} is gone, and there are objects; restore it from a self-backup")]
    Lost {
        /// Where.
        path: PathBuf,
    },
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    /// Something is written that is not synced.
    is_dirty: bool,
    /// The last thing that happened was a sync, which no line tells yet.
    is_mark_due: bool,
}

/// What was read.
pub(super) struct Read {
    pub(super) journal: Journal,
    pub(super) records: Vec<Record>,
    /// Bytes behind the last line that can be read; they were cut off.
    pub(super) cut: usize,
}

fn header(node: NodeId) -> String {
    format!("{NAME} {FORMAT} {node}\n")
}

/// The format that a journal says it has.
fn format_of(bytes: &[u8]) -> Option<u16> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let (format, _) = std::str::from_utf8(line).ok()?.strip_prefix(NAME)?.trim_start().split_once(' ')?;
    format.parse().ok()
}

impl Journal {
    /// Makes an empty one, durably.
    pub(super) fn create(path: &Path, node: NodeId) -> Result<Self, JournalError> {
        write_new(path, header(node).as_bytes())?;
        Self::append_to(path)
    }

    fn append_to(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).open(path).map_err(failed(path))?;
        let length = file.metadata().map_err(failed(path))?.len();
        Ok(Self { path: path.to_owned(), file, length, is_dirty: false, is_mark_due: true })
    }

    /// Whether there is one.
    pub(super) fn exists(path: &Path) -> Result<bool, JournalError> {
        path.try_exists().map_err(failed(path))
    }

    /// Reads all of it and cuts off what was not written to its end.
    pub(super) fn open(path: &Path, node: NodeId) -> Result<Read, JournalError> {
        let mut bytes = Vec::new();
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed(path))?;
        file.read_to_end(&mut bytes).map_err(failed(path))?;
        if let Some(found) = format_of(&bytes).filter(|found| *found > FORMAT) {
            return Err(JournalError::TooNew { path: path.to_owned(), found });
        }
        let Some(lines) = bytes.strip_prefix(header(node).as_bytes()) else {
            return Err(JournalError::Foreign { path: path.to_owned(), node });
        };
        let start = bytes.len() - lines.len();
        let (records, used) = read_lines(lines);
        let rest = &lines[used..];
        if holds_mark(rest) {
            return Err(JournalError::Damaged { path: path.to_owned(), at: start + used });
        }
        if !rest.is_empty() {
            let length = u64::try_from(start + used).unwrap_or(u64::MAX);
            file.set_len(length).and_then(|()| file.sync_all()).map_err(failed(path))?;
        }
        Ok(Read { journal: Self::append_to(path)?, records, cut: rest.len() })
    }

    /// Writes lines; they may be lost in a power cut until the next sync.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        if self.is_mark_due {
            bytes.extend(Record::Synced.to_line());
        }
        bytes.extend(records.iter().flat_map(Record::to_line));
        self.is_dirty = true;
        if let Err(source) = self.file.write_all(&bytes) {
            // Half a line would take what is written behind it along.
            drop(self.file.set_len(self.length));
            return Err(JournalError::Io { path: self.path.clone(), source });
        }
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.is_mark_due = false;
        Ok(())
    }

    /// Everything that was written is durable when this returns.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.is_dirty {
            self.file.sync_data().map_err(failed(&self.path))?;
            (self.is_dirty, self.is_mark_due) = (false, true);
        }
        Ok(())
    }

    /// Replaces everything by `records`.
    pub(super) fn rewrite(self, node: NodeId, records: &[Record]) -> Result<Self, JournalError> {
        let mut bytes = header(node).into_bytes();
        bytes.extend(records.iter().flat_map(Record::to_line));
        write_new(&self.path, &bytes)?;
        Self::append_to(&self.path)
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path: path.clone(), source }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let write = || {
        let temporary = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(failed(path))
}

/// Lines up to the first that cannot be read, and the bytes that they take.
fn read_lines(bytes: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut used) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = line.strip_suffix(b"\n").and_then(Record::from_line) else { break };
        used += line.len();
        if record != Record::Synced {
            records.push(record);
        }
    }
    (records, used)
}

fn holds_mark(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| Record::from_line(line) == Some(Record::Synced))
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::{StoredKind, StoredObject};
    use campanile_common::id::Digest;
    use campanile_common::time::Timestamp;

    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 8]);

    fn record(number: u8) -> Record {
        let object = StoredObject::new(StoredKind::Pack, Digest::from_bytes([number; 32]));
        Record::Stored { object, size: 1, at: Timestamp::from_millis(5), bound: None }
    }

    fn journal() -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts");
        let journal = Journal::create(&path, NODE).unwrap();
        (folder, path, journal)
    }

    #[test]
    fn what_was_written_reads_back() {
        let (_folder, path, mut journal) = journal();
        journal.append(&[record(1), record(2)]).unwrap();
        journal.sync().unwrap();
        journal.append(&[record(3)]).unwrap();
        let read = Journal::open(&path, NODE).unwrap();
        assert_eq!(read.records, [record(1), record(2), record(3)]);
        assert_eq!(read.cut, 0);
    }

    #[test]
    fn a_cut_end_is_no_damage_and_what_follows_is_written_behind_it() {
        let (_folder, path, mut journal) = journal();
        journal.append(&[record(1)]).unwrap();
        journal.sync().unwrap();
        journal.append(&[record(2)]).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
        let mut read = Journal::open(&path, NODE).unwrap();
        assert_eq!(read.records, [record(1)]);
        assert!(read.cut > 0);
        read.journal.append(&[record(4)]).unwrap();
        assert_eq!(Journal::open(&path, NODE).unwrap().records, [record(1), record(4)]);
    }

    #[test]
    fn damage_before_a_sync_is_named_and_never_read_as_an_end() {
        let (_folder, path, mut journal) = journal();
        journal.append(&[record(1), record(2)]).unwrap();
        journal.sync().unwrap();
        journal.append(&[record(3)]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let place = bytes.windows(4).position(|window| window == b"0202").unwrap();
        bytes[place] = b'7';
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Journal::open(&path, NODE), Err(JournalError::Damaged { .. })));
    }

    #[test]
    fn a_journal_of_another_node_is_refused() {
        let (_folder, path, _journal) = journal();
        let other = NodeId::from_bytes([2; 8]);
        assert!(matches!(Journal::open(&path, other), Err(JournalError::Foreign { .. })));
    }

    #[test]
    fn a_journal_of_a_later_format_is_refused_and_left_as_it_is() {
        let (_folder, path, _journal) = journal();
        let newer = format!("campanile-receipts 2 {NODE}\nwhatever it is\n");
        std::fs::write(&path, &newer).unwrap();
        assert!(matches!(Journal::open(&path, NODE), Err(JournalError::TooNew { found: 2, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    }

    #[test]
    fn a_rewritten_journal_holds_what_it_was_given() {
        let (_folder, path, mut journal) = journal();
        journal.append(&[record(1), record(2)]).unwrap();
        let mut journal = journal.rewrite(NODE, &[record(2)]).unwrap();
        journal.append(&[record(3)]).unwrap();
        assert_eq!(Journal::open(&path, NODE).unwrap().records, [record(2), record(3)]);
    }
}
