//! The folders of one policy, watched: what is left out of its snapshots is not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_backup::save::Rules;
use campanile_common::backup::PolicyName;

use crate::backup::job::{Job, Source};
use crate::backup::target::Target;
use crate::os::folder;
use crate::os::inotify::{Happened, Inotify, WatchId, What};
use crate::os::stopwatch::Stopwatch;

/// Folders that are watched; each costs the kernel about a kilobyte. With more the policy's files are looked at
/// regularly instead.
const FOLDERS_MAX: usize = 16_384;
/// Turns of reading before others have theirs.
const READS_MAX: usize = 4;
/// After more has happened than the kernel remembers, all folders are found again: so often at most.
const WALK_INTERVAL: Duration = Duration::from_secs(60);

/// A folder that is watched.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Names that count in it; none for all.
    only: Option<BTreeSet<OsString>>,
}

/// Watches one policy's files.
#[derive(Debug)]
pub(super) struct Eye {
    policy: PolicyName,
    roots: Vec<PathBuf>,
    rules: Rules,
    /// What saving itself writes to.
    skipped: Vec<PathBuf>,
    devices: Vec<u64>,
    inotify: Inotify,
    folders: BTreeMap<WatchId, Folder>,
    walked: Stopwatch,
    is_stale: bool,
}

impl Eye {
    /// Watches all folders of a policy; why that cannot be, otherwise. `own` is the folder of the node's backups.
    pub(super) fn open(job: Job, own: &Path) -> Result<Self, String> {
        let Source::Paths(roots) = job.source else {
            return Err("what a command writes cannot be watched".to_owned());
        };
        let mut skipped = vec![own.to_owned()];
        if let Target::Folder(path) = job.target {
            skipped.push(path);
        }
        let mut eye = Self {
            policy: job.name,
            devices: roots.iter().filter_map(|root| folder::device(root)).collect(),
            roots,
            rules: job.rules,
            skipped,
            inotify: Inotify::new().map_err(|error| refused(&error))?,
            folders: BTreeMap::new(),
            walked: Stopwatch::start(),
            is_stale: false,
        };
        eye.look_everywhere()?;
        Ok(eye)
    }

    pub(super) fn policy(&self) -> &PolicyName {
        &self.policy
    }

    pub(super) fn folders(&self) -> u64 {
        self.folders.len() as u64
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.descriptor()
    }

    /// When there is something to do whatever happens.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.is_stale.then(|| WALK_INTERVAL.saturating_sub(self.walked.elapsed()))
    }

    /// Takes what happened: true when it is of what is saved. Why it cannot go on watching, otherwise.
    pub(super) fn take(&mut self) -> Result<bool, String> {
        let mut is_changed = false;
        for _ in 0..READS_MAX {
            let mut happened = Vec::new();
            let has_more = self.inotify.take_each(|one| happened.push(one));
            for one in happened {
                is_changed |= self.judge(&one)?;
            }
            if !has_more {
                break;
            }
        }
        if self.is_stale && self.walked.elapsed() >= WALK_INTERVAL {
            self.look_everywhere()?;
            is_changed = true;
        }
        Ok(is_changed)
    }

    fn judge(&mut self, happened: &Happened) -> Result<bool, String> {
        match happened.what {
            What::Overflow => {
                self.is_stale = true;
                return Ok(true);
            }
            What::Unwatched => {
                self.folders.remove(&happened.watch);
                return Ok(false);
            }
            What::Appeared | What::Vanished | What::Touched => {}
        }
        let Some(folder) = self.folders.get(&happened.watch) else { return Ok(false) };
        let name = OsStr::from_bytes(&happened.name);
        let is_meant = folder.only.as_ref().is_none_or(|only| only.contains(name));
        let path = if name.is_empty() { folder.path.clone() } else { folder.path.join(name) };
        if !is_meant || self.is_left_out(&path, happened.is_folder) {
            return Ok(false);
        }
        match happened.what {
            What::Appeared if happened.is_folder => self.descend(path)?,
            What::Vanished if happened.is_folder => self.forget_below(&path),
            _ => {}
        }
        Ok(true)
    }

    fn look_everywhere(&mut self) -> Result<(), String> {
        (self.walked, self.is_stale) = (Stopwatch::start(), false);
        for root in self.roots.clone() {
            // So that one which comes later, or is replaced, is noticed.
            if let (Some(above), Some(name)) = (root.parent(), root.file_name()) {
                self.add(above, Some(name))?;
            }
            if folder::device(&root).is_some() {
                self.descend(root)?;
            }
        }
        Ok(())
    }

    /// Watches a folder and those below it.
    fn descend(&mut self, path: PathBuf) -> Result<(), String> {
        let mut waiting = vec![path];
        while let Some(path) = waiting.pop() {
            if self.is_left_out(&path, true) || self.is_elsewhere(&path) {
                continue;
            }
            // First watched, then read: what comes in between is seen twice rather than never.
            let Some(watch) = self.add(&path, None)? else { continue };
            let Ok(entries) = folder::entries(&path) else { continue };
            if self.is_marked(&path, &entries) {
                self.inotify.forget(watch);
                self.folders.remove(&watch);
                continue;
            }
            waiting.extend(
                entries.into_iter().filter(|(_, is_folder)| *is_folder).map(|(name, _)| path.join(name)),
            );
        }
        Ok(())
    }

    /// Watches one folder; none where it is not there any more, or may not be read.
    fn add(&mut self, path: &Path, only: Option<&OsStr>) -> Result<Option<WatchId>, String> {
        let watch = match self.inotify.watch(path) {
            Ok(watch) => watch,
            Err(error) => {
                use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
                let is_of_path = [NotFound, NotADirectory, PermissionDenied].contains(&error.kind());
                return if is_of_path { Ok(None) } else { Err(refused(&error)) };
            }
        };
        let only: Option<BTreeSet<OsString>> = only.map(|name| [name.to_owned()].into());
        match self.folders.get_mut(&watch) {
            Some(known) => {
                path.clone_into(&mut known.path);
                match (&mut known.only, only) {
                    (Some(names), Some(more)) => names.extend(more),
                    (names, None) => *names = None,
                    (None, Some(_)) => {}
                }
            }
            None => drop(self.folders.insert(watch, Folder { path: path.to_owned(), only })),
        }
        if self.folders.len() > FOLDERS_MAX {
            return Err(format!("it has more than {FOLDERS_MAX} folders"));
        }
        Ok(Some(watch))
    }

    fn forget_below(&mut self, path: &Path) {
        let inotify = &self.inotify;
        self.folders.retain(|watch, folder| {
            let is_gone = folder.path.starts_with(path);
            if is_gone {
                inotify.forget(*watch);
            }
            !is_gone
        });
    }

    fn is_left_out(&self, path: &Path, is_folder: bool) -> bool {
        let is_skipped = self.skipped.iter().any(|skipped| skipped == path);
        is_skipped || self.rules.excludes(path.as_os_str().as_bytes(), is_folder, 0)
    }

    fn is_elsewhere(&self, path: &Path) -> bool {
        let is_here = || folder::device(path).is_none_or(|device| self.devices.contains(&device));
        self.rules.is_one_file_system() && !is_here()
    }

    fn is_marked(&self, path: &Path, entries: &[(OsString, bool)]) -> bool {
        self.rules.markers().iter().any(|marker| {
            let is_there = entries.iter().any(|(name, _)| name.as_bytes() == marker.name);
            is_there && folder::begins_with(&path.join(OsStr::from_bytes(&marker.name)), &marker.header)
        })
    }
}

fn refused(error: &io::Error) -> String {
    format!(
        "the kernel watches no more folders for it ({error}); raise fs.inotify.max_user_watches or max_user_instances"
    )
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use serde_json::json;

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        eye: Eye,
    }

    impl Files {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str) {
            std::fs::write(self.path(name), "x").unwrap();
        }

        #[track_caller]
        fn assert_noticed(&mut self, is_noticed: bool) {
            assert_eq!(self.eye.take(), Ok(is_noticed));
        }
    }

    fn watched() -> Files {
        let folder = tempfile::tempdir().unwrap();
        for name in ["files/sub/deep", "files/cache", "files/tmp", "repository", "own"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        std::fs::write(
            folder.path().join("files/cache/CACHEDIR.TAG"),
            "Signature: 8a477f597d28d172789f06886806bc55",
        )
        .unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let file = json!({ "format": 1, "name": "work", "policy": {
            "paths": [at("files"), at("later")], "exclude": ["*.swp", at("files/tmp")], "exclude_caches": true,
            "schedule": "continuous", "keep": { "last": 3 }, "target": format!("dir:{}", at("repository")),
        }});
        let job = Job::parse(file.to_string().as_bytes(), "work").unwrap();
        let eye = Eye::open(job, &folder.path().join("own")).unwrap();
        Files { folder, eye }
    }

    #[test]
    fn what_is_saved_is_noticed_and_what_is_left_out_is_not() {
        let mut files = watched();
        files.assert_noticed(false);
        for (name, is_noticed) in [
            ("files/a", true),
            ("files/sub/deep/b", true),
            ("files/a.swp", false),
            ("files/tmp/c", false),
            ("files/cache/d", false),
            ("beside", false),
            ("later", true),
        ] {
            files.write(name);
            assert_eq!(files.eye.take(), Ok(is_noticed), "{name}");
        }
    }

    #[test]
    fn a_folder_that_comes_is_watched_and_one_that_went_is_not() {
        let mut files = watched();
        std::fs::create_dir_all(files.path("files/new/deep")).unwrap();
        files.assert_noticed(true);
        files.write("files/new/deep/a");
        files.assert_noticed(true);
        let count = files.eye.folders();
        std::fs::rename(files.path("files/new"), files.path("away")).unwrap();
        files.assert_noticed(true);
        assert_eq!(files.eye.folders(), count - 2);
        files.write("away/deep/b");
        files.assert_noticed(false);
    }

    #[test]
    fn more_than_the_kernel_remembers_is_a_change_and_has_all_folders_found_again() {
        let mut files = watched();
        let watch = WatchId::default();
        let lost = Happened { watch, name: Vec::new(), is_folder: false, what: What::Overflow };
        assert_eq!((files.eye.judge(&lost), files.eye.timeout().is_some()), (Ok(true), true));
    }
}
