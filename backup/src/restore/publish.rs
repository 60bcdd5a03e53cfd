//! The end of a group: what was written is synced, files get their real names, then their further ones, then folders
//! that are done get their details.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, OFlags, linkat, sync, syncfs};
use rustix::io::Errno;

use super::batch::{Batch, LeaveJob, LinkJob};
use super::file::{FileJob, Standing};
use super::run::Run;
use super::{Problem, RestoreError};
use crate::beneath::{LastFolder, file_type, make_anew, put_in_place, remove_one, stat_in, temporary};

/// So many file systems are synced one by one; with more of them, all of the machine's are.
const DEVICES_MAX: usize = 64;

/// The file systems that a restore writes to.
#[derive(Debug, Default)]
pub(super) struct Devices {
    known: BTreeMap<u64, OwnedFd>,
    are_too_many: bool,
}

impl Devices {
    /// Something in the folder at `path`, on `device`, is written to.
    pub(super) fn note(&mut self, run: &Run<'_>, device: u64, path: &Path) {
        if self.known.contains_key(&device) || self.are_too_many {
            return;
        }
        let opened = run.root.as_ref().and_then(|root| root.folder(path, OFlags::RDONLY).ok());
        match opened {
            Some(folder) if self.known.len() < DEVICES_MAX => {
                self.known.insert(device, folder);
            }
            _ => self.are_too_many = true,
        }
    }

    /// All that was written to them is on the disk when this returns.
    pub(super) fn sync(&self) -> Result<(), RestoreError> {
        for folder in self.known.values() {
            syncfs(folder).map_err(|errno| RestoreError::Sync(errno.into()))?;
        }
        if self.are_too_many {
            sync();
        }
        Ok(())
    }
}

/// Ends a group whose content is written. A file that is not finished goes on in the next group, and is given back.
pub(super) fn publish(
    run: &Run<'_>,
    batch: &mut Batch,
    devices: &Devices,
) -> Result<Option<FileJob>, RestoreError> {
    if batch.files.iter().any(|job| job.standing() == Standing::Whole) {
        devices.sync()?;
    }
    let mut last = LastFolder::default();
    let mut carried = None;
    for job in batch.files.drain(..) {
        match job.standing() {
            Standing::Unfinished => carried = Some(job),
            Standing::Whole => publish_file(run, &mut last, &job),
            Standing::Failed { is_made: true } => remove_temporary(run, &mut last, &job.folder, &job.name),
            Standing::Failed { is_made: false } => {}
        }
    }
    for job in batch.links.drain(..) {
        publish_link(run, &mut last, &job);
    }
    for job in batch.leaves.drain(..) {
        leave(run, &job);
    }
    Ok(carried)
}

fn publish_file(run: &Run<'_>, last: &mut LastFolder, job: &FileJob) {
    let put = run
        .reach(last, &job.folder)
        .and_then(|folder| put_in_place(folder, &temporary(&job.name), &job.name, job.may_replace));
    if let Err(errno) = put {
        remove_temporary(run, last, &job.folder, &job.name);
        return run.fail(job.path(), Problem::Io { doing: "put it in place", source: errno.into() });
    }
    if let Some(first) = &job.first {
        first.set_right();
    }
    let mut outcome = run.outcome();
    outcome.files += 1;
    outcome.bytes += job.size;
}

/// Removes what was not finished. That it cannot be removed changes nothing: the next run will replace it.
pub(super) fn remove_temporary(run: &Run<'_>, last: &mut LastFolder, folder: &Arc<Path>, name: &OsStr) {
    if let Ok(folder) = run.reach(last, folder) {
        remove_one(folder, &temporary(name)).ok();
    }
}

fn publish_link(run: &Run<'_>, last: &mut LastFolder, job: &LinkJob) {
    let path = || job.folder.join(&job.name);
    if !job.first.is_right() {
        return run.fail(path(), Problem::LinkedFile(job.first.path()));
    }
    match link(run, last, job) {
        Ok(()) => run.outcome().hard_links += 1,
        Err(errno) => {
            remove_temporary(run, last, &job.folder, &job.name);
            run.fail(path(), Problem::Io { doing: "make it another name of a file", source: errno.into() });
        }
    }
}

fn link(run: &Run<'_>, last: &mut LastFolder, job: &LinkJob) -> Result<(), Errno> {
    let mut of_first = LastFolder::default();
    let first = run.reach(&mut of_first, &job.first.folder)?;
    let is_file = |stat| file_type(&stat) == FileType::RegularFile;
    if !stat_in(first, &job.first.name)?.is_some_and(is_file) {
        return Err(Errno::STALE);
    }
    let folder = run.reach(last, &job.folder)?;
    let temporary = temporary(&job.name);
    let make = || linkat(first, &job.first.name, folder, &temporary, AtFlags::empty());
    make_anew(folder, &temporary, make)?;
    put_in_place(folder, &temporary, &job.name, job.may_replace)?;
    // When both were names of one file already, renaming did nothing.
    remove_one(folder, &temporary)
}

fn leave(run: &Run<'_>, job: &LeaveJob) {
    let opened = match &run.root {
        Some(root) => root.folder(&job.path, OFlags::RDONLY),
        None => return,
    };
    match opened {
        Ok(folder) => {
            for problem in job.details.set(&folder, run.restorer) {
                run.fail(job.path.to_path_buf(), problem);
            }
            run.outcome().folders += 1;
        }
        Err(errno) => {
            let problem = Problem::Io { doing: "set the folder's details", source: errno.into() };
            run.fail(job.path.to_path_buf(), problem);
        }
    }
}
