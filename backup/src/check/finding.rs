//! What a check finds.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::backend::{BackendError, Listed, Object, ObjectKind};
use crate::id::ObjectId;
use crate::pack::{Blob, BlobKind};
use crate::repository::{Damage, RepositoryError};

/// So many findings are kept; more are counted. A repository with more is to be replaced, not read about.
pub const FINDINGS_MAX: usize = 1000;
/// So many snapshots are named for a finding; more are counted.
pub const SNAPSHOTS_MAX: usize = 1000;
/// So many paths are named for a finding; more are counted.
pub const PATHS_MAX: usize = 20;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An object of the repository.
    Object(Object),
    /// A blob that snapshots need.
    Blob(Blob),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => write!(f, "{object}"),
            Self::Blob(Blob { kind: BlobKind::Data, id }) => write!(f, "chunk {id}"),
            Self::Blob(Blob { kind: BlobKind::Tree, id }) => write!(f, "tree {id}"),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is longer or shorter than what it should hold.
    Size {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// Its bytes are not those that it was named for.
    Name,
    /// It is there and the store cannot read it.
    Unreadable(String),
    /// It does not open, or is not what it should be.
    Damaged(String),
    /// The blobs that an index names in it overlap, or leave gaps.
    Overlap,
    /// Its own header names other blobs than the indexes do.
    Header,
    /// Snapshots need it and no index names it.
    NotIndexed,
    /// An entry of a folder lacks what it must have.
    Entry(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Size { expected, found } => write!(f, "has {found} bytes instead of {expected}"),
            Self::Name => f.write_str("has other bytes than it was named for"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Self::Damaged(why) => write!(f, "is damaged: {why}"),
            Self::Overlap => f.write_str("has blobs that overlap or leave gaps, as the index says"),
            Self::Header => f.write_str("has other blobs than the index says"),
            Self::NotIndexed => f.write_str("is needed and in no pack that an index names"),
            Self::Entry(why) => write!(f, "has an entry that cannot be restored: {why}"),
        }
    }
}

/// What a finding hurts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affected {
    /// Snapshots that cannot be restored as a whole; at most [`SNAPSHOTS_MAX`].
    pub snapshots: Vec<ObjectId>,
    /// How many more.
    pub more_snapshots: u64,
    /// Paths within them that are lost; at most [`PATHS_MAX`], each once.
    pub paths: Vec<PathBuf>,
    /// How many more.
    pub more_paths: u64,
}

impl Affected {
    pub(super) fn add_snapshot(&mut self, id: ObjectId) {
        // Snapshots are walked one after another: one that is named already is the last.
        if self.snapshots.last() == Some(&id) {
            return;
        }
        if self.snapshots.len() < SNAPSHOTS_MAX {
            self.snapshots.push(id);
        } else {
            self.more_snapshots += 1;
        }
    }

    fn add_path(&mut self, path: &std::path::Path) {
        if self.paths.iter().any(|known| known == path) {
            return;
        }
        if self.paths.len() < PATHS_MAX {
            self.paths.push(path.to_owned());
        } else {
            self.more_paths += 1;
        }
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// With what.
    pub subject: Subject,
    /// What. The first thing that was seen of it.
    pub fault: Fault,
    /// What it hurts.
    pub affected: Affected,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Affected { snapshots, more_snapshots, paths, .. } = &self.affected;
        write!(f, "{} {}", self.subject, self.fault)?;
        let count = snapshots.len() as u64 + more_snapshots;
        match (snapshots.last(), paths.first()) {
            (None, _) => Ok(()),
            (Some(last), None) => write!(f, "; affects {count} snapshots, the newest is {}", last.short()),
            (Some(last), Some(path)) => write!(
                f,
                "; affects {count} snapshots, the newest is {}; for example {}",
                last.short(),
                crate::name::quote(path.as_os_str())
            ),
        }
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Objects that were read.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Objects that are there.
    pub of_objects: u64,
    /// Bytes of them.
    pub of_bytes: u64,
}

/// What a check says.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong. None: the repository is clean.
    pub findings: Vec<Finding>,
    /// Findings past [`FINDINGS_MAX`].
    pub more_findings: u64,
    /// Packs that no index names: what a cut run left. Harmless; a prune removes them.
    pub leftovers: Vec<Listed>,
    /// How much was looked at.
    pub coverage: Coverage,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Findings that are being gathered.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    numbers: HashMap<Subject, u32>,
    more: u64,
}

impl Findings {
    /// Notes a fault; of a subject the first one stays. The number of the finding, unless there are too many.
    pub(super) fn note(&mut self, subject: Subject, fault: Fault) -> Option<u32> {
        if let Some(number) = self.numbers.get(&subject) {
            return Some(*number);
        }
        if self.list.len() >= FINDINGS_MAX {
            self.more += 1;
            return None;
        }
        let number = u32::try_from(self.list.len()).ok()?;
        self.numbers.insert(subject, number);
        self.list.push(Finding { subject, fault, affected: Affected::default() });
        Some(number)
    }

    pub(super) fn note_object(&mut self, kind: ObjectKind, id: ObjectId, fault: Fault) -> Option<u32> {
        self.note(Subject::Object(Object::new(kind, id)), fault)
    }

    /// Notes what an error says of an object. An error that says nothing of one is given back.
    pub(super) fn note_error(&mut self, error: RepositoryError) -> Result<Option<u32>, RepositoryError> {
        let (subject, fault) = fault_of(error)?;
        Ok(self.note(subject, fault))
    }

    pub(super) fn affects_snapshot(&mut self, number: u32, id: ObjectId) {
        if let Some(finding) = self.get_mut(number) {
            finding.affected.add_snapshot(id);
        }
    }

    pub(super) fn affects_path(&mut self, number: u32, path: &std::path::Path) {
        if let Some(finding) = self.get_mut(number) {
            finding.affected.add_path(path);
        }
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Finding> {
        self.list.get_mut(usize::try_from(number).ok()?)
    }

    /// Findings about objects of a kind.
    pub(super) fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = (u32, ObjectId)> + '_ {
        self.numbers.iter().filter_map(move |(subject, number)| match subject {
            Subject::Object(object) if object.kind == kind => Some((*number, object.id)),
            Subject::Object(_) | Subject::Blob(_) => None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_report(self, leftovers: Vec<Listed>, coverage: Coverage) -> Report {
        let Self { list: mut findings, more: more_findings, .. } = self;
        findings.sort_by_key(|finding| finding.subject);
        Report { findings, more_findings, leftovers, coverage }
    }
}

/// What an error says of an object; an error that says nothing of one is given back.
pub(super) fn fault_of(error: RepositoryError) -> Result<(Subject, Fault), RepositoryError> {
    let of = |object, fault| Ok((Subject::Object(object), fault));
    match error {
        RepositoryError::Backend(BackendError::Missing(object)) => of(object, Fault::Missing),
        RepositoryError::Backend(BackendError::Short(object)) => {
            of(object, Fault::Damaged("it is shorter than what the index says".to_owned()))
        }
        RepositoryError::Backend(BackendError::Io { doing: _, object, source }) => {
            of(object, Fault::Unreadable(source.to_string()))
        }
        RepositoryError::Damaged { object, damage: Damage::Name } => of(object, Fault::Name),
        RepositoryError::Damaged { object, damage } => of(object, Fault::Damaged(chain(&damage))),
        RepositoryError::NoBlob(blob) => Ok((Subject::Blob(blob), Fault::NotIndexed)),
        RepositoryError::NoRepository => of(Object::CONFIG, Fault::Missing),
        RepositoryError::Version(_) | RepositoryError::Polynomial => {
            of(Object::CONFIG, Fault::Damaged(error.to_string()))
        }
        RepositoryError::Backend(
            BackendError::Full { .. } | BackendError::Refused { .. } | BackendError::Unreachable(_),
        )
        | RepositoryError::Exists
        | RepositoryError::NoKey(_)
        | RepositoryError::Compress(_) => Err(error),
    }
}

/// An error's text with those of its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}
