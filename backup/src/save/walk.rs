//! Goes through folders in the order of names, depth first, and decides about each entry: left out, unchanged, made
//! here, or read by a worker.
//!
//! A folder is open while it is walked, up to [`OPEN_FOLDERS_MAX`] of them; those further up are found again by `..`,
//! and only if that is the same folder still. Memory: the names of the folders from the root to here.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use rustix::fs::Stat;

use super::earlier::TreeReader;
use super::folder::{Folder, Own, Text};
use super::known::{Cursor, KnownEntry};
use super::root::{Branch, Branches};
use super::run::{Fate, Kit, Run, Stopped};
use super::worker::Job;
use super::{SaveError, Unread, Why, details, system};
use crate::id::ObjectId;
use crate::pack::{Blob, BlobKind};
use crate::tree::NodeKind;

/// Folders that are open at once; a process may have a thousand files open.
const OPEN_FOLDERS_MAX: usize = 64;

/// A folder that is being walked.
struct Level {
    /// None while it is closed.
    fd: Option<Arc<OwnedFd>>,
    place: (u64, u64),
    names: std::vec::IntoIter<OsString>,
    folder: Arc<Folder>,
    cursor: Option<Cursor>,
    /// For one that leads to roots.
    branches: Option<Branches>,
    /// Bytes of its path.
    path_bytes: usize,
}

/// What an entry turned out to be.
enum Entry {
    /// Nothing is recorded.
    LeftOut,
    /// Done.
    Text(Text),
    /// A file that has to be read.
    File { was_known: bool },
    /// A folder.
    Folder(Box<Level>),
}

/// The walk of a run.
pub(super) struct Walk<'w, 'r> {
    run: &'w Run<'r>,
    jobs: SyncSender<Job>,
    trees: TreeReader<'r>,
    levels: Vec<Level>,
    path: Vec<u8>,
    devices: Vec<u64>,
    /// Roots that are there.
    pub(super) roots: u64,
}

impl<'w, 'r> Walk<'w, 'r> {
    /// With the file systems that it may stay on.
    pub(super) fn new(run: &'w Run<'r>, jobs: SyncSender<Job>, devices: Vec<u64>) -> Self {
        let trees = TreeReader::new(run.repository, run.index);
        Self { run, jobs, trees, levels: Vec::new(), path: Vec::new(), devices, roots: 0 }
    }

    /// Walks all of `branch`, which is what is saved of `/`.
    pub(super) fn walk(
        &mut self,
        kit: &mut Kit<'_>,
        branch: Branch,
        earlier: Option<ObjectId>,
    ) -> Result<(), Stopped> {
        match self.top(branch, earlier) {
            Ok(level) => self.levels.push(level),
            Err(error) => {
                let root = Unread { path: "/".into(), why: Why::of(&error) };
                return Err(self.run.fail(SaveError::NoRoot(root)));
            }
        }
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.path_bytes);
            match level.names.next() {
                Some(name) => self.step(name)?,
                None => self.leave(kit)?,
            }
        }
        Ok(())
    }

    fn top(&mut self, branch: Branch, earlier: Option<ObjectId>) -> io::Result<Level> {
        let fd = system::open_root()?;
        let known = earlier.and_then(|id| self.trees.read(id));
        let folder = Arc::new(Folder::new(None, known.clone(), known.is_some()));
        let (names, branches) = match branch {
            Branch::Whole => {
                self.roots += 1;
                (system::names(&fd)?, None)
            }
            Branch::Through(branches) => (branches.keys().cloned().collect(), Some(branches)),
        };
        let stat = system::stat_open(&fd)?;
        Ok(Level {
            fd: Some(Arc::new(fd)),
            place: place(&stat),
            names: names.into_iter(),
            folder,
            cursor: known.map(Cursor::new),
            branches,
            path_bytes: 0,
        })
    }

    /// One entry of the innermost folder.
    fn step(&mut self, name: OsString) -> Result<(), Stopped> {
        if self.run.is_stopped() {
            return Err(Stopped);
        }
        self.path.push(b'/');
        self.path.extend_from_slice(name.as_bytes());
        let entry = self.look(&name);
        let level = self.levels.last().expect("a step is taken within a folder");
        match entry {
            Ok(Entry::LeftOut) => {}
            Ok(Entry::Text(text)) => level.folder.push(text),
            Ok(Entry::File { was_known }) => {
                let folder = Arc::clone(level.fd.as_ref().expect("the innermost folder is open"));
                let place = level.folder.reserve();
                let job = Job { place, folder, name, path: self.path.clone(), was_known };
                // Workers end before the walk only by a panic, which is passed on when they are joined.
                self.jobs.send(job).map_err(|_| Stopped)?;
            }
            Ok(Entry::Folder(inner)) => {
                self.run.counters.set_current(&self.path);
                self.run.pace(0)?;
                self.levels.push(*inner);
                self.close_a_far_one();
            }
            Err(error) => self.run.add_unread(&self.path, Why::of(&error)),
        }
        Ok(())
    }

    /// Folders that lead to roots stay open: a link may have led there.
    fn close_a_far_one(&mut self) {
        let far = self.levels.len().checked_sub(OPEN_FOLDERS_MAX + 1);
        if let Some(level) = far.and_then(|far| self.levels.get_mut(far))
            && level.branches.is_none()
        {
            level.fd = None;
        }
    }

    /// The innermost folder has no more entries.
    fn leave(&mut self, kit: &mut Kit<'_>) -> Result<(), Stopped> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        if let (Some(above), Some(fd)) = (self.levels.last_mut(), &level.fd)
            && above.fd.is_none()
        {
            let found = system::open_parent(fd).and_then(|fd| Ok((place(&system::stat_open(&fd)?), fd)));
            match found {
                Ok((place, fd)) if place == above.place => above.fd = Some(Arc::new(fd)),
                found => {
                    // It was moved meanwhile: what is left in it cannot be found from here.
                    above.names = Vec::new().into_iter();
                    let why = found.err().map_or(Why::Changed, |error| Why::of(&error));
                    self.run.add_unread(&self.path[..above.path_bytes], why);
                    // The levels further up are reached from this one, which stays where it is.
                    above.fd = level.fd.clone();
                }
            }
        }
        if level.folder.close() { kit.finish_folder(self.run, level.folder) } else { Ok(()) }
    }

    fn look(&mut self, name: &OsStr) -> io::Result<Entry> {
        let level = self.levels.last_mut().expect("a step is taken within a folder");
        let fd = Arc::clone(level.fd.as_ref().expect("the innermost folder is open"));
        let branch = level.branches.as_mut().and_then(|branches| branches.remove(name));
        let known = level.cursor.as_mut().and_then(|cursor| cursor.find(name));
        if let Some(Branch::Through(branches)) = branch {
            let inner = system::open_way(&fd, name)?;
            let stat = system::stat_open(&inner)?;
            return self.enter(name, inner, &stat, known, Some(branches));
        }
        let is_root = branch.is_some();
        let stat = system::stat_entry(&fd, name)?;
        let kind = details::kind(&stat);
        let is_folder = kind == NodeKind::Directory;
        self.roots += u64::from(is_root);
        let size = if kind == NodeKind::File { details::size(&stat) } else { 0 };
        if !is_root && self.run.request.rules.excludes(&self.path, is_folder, size) {
            return Ok(Entry::LeftOut);
        }
        let is_elsewhere =
            self.run.request.rules.is_one_file_system() && !self.devices.contains(&stat.st_dev);
        if is_folder {
            let inner = system::open_folder(&fd, name)?;
            let stat = system::stat_open(&inner)?;
            // Where another file system is mounted, the folder is recorded and nothing in it.
            return self.enter(name, inner, &stat, known, is_elsewhere.then(Branches::new));
        }
        if is_elsewhere {
            return Ok(Entry::LeftOut);
        }
        let known = known.filter(|known| known.kind == kind);
        if let Some(known) = known.as_ref().filter(|known| self.is_unchanged(known, &stat)) {
            self.run.need(BlobKind::Data, &known.content);
            // As in restic, what is neither file nor folder is saved and not counted.
            if kind == NodeKind::File {
                self.run.counters.add_file(size);
                self.run.tally.files.add(Fate::Unchanged);
            }
            return Ok(Entry::Text(Text::Same(known.range.clone())));
        }
        if kind == NodeKind::File {
            return Ok(Entry::File { was_known: known.is_some() });
        }
        Ok(Entry::Text(Text::Own(self.special(&fd, name, &stat)?)))
    }

    /// A file, link, pipe or device that the earlier snapshot has, with all of its content still at hand.
    fn is_unchanged(&self, known: &KnownEntry, stat: &Stat) -> bool {
        let is_there = |id: &ObjectId| self.run.index.has(Blob { kind: BlobKind::Data, id: *id });
        known.is_same(stat, self.run.recording.owners) && known.content.iter().all(is_there)
    }

    /// What is neither file nor folder.
    fn special(&self, fd: &OwnedFd, name: &OsStr, stat: &Stat) -> io::Result<Vec<u8>> {
        let mut node = details::node(name.to_owned(), stat, self.run.recording);
        if node.kind == NodeKind::Symlink {
            node.set_target(system::read_link(fd, name)?);
        }
        node.extended_attributes = system::attributes_of_entry(fd, name)?;
        let mut text = Vec::new();
        node.append_json(&mut text);
        Ok(text)
    }

    /// A folder that was opened. With `branches`, these entries of it alone are saved.
    fn enter(
        &mut self,
        name: &OsStr,
        fd: OwnedFd,
        stat: &Stat,
        known: Option<KnownEntry>,
        branches: Option<Branches>,
    ) -> io::Result<Entry> {
        let names = match &branches {
            Some(branches) => branches.keys().cloned().collect(),
            None => self.marked(&fd, system::names(&fd)?),
        };
        let known = known.filter(|known| known.kind == NodeKind::Directory);
        let own = match &known {
            Some(known @ KnownEntry { range, subtree: Some(subtree), .. })
                if known.is_same(stat, self.run.recording.owners) =>
            {
                Own::Known(range.clone(), *subtree)
            }
            _ => {
                let mut node = details::node(name.to_owned(), stat, self.run.recording);
                node.extended_attributes = match &branches {
                    Some(_) => system::attributes_of_way(&fd)?,
                    None => system::attributes(&fd)?,
                };
                Own::Fresh(Box::new(node))
            }
        };
        let was_known = known.is_some();
        let tree = known.and_then(|known| known.subtree).and_then(|id| self.trees.read(id));
        let above = self.levels.last().expect("a folder is entered from the one above").folder.reserve();
        Ok(Entry::Folder(Box::new(Level {
            fd: Some(Arc::new(fd)),
            place: place(stat),
            names: names.into_iter(),
            folder: Arc::new(Folder::new(Some((above, own)), tree.clone(), was_known)),
            cursor: tree.map(Cursor::new),
            branches,
            path_bytes: self.path.len(),
        })))
    }

    /// The names in a folder that are saved: of one with a marker, the marker alone.
    fn marked(&self, fd: &OwnedFd, names: Vec<OsString>) -> Vec<OsString> {
        let marker = self.run.request.rules.markers().iter().find(|marker| {
            let name = OsStr::from_bytes(&marker.name);
            let is_there = names.binary_search_by(|entry| entry.as_os_str().cmp(name)).is_ok();
            is_there && (marker.header.is_empty() || system::file_starts_with(fd, name, &marker.header))
        });
        match marker {
            Some(marker) => vec![OsStr::from_bytes(&marker.name).to_owned()],
            None => names,
        }
    }
}

fn place(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
