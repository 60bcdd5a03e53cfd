//! Parts of generations on disk, each under its digest.
//!
//! A part comes to be under its name only whole, checked and synced. What was begun and not ended goes with whoever
//! began it, or at the next start.

#![expect(clippy::disallowed_methods, reason = "an edge: parts are files")]

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use campanile_common::config::part_digest;
use campanile_common::id::Digest;
use ring::digest::{Context, SHA256};

use crate::os::file;

/// With more, the whole file system is synced once: each file by itself would take seconds for thousands.
const SYNCED_ONE_BY_ONE: usize = 16;
const UNFINISHED_PREFIX: &str = "new-";

/// The folder of parts.
#[derive(Debug)]
pub(super) struct PartStore {
    folder: PathBuf,
    next: u64,
}

/// A part that is being written.
pub(super) struct Writer {
    file: File,
    path: Temporary,
    context: Context,
    length: u64,
}

/// A part that is whole, and not yet under its name.
#[derive(Debug)]
pub(super) struct Whole {
    path: Temporary,
    digest: Digest,
}

/// Removed when it is dropped, unless it got its name before.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It was renamed, or is worthless.
        drop(std::fs::remove_file(&self.0));
    }
}

impl PartStore {
    /// Opens the folder, making it if it is missing, and removes what was begun and not ended.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder: folder.to_owned(), next: 1 })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Length of a part; none when it is not here.
    pub(super) fn length(&self, digest: Digest) -> Option<u64> {
        std::fs::metadata(self.path(digest)).ok().filter(std::fs::Metadata::is_file).map(|found| found.len())
    }

    /// A part's bytes; none when it is not here, or longer than that.
    pub(super) fn read(&self, digest: Digest, bytes_max: usize) -> Option<Vec<u8>> {
        let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let file = File::open(self.path(digest)).ok()?;
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        (bytes.len() <= bytes_max).then_some(bytes)
    }

    /// As [`Self::read`], of a part that is named by the digest of its bytes; none too when it is damaged.
    pub(super) fn read_checked(&self, digest: Digest, bytes_max: usize) -> Option<Vec<u8>> {
        self.read(digest, bytes_max).filter(|bytes| part_digest(bytes) == digest)
    }

    /// Begins a part.
    pub(super) fn begin(&mut self) -> io::Result<Writer> {
        let path = self.folder.join(format!("{UNFINISHED_PREFIX}{}", self.next));
        self.next += 1;
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Writer { file, path: Temporary(path), context: Context::new(&SHA256), length: 0 })
    }

    /// Gives parts their names, durably.
    pub(super) fn keep(&self, parts: Vec<Whole>) -> io::Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        if parts.len() <= SYNCED_ONE_BY_ONE {
            for part in &parts {
                File::open(&part.path.0)?.sync_all()?;
            }
        } else {
            rustix::fs::syncfs(File::open(&self.folder)?)?;
        }
        for part in &parts {
            std::fs::rename(&part.path.0, self.path(part.digest))?;
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Stores a generation, which is named otherwise than by the digest of its bytes.
    pub(super) fn put(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        file::replace(&self.path(digest), bytes)
    }

    /// Removes all parts but these; how many.
    pub(super) fn sweep(&self, kept: &BTreeSet<Digest>) -> io::Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            if digest.is_some_and(|digest| !kept.contains(&digest)) {
                std::fs::remove_file(entry.path())?;
                count += 1;
            }
        }
        Ok(count)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).field("length", &self.length).finish()
    }
}

impl Writer {
    /// Bytes so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Goes on.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.context.update(bytes);
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The part, if it is the one of this digest.
    pub(super) fn end(self, digest: Digest) -> Option<Whole> {
        let found = self.context.finish();
        (found.as_ref() == digest.as_bytes()).then_some(Whole { path: self.path, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(store: &mut PartStore, bytes: &[u8]) -> Whole {
        let mut writer = store.begin().unwrap();
        bytes.chunks(3).for_each(|chunk| writer.write(chunk).unwrap());
        writer.end(part_digest(bytes)).unwrap()
    }

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_part_has_its_name_only_once_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = PartStore::open(folder.path()).unwrap();
        let digest = part_digest(b"bell tower");
        let whole = write(&mut store, b"bell tower");
        assert_eq!(store.length(digest), None);
        store.keep(vec![whole]).unwrap();
        assert_eq!((store.length(digest), names(folder.path())), (Some(10), 1));
        assert_eq!(store.read_checked(digest, 10).unwrap(), b"bell tower");
        assert_eq!(store.read(digest, 9), None);
        std::fs::write(folder.path().join(digest.to_string()), "bell towel").unwrap();
        assert_eq!(store.read_checked(digest, 10), None);
    }

    #[test]
    fn what_is_not_the_part_or_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = PartStore::open(folder.path()).unwrap();
        let mut writer = store.begin().unwrap();
        writer.write(b"a").unwrap();
        assert!(writer.end(part_digest(b"b")).is_none());
        drop(store.begin().unwrap());
        drop(write(&mut store, b"c"));
        assert_eq!(names(folder.path()), 0);
        // What a kill left goes at the next start.
        std::fs::write(folder.path().join("new-7"), "x").unwrap();
        PartStore::open(folder.path()).unwrap();
        assert_eq!(names(folder.path()), 0);
    }

    #[test]
    fn many_parts_are_kept_at_once_and_the_unwanted_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = PartStore::open(folder.path()).unwrap();
        let parts: Vec<Vec<u8>> = (0..40_u8).map(|number| vec![number; 4]).collect();
        let whole = parts.iter().map(|bytes| write(&mut store, bytes)).collect();
        store.keep(whole).unwrap();
        let kept: BTreeSet<Digest> = parts[..5].iter().map(|bytes| part_digest(bytes)).collect();
        assert_eq!(store.sweep(&kept).unwrap(), 35);
        assert_eq!(names(folder.path()), 5);
    }
}
