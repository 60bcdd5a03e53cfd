//! `backup list --files` and `backup diff`: what is in a snapshot, and what differs between two.
//!
//! As an order's output these lists are kept with it, so they are bounded; what is beyond is counted and said.

use std::path::{Path, PathBuf};

use campanile_backup::diff::{self, Difference};
use campanile_backup::list::{self, Choice, Selection, Step, Walk};
use campanile_backup::tree::{Node, NodeKind};
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb, ChangeLine, EntryLine};

use super::error::{BackupError, chain};
use super::output::Output;
use super::place::{Done, Of, Program};
use super::restore::chosen;

/// Most bytes of a list: what an order keeps, less what else is said.
const LISTED_BYTES_MAX: usize = 768 * 1024;
/// Folders that are named when they cannot be read; the others are counted.
const UNREAD_SHOWN_MAX: u64 = 200;

impl Program {
    /// Lists a snapshot's files; those at and below `path`, where one is named.
    pub(super) fn files(&self, of: &Of, snapshot: &str, path: Option<&Path>) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.started(BackupVerb::Files, job.as_ref().map(|job| &job.name), &target);
        let repository = self.open(&target)?;
        let (id, snapshot) = chosen(&repository, job.as_ref(), snapshot)?;
        let index = repository.load_index()?;
        if let Some(path) = path {
            list::lookup(&repository, &index, snapshot.tree, path)?;
        }
        let only: Vec<PathBuf> = path.map(Path::to_owned).into_iter().collect();
        let mut listed = Listed::new(&self.output);
        for step in Walk::new(&repository, &index, snapshot.tree, Selection::new(&only, &[]))? {
            match step {
                Ok(Step::Enter { path, node, choice: Choice::Chosen }) => listed.entry(&path, &node),
                Ok(Step::Entry { folder, node }) => listed.entry(&folder.join(&node.name), &node),
                Ok(Step::Enter { .. } | Step::Leave { .. }) => {}
                Err(error) => listed.unread(error.path(), &error),
            }
        }
        Ok(listed.done(repository.config().id.to_string(), id.to_string()))
    }

    /// Lists what differs between two snapshots.
    pub(super) fn diff(&self, of: &Of, before: &str, after: &str) -> Result<Done, BackupError> {
        let (target, job) = self.target(of)?;
        self.started(BackupVerb::Diff, job.as_ref().map(|job| &job.name), &target);
        let repository = self.open(&target)?;
        let (_, before) = chosen(&repository, job.as_ref(), before)?;
        let (id, after) = chosen(&repository, job.as_ref(), after)?;
        let index = repository.load_index()?;
        let mut listed = Listed::new(&self.output);
        for step in diff::Diff::new(&repository, &index, before.tree, after.tree)? {
            match step {
                Ok(change) => listed.line(BackupLine::Change(change_line(&change))),
                Err(error) => listed.unread(error.path(), &error),
            }
        }
        Ok(listed.done(repository.config().id.to_string(), id.to_string()))
    }
}

/// A list as far as it is told.
struct Listed<'a> {
    output: &'a Output,
    figures: BackupFigures,
    bytes: usize,
    left_out: u64,
}

impl<'a> Listed<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, figures: BackupFigures::default(), bytes: 0, left_out: 0 }
    }

    fn entry(&mut self, path: &Path, node: &Node) {
        self.figures.bytes = self.figures.bytes.saturating_add(node.size);
        self.line(BackupLine::Entry(entry_line(path, node)));
    }

    fn line(&mut self, line: BackupLine) {
        self.figures.files += 1;
        // Nothing is told behind a gap: what is listed is the begin of the list.
        if self.left_out == 0 {
            self.bytes += serde_json::to_vec(&line).map_or(0, |line| line.len() + 1);
        }
        if self.bytes > LISTED_BYTES_MAX {
            self.left_out += 1;
        } else {
            self.output.line(&line);
        }
    }

    fn unread(&mut self, path: &Path, error: &(dyn std::error::Error + 'static)) {
        self.figures.unread += 1;
        if self.figures.unread <= UNREAD_SHOWN_MAX {
            let path = absolute(path);
            self.output.line(&BackupLine::Unread { path, why: chain(error) });
        }
    }

    fn done(self, repository: String, snapshot: String) -> Done {
        if self.left_out > 0 {
            let count = self.left_out;
            self.output
                .problem(format!("{count} more entries are not listed; name a folder to see those in it"));
        }
        let result = if self.figures.unread == 0 { BackupResult::Ok } else { BackupResult::Partial };
        Done { result, repository, snapshot: Some(snapshot), figures: self.figures }
    }
}

fn absolute(path: &Path) -> String {
    Path::new("/").join(path).to_string_lossy().into_owned()
}

fn entry_line(path: &Path, node: &Node) -> EntryLine {
    EntryLine {
        path: absolute(path),
        kind: kind(node.kind).to_owned(),
        bytes: node.size,
        mode: node.mode.unix(),
        uid: node.uid,
        gid: node.gid,
        modified: node.mtime.to_rfc3339(),
        target: (node.kind == NodeKind::Symlink).then(|| node.target().to_string_lossy().into_owned()),
    }
}

fn change_line(change: &diff::Change) -> ChangeLine {
    let how = match change.difference {
        Difference::Added => "added",
        Difference::Removed => "removed",
        Difference::Content => "content",
        Difference::Details => "details",
        Difference::Kind => "kind",
    };
    ChangeLine {
        path: absolute(&change.path),
        change: how.to_owned(),
        kind: kind(change.kind).to_owned(),
        bytes_before: change.size_before,
        bytes_after: change.size_after,
    }
}

/// What an entry is, as snapshots call it.
const fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "dir",
        NodeKind::Symlink => "symlink",
        NodeKind::BlockDevice => "dev",
        NodeKind::CharacterDevice => "chardev",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::Irregular => "irregular",
    }
}
