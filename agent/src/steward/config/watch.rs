//! When the node is to be compared with its configuration: soon after something that is configured was touched, and
//! now and then.

#![expect(clippy::disallowed_methods, reason = "an edge: the list of what is watched is a file")]

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{HANDS_FILE, Hand};
use crate::os::fanotify::Fanotify;
use crate::os::inotify::Inotify;
use crate::os::stopwatch::Stopwatch;
use crate::os::{clock, file};

/// What an editor or a package does in several steps is looked at once.
const SETTLE: Duration = Duration::from_millis(300);
/// Something that never settles is looked at all the same.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Folders that are watched; the kernel allows a user some thousands. Beyond it the interval alone finds drift.
const FOLDERS_MAX: usize = 1024;
/// Longest list of what is watched.
const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024;
const LIST_FILE: &str = "watched.json";
/// Files whose last writer is remembered; the oldest goes.
const HANDS_MAX: usize = 64;

/// Watches what is configured.
#[derive(Debug)]
pub(in crate::steward) struct Watch {
    list: PathBuf,
    /// What is on the list lies beneath it.
    root: PathBuf,
    interval: Duration,
    inotify: Option<Inotify>,
    /// Where the kernel tells who writes.
    writers: Option<Fanotify>,
    hands: VecDeque<Hand>,
    /// Names on the way to what is configured: in the folders that are watched, only these count.
    names: BTreeSet<Vec<u8>>,
    /// Since the last look.
    looked: Stopwatch,
    /// Since the first and since the last touch that was not looked at.
    touched: Option<(Stopwatch, Stopwatch)>,
    is_first: bool,
}

impl Watch {
    pub(super) fn new(folder: &Path, root: &Path, interval: Duration) -> Self {
        let mut watch = Self {
            list: folder.join(LIST_FILE),
            root: root.to_owned(),
            interval,
            inotify: None,
            writers: None,
            hands: VecDeque::new(),
            names: BTreeSet::new(),
            looked: Stopwatch::start(),
            touched: None,
            is_first: true,
        };
        watch.arm();
        watch
    }

    /// Watches what the newest list names.
    pub(super) fn arm(&mut self) {
        let paths = paths(&self.list, &self.root).unwrap_or_else(|problem| {
            tracing::warn!(problem, "drift is looked for now and then only");
            Vec::new()
        });
        let folders = folders(&paths);
        let names = paths.iter().flat_map(|path| path.iter().map(|name| name.as_bytes().to_vec()));
        self.names = names.collect();
        (self.inotify, self.writers) = (None, None);
        if folders.is_empty() {
            return;
        }
        match Inotify::new() {
            Ok(inotify) => {
                self.writers = Fanotify::new().ok();
                for folder in folders.iter().take(FOLDERS_MAX) {
                    if let Err(error) = inotify.watch(folder) {
                        tracing::debug!(folder = %folder.display(), %error, "not watched");
                    }
                    if let Some(Err(error)) = self.writers.as_ref().map(|writers| writers.watch(folder)) {
                        tracing::debug!(folder = %folder.display(), %error, "who writes there is not told");
                    }
                }
                self.inotify = Some(inotify);
            }
            Err(error) => tracing::warn!(%error, "drift is looked for now and then only"),
        }
        // What our own programs touched is looked at by them.
        self.touched = None;
    }

    /// To be waited for.
    pub(in crate::steward) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(Inotify::descriptor)
    }

    /// Something was touched.
    pub(in crate::steward) fn touched(&mut self) {
        // At once, while the process that wrote lives.
        for written in self.writers.iter().flat_map(Fanotify::take) {
            let (device, inode, modified_s) = (written.device, written.inode, written.modified_s);
            self.hands.retain(|hand| (hand.device, hand.inode) != (device, inode));
            if self.hands.len() >= HANDS_MAX {
                self.hands.pop_front();
            }
            self.hands.push_back(Hand { device, inode, modified_s, seen: clock::now(), who: written.who });
        }
        let Some(inotify) = &self.inotify else { return };
        if !inotify.take(|name| self.names.contains(name)) {
            return;
        }
        let first = self.touched.map_or_else(Stopwatch::start, |(first, _)| first);
        self.touched = Some((first, Stopwatch::start()));
    }

    /// True when it is time to look: at once after the start, for what happened before it.
    pub(super) fn is_due(&self) -> bool {
        self.is_first || self.left().is_zero()
    }

    /// Until the next look.
    pub(super) fn left(&self) -> Duration {
        let regular = self.interval.saturating_sub(self.looked.elapsed());
        match self.touched {
            Some((first, last)) => {
                let settled = SETTLE.saturating_sub(last.elapsed());
                settled.min(SETTLE_MAX.saturating_sub(first.elapsed())).min(regular)
            }
            None => regular,
        }
    }

    /// A look begins.
    pub(super) fn begun(&mut self) {
        if !self.hands.is_empty() {
            let text = serde_json::to_vec(&self.hands).expect("numbers and text");
            // Without it drift is told with its time and owner alone.
            drop(file::replace(&self.list.with_file_name(HANDS_FILE), &text));
        }
        (self.looked, self.touched, self.is_first) = (Stopwatch::start(), None, false);
    }
}

fn paths(list: &Path, root: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", list.display());
    match file::stamp(list) {
        Ok(None) => return Ok(Vec::new()),
        Ok(Some(found)) if found.size > LIST_BYTES_MAX => return Err(failed(&"it is too long")),
        Ok(Some(_)) => {}
        Err(error) => return Err(failed(&error)),
    }
    let text = std::fs::read(list).map_err(|error| failed(&error))?;
    let paths: Vec<PathBuf> = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    Ok(paths.iter().map(|path| root.join(path.strip_prefix("/").unwrap_or(path))).collect())
}

/// Folders that hold these; where one is missing, the nearest above it that is there.
fn folders(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let parents = paths.iter().filter_map(|path| path.parent());
    let there = parents.filter_map(|parent| parent.ancestors().find(|folder| folder.is_dir()));
    there.map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests;
