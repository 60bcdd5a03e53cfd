//! What is no folder: links and devices are made at once, files are added to the group.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::batch::LinkJob;
use super::decide::{EntryStep, Wanted, for_entry};
use super::details::Details;
use super::existing::is_right;
use super::file::FileJob;
use super::folder::Planner;
use super::links::{FirstName, Names};
use super::{Action, Overwrite, Problem, RestoreError, special};
use crate::beneath::{names, open_in, remove_all, remove_one, stat_in};
use crate::pack::{Blob, BlobKind};
use crate::tree::{Node, NodeKind};

impl Planner<'_> {
    /// Restores `node`, which is no folder, or plans to.
    pub(super) fn entry(&mut self, folder: &Arc<Path>, mut node: Node) -> Result<(), RestoreError> {
        let path = || folder.join(&node.name);
        match node.kind {
            NodeKind::Socket => {
                self.run.outcome().sockets_skipped += 1;
                return Ok(());
            }
            NodeKind::Irregular | NodeKind::Directory => {
                self.run.fail(path(), Problem::Unknown);
                return Ok(());
            }
            _ => {}
        }
        let details = Details::of(&mut node, self.run.restorer);
        match self.prepare(folder, &node, &details) {
            Err(problem) => self.run.fail(folder.join(&node.name), problem),
            Ok(None) => {}
            Ok(Some((action, names))) => {
                self.run.progress.decided(&folder.join(&node.name), action);
                if self.run.request.dry_run {
                    self.count(&node, &names);
                } else if node.kind == NodeKind::File {
                    return self.file(folder, node, details, names);
                } else {
                    self.special(folder, &node, &details);
                }
            }
        }
        Ok(())
    }

    /// Looks at what is there and makes room. None when nothing is to be done.
    fn prepare(
        &mut self,
        folder: &Arc<Path>,
        node: &Node,
        details: &Details,
    ) -> Result<Option<(Action, Names)>, Problem> {
        let size = self.size(node)?;
        let failed = |doing| move |errno: Errno| Problem::Io { doing, source: errno.into() };
        let existing = self.existing(folder, node).map_err(failed("look at what is there"))?;
        let wanted = Wanted {
            kind: node.kind,
            details,
            size,
            links: node.links,
            number: node.device,
            owner: self.run.restorer.owner,
        };
        let step = for_entry(existing.as_ref(), &wanted, self.run.request.overwrite);
        if step == EntryStep::Keep {
            self.run.progress.decided(&folder.join(&node.name), Action::Keep);
            self.run.outcome().kept += 1;
            return Ok(None);
        }
        let names = self.links.names(folder, node);
        let step = match step {
            EntryStep::Check if self.is_unchanged(folder, node, details, &names) => {
                self.run.progress.decided(&folder.join(&node.name), Action::Unchanged);
                self.run.outcome().unchanged += 1;
                if let Names::First(first) = &names {
                    first.set_right();
                }
                return Ok(None);
            }
            EntryStep::Check => EntryStep::Replace,
            step => step,
        };
        if step == EntryStep::ReplaceFolder {
            self.make_room(folder, node)?;
        }
        let action = if step == EntryStep::Make { Action::Make } else { Action::Replace };
        Ok(Some((action, names)))
    }

    /// Bytes of a file's content, all of which the repository has by its index.
    fn size(&self, node: &Node) -> Result<u64, Problem> {
        let mut size: u64 = 0;
        for id in node.content.iter().flatten() {
            let blob = Blob { kind: BlobKind::Data, id: *id };
            let location = self.run.index.find(blob).ok_or(Problem::NoBlob(blob))?;
            size = size.saturating_add(location.entry.plain_length());
        }
        Ok(size)
    }

    fn is_unchanged(&mut self, folder: &Arc<Path>, node: &Node, details: &Details, names: &Names) -> bool {
        let (run, index) = (self.run, self.run.request.verify.then_some(self.run.index));
        let Ok(folder) = run.reach(&mut self.last, folder) else { return false };
        match names {
            Names::Further(first) => is_same_file(run, folder, node, first),
            Names::One | Names::First(_) | Names::Forgotten => is_right(folder, node, details, index),
        }
    }

    /// A folder is in the place of what is no folder.
    fn make_room(&mut self, folder: &Arc<Path>, node: &Node) -> Result<(), Problem> {
        let failed =
            |errno: Errno| Problem::Io { doing: "remove the folder in its place", source: errno.into() };
        let request = self.run.request;
        let parent = self.run.reach(&mut self.last, folder).map_err(failed)?;
        if request.delete_extra {
            let removed = if request.dry_run { Ok(1) } else { remove_all(parent, &node.name) };
            self.run.outcome().deleted += removed.map_err(failed)?;
            return Ok(());
        }
        if request.dry_run {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let listed = open_in(parent, &node.name, flags, Mode::empty()).and_then(names_in);
            return if listed.map_err(failed)? { Ok(()) } else { Err(Problem::FolderInPlace) };
        }
        match remove_one(parent, &node.name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Problem::FolderInPlace),
            removed => removed.map_err(failed),
        }
    }

    fn count(&self, node: &Node, names: &Names) {
        let mut outcome = self.run.outcome();
        match (node.kind, names) {
            (NodeKind::File, Names::Further(_)) => outcome.hard_links += 1,
            (NodeKind::File, _) => {
                outcome.files += 1;
                outcome.bytes += self.size(node).unwrap_or(0);
            }
            (NodeKind::Symlink, _) => outcome.symlinks += 1,
            _ => outcome.specials += 1,
        }
    }

    fn special(&mut self, folder: &Arc<Path>, node: &Node, details: &Details) {
        let may_replace = self.run.request.overwrite != Overwrite::Never;
        let reached = self.run.reach(&mut self.last, folder);
        let restored = reached
            .map_err(|errno| Problem::Io { doing: "reach its folder", source: errno.into() })
            .and_then(|folder| special::restore(folder, node, details, may_replace, self.run.restorer));
        let problems = match restored {
            Err(problem) => return self.run.fail(folder.join(&node.name), problem),
            Ok(problems) => problems,
        };
        for problem in problems {
            self.run.fail(folder.join(&node.name), problem);
        }
        let mut outcome = self.run.outcome();
        match node.kind {
            NodeKind::Symlink => outcome.symlinks += 1,
            _ => outcome.specials += 1,
        }
    }

    fn file(
        &mut self,
        folder: &Arc<Path>,
        mut node: Node,
        details: Details,
        names: Names,
    ) -> Result<(), RestoreError> {
        let may_replace = self.run.request.overwrite != Overwrite::Never;
        let size = self.size(&node).unwrap_or(0);
        let first = match names {
            Names::Further(first) => {
                let (folder, name) = (folder.clone(), node.name);
                self.batch.links.push(LinkJob { folder, name, first, may_replace });
                return Ok(());
            }
            Names::First(first) => Some(first),
            Names::Forgotten => {
                self.run.fail(folder.join(&node.name), Problem::LinkForgotten);
                None
            }
            Names::One => None,
        };
        let content = node.content.take().unwrap_or_default();
        let job =
            FileJob::new(folder.clone(), node.name, details, size, content.len() as u64, may_replace, first);
        if content.is_empty() {
            self.empty_file(&job);
        }
        self.batch.files.push(job);
        let mut at = 0;
        for id in content {
            if self.batch.is_full() {
                self.do_batch()?;
            }
            // Known to be there since its size was told.
            let Some(location) = self.run.index.find(Blob { kind: BlobKind::Data, id }) else { continue };
            self.batch.add_piece(&location, at);
            at += location.entry.plain_length();
        }
        Ok(())
    }

    fn empty_file(&mut self, job: &FileJob) {
        let reached = self.run.reach(&mut self.last, &job.folder);
        let opened = reached
            .map_err(|errno| Problem::Io { doing: "reach its folder", source: errno.into() })
            .and_then(|folder| job.open(folder, &self.run.open_files));
        match opened {
            Ok(file) => self.run.finish_file(job, &file),
            Err(problem) => self.run.fail_file(job, problem),
        }
    }
}

fn names_in(folder: OwnedFd) -> Result<bool, Errno> {
    names(&folder).map(|names| names.is_empty())
}

/// Whether what is there is a name of the file that was restored first, or was right.
fn is_same_file(run: &super::run::Run<'_>, folder: &OwnedFd, node: &Node, first: &FirstName) -> bool {
    if !first.is_right() {
        return false;
    }
    let mut last = crate::beneath::LastFolder::default();
    let of_first = run.reach(&mut last, &first.folder).and_then(|folder| stat_in(folder, &first.name));
    let of_this = stat_in(folder, &node.name);
    match (of_first, of_this) {
        (Ok(Some(one)), Ok(Some(other))) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}
