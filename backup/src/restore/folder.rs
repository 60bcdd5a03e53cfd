//! Walks the snapshot: makes folders, links and devices on the way, and gathers files into groups.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fstat, mkdirat};
use rustix::io::Errno;

use super::batch::{Batch, LeaveJob};
use super::content;
use super::decide::{Existing, FolderStep, for_folder};
use super::details::Details;
use super::links::Links;
use super::publish::{Devices, publish, remove_temporary};
use super::run::Run;
use super::{Action, Overwrite, Problem, RestoreError};
use crate::beneath::{LastFolder, names, remove_all, remove_one, stat_in};
use crate::list::{Choice, Selection, Step, Walk, WalkError};
use crate::tree::Node;

/// A folder that the walk is in.
#[derive(Debug)]
struct OpenFolder {
    /// What is set when it is left; none for one that stays as it is.
    details: Option<Details>,
    /// Made by this run: nothing is in it that was not restored.
    is_fresh: bool,
    device: u64,
}

/// The one thread that walks.
pub(super) struct Planner<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) batch: Batch,
    pub(super) links: Links,
    pub(super) last: LastFolder,
    selection: Selection,
    folders: Vec<OpenFolder>,
    devices: Devices,
}

impl<'a> Planner<'a> {
    pub(super) fn new(run: &'a Run<'a>, selection: Selection) -> Result<Self, RestoreError> {
        let mut devices = Devices::default();
        let mut device = 0;
        if let Some(root) = &run.root {
            let failed = |errno: Errno| RestoreError::Target {
                path: run.request.target.clone(),
                source: errno.into(),
            };
            let stat = root.folder(Path::new(""), OFlags::PATH).and_then(fstat).map_err(failed)?;
            device = stat.st_dev;
            devices.note(run, device, Path::new(""));
        }
        let root = OpenFolder { details: None, is_fresh: run.root.is_none(), device };
        Ok(Self {
            run,
            batch: Batch::default(),
            links: Links::default(),
            last: LastFolder::default(),
            selection,
            folders: vec![root],
            devices,
        })
    }

    /// Restores everything that the walk meets; the last group is left to [`Planner::finish`].
    pub(super) fn walk(&mut self, walk: &mut Walk<'_>) -> Result<(), RestoreError> {
        while let Some(step) = walk.next() {
            self.run.go_on()?;
            match step {
                Ok(Step::Enter { path, node, choice }) => {
                    let made = self.enter(&path, node, choice);
                    match made {
                        Ok(()) => self.remove_extra(&path, choice, walk.remaining()),
                        Err(problem) => {
                            self.run.fail(path.to_path_buf(), problem);
                            walk.pass_over();
                        }
                    }
                }
                Ok(Step::Entry { folder, node }) => self.entry(&folder, node)?,
                Ok(Step::Leave { path }) => self.leave(path),
                Err(WalkError::Tree { source, .. }) if content::is_unreachable(&source) => {
                    return Err(RestoreError::Repository(Arc::new(source)));
                }
                Err(error) => self.run.fail(error.path().to_path_buf(), Problem::Folder(error)),
            }
            if self.batch.is_full() {
                self.do_batch()?;
            }
        }
        Ok(())
    }

    /// Does the last group, and syncs all.
    pub(super) fn finish(&mut self) -> Result<(), RestoreError> {
        self.do_batch()?;
        if self.run.request.dry_run { Ok(()) } else { self.devices.sync() }
    }

    /// Does the group that was gathered. What goes on in the next one is its first file.
    pub(super) fn do_batch(&mut self) -> Result<(), RestoreError> {
        self.run.go_on()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        content::restore(self.run, &mut self.batch);
        self.run.go_on()?;
        let carried = publish(self.run, &mut self.batch, &self.devices)?;
        self.run.go_on()?;
        self.batch = Batch::default();
        self.batch.files.extend(carried);
        Ok(())
    }

    /// Removes what was not finished.
    pub(super) fn abandon(&mut self) {
        for job in self.batch.files.drain(..).filter(|job| job.is_made()) {
            remove_temporary(self.run, &mut self.last, &job.folder, &job.name);
        }
    }

    /// What is in `folder` under the name of `node`.
    pub(super) fn existing(&mut self, folder: &Arc<Path>, node: &Node) -> Result<Option<Existing>, Errno> {
        if self.folders.last().is_some_and(|open| open.is_fresh) {
            return Ok(None);
        }
        let folder = self.run.reach(&mut self.last, folder)?;
        Ok(stat_in(folder, &node.name)?.as_ref().map(Existing::of))
    }

    fn enter(&mut self, path: &Arc<Path>, mut node: Node, choice: Choice) -> Result<(), Problem> {
        let failed = |doing| move |errno: Errno| Problem::Io { doing, source: errno.into() };
        let parent: Arc<Path> = path.parent().unwrap_or(Path::new("")).into();
        let existing = self.existing(&parent, &node).map_err(failed("look at the folder"))?;
        let request = self.run.request;
        let step = for_folder(existing.as_ref(), choice, request.overwrite);
        let action = match step {
            FolderStep::Make => Action::Make,
            FolderStep::Enter if request.overwrite == Overwrite::Never => Action::Keep,
            FolderStep::Enter => Action::Enter,
            FolderStep::Replace => Action::Replace,
            FolderStep::Refuse => {
                let found = existing.map_or("something", |existing| existing.as_str());
                return Err(Problem::InTheWay { found });
            }
        };
        let is_fresh = step != FolderStep::Enter;
        let mut device = self.folders.last().map_or(0, |open| open.device);
        if !request.dry_run {
            let folder = self.run.reach(&mut self.last, &parent).map_err(failed("reach its folder"))?;
            if step == FolderStep::Replace {
                remove_one(folder, &node.name).map_err(failed("remove what is in its place"))?;
            }
            if is_fresh {
                // Nobody else gets in before it belongs to whom it should.
                mkdirat(folder, &node.name, Mode::from_raw_mode(0o700)).map_err(failed("make the folder"))?;
            } else {
                // The number of its own file system, when one is mounted there.
                let stat = stat_in(folder, &node.name).map_err(failed("look at the folder"))?;
                device = stat.map_or(device, |stat| stat.st_dev);
            }
            self.devices.note(self.run, device, path);
        }
        self.run.progress.decided(path, action);
        let is_set = is_fresh || (choice == Choice::Chosen && request.overwrite != Overwrite::Never);
        let details = is_set.then(|| Details::of(&mut node, self.run.restorer));
        self.folders.push(OpenFolder { details, is_fresh, device });
        Ok(())
    }

    fn leave(&mut self, path: Arc<Path>) {
        let Some(OpenFolder { details: Some(details), .. }) = self.folders.pop() else { return };
        if self.run.request.dry_run {
            self.run.outcome().folders += 1;
        } else {
            self.batch.leaves.push(LeaveJob { path, details });
        }
    }

    /// Removes what a restored folder has and the snapshot's does not. Not when the snapshot's cannot be read.
    fn remove_extra(&mut self, path: &Arc<Path>, choice: Choice, nodes: Option<&[Node]>) {
        let is_fresh = self.folders.last().is_some_and(|open| open.is_fresh);
        let (true, false, Choice::Chosen, Some(nodes)) =
            (self.run.request.delete_extra, is_fresh, choice, nodes)
        else {
            return;
        };
        let Some(root) = &self.run.root else { return };
        let listed = root.folder(path, OFlags::RDONLY).and_then(|folder| Ok((names(&folder)?, folder)));
        let (found, folder) = match listed {
            Ok(listed) => listed,
            Err(errno) => {
                let problem = Problem::Io { doing: "list the folder", source: errno.into() };
                return self.run.fail(path.to_path_buf(), problem);
            }
        };
        for name in found {
            let is_known = |node: &Node| node.name.as_bytes().cmp(name.as_bytes());
            let extra = path.join(&name);
            if nodes.binary_search_by(is_known).is_ok() || self.selection.choice(&extra) != Choice::Chosen {
                continue;
            }
            self.run.progress.decided(&extra, Action::Delete);
            let removed = if self.run.request.dry_run { Ok(1) } else { remove_all(&folder, &name) };
            match removed {
                Ok(count) => self.run.outcome().deleted += count,
                Err(errno) => {
                    self.run.fail(extra, Problem::Io { doing: "remove it", source: errno.into() });
                }
            }
        }
        self.last.forget();
    }
}
