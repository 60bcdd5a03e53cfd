//! Files named by the SHA-256 of their bytes, in a folder of their own: `ab/abcd...`.
//!
//! A file is there whole or not at all, and is held against its name whenever it is read: damage is an error and never
//! content. Which files there are is kept in memory. Everything here blocks, but for what only looks at that.

#![expect(clippy::disallowed_methods, reason = "`os` is where files are touched")]

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use campanile_common::config::part_digest;
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

/// Most bytes of all parts together; more is refused.
const TOTAL_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Where parts are written before they get their names.
const NEW: &str = "new";
const READ_BYTES: usize = 64 * 1024;

/// A part that cannot be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PartError {
    /// The bytes are not those of the name.
    #[error("these bytes are part {found}, not {named}; send each part under its own digest")]
    Mismatch {
        /// Under which it was sent.
        named: Digest,
        /// Of what came.
        found: Digest,
    },
    /// There is none of this name.
    #[error("there is no part {0}")]
    Missing(Digest),
    /// The file is not what its name says any more.
    #[error("part {digest} is damaged in {path}; submit the bundle again to replace it, and check the disk")]
    Damaged {
        /// Which.
        digest: Digest,
        /// Its file.
        path: PathBuf,
    },
    /// No room.
    #[error("no space left for parts of the configuration; nothing was changed")]
    Full,
    /// The disk refused.
    #[error("cannot {doing} {path}: {detail}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
}

#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: u64,
    /// When somebody last wanted it to be there.
    since: Timestamp,
}

#[derive(Debug, Default)]
struct Index {
    held: HashMap<Digest, Held>,
    total: u64,
}

/// Handle of the parts. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Parts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    index: Mutex<Index>,
    next: AtomicU64,
    most: u64,
}

fn disk(doing: &'static str, path: &Path, error: &io::Error) -> PartError {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        return PartError::Full;
    }
    PartError::Disk { doing, path: path.to_owned(), detail: error.to_string() }
}

impl Parts {
    /// Opens the folder, making it when there is none, and lists what is there. What was not written to its end goes.
    ///
    /// # Errors
    /// When it is not accessible.
    pub fn open(folder: &Path) -> Result<Self, PartError> {
        Self::open_with(folder, TOTAL_BYTES_MAX)
    }

    /// The same with another limit of all parts together.
    ///
    /// # Errors
    /// When it is not accessible.
    pub fn open_with(folder: &Path, most: u64) -> Result<Self, PartError> {
        let failed = |error: io::Error| disk("use", folder, &error);
        let new = folder.join(NEW);
        match std::fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::create_dir_all(&new).map_err(failed)?;
        let mut index = Index::default();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.file_name().is_some_and(|name| name.len() == 2) {
                index.read_folder(&path)?;
            }
        }
        let index = Mutex::new(index);
        let shared = Shared { folder: folder.to_owned(), index, next: AtomicU64::new(0), most };
        Ok(Self(Arc::new(shared)))
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.0.folder.join(&name[..2]).join(name)
    }

    /// Bytes of all parts.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// True when there is one of this name. Never waits.
    pub fn has(&self, digest: Digest) -> bool {
        self.lock().held.contains_key(&digest)
    }

    /// Those of them that are not there. The others stay for a while, whether anything names them or not. Never waits.
    pub fn missing(&self, digests: &[Digest], now: Timestamp) -> Vec<Digest> {
        let mut index = self.lock();
        let mut is_missing = |digest: &Digest| match index.held.get_mut(digest) {
            Some(held) => {
                held.since = held.since.max(now);
                false
            }
            None => true,
        };
        digests.iter().copied().filter(|digest| is_missing(digest)).collect()
    }

    /// Writes a part, synced under its name. One that is there stays as it is.
    ///
    /// # Errors
    /// When the bytes are not those of the name, or the disk refuses.
    pub fn put(&self, named: Digest, bytes: &[u8], now: Timestamp) -> Result<(), PartError> {
        let found = part_digest(bytes);
        if found != named {
            return Err(PartError::Mismatch { named, found });
        }
        if self.missing(&[named], now).is_empty() {
            return Ok(());
        }
        let length = bytes.len() as u64;
        if self.total().saturating_add(length) > self.0.most {
            return Err(PartError::Full);
        }
        let new = self.0.folder.join(NEW).join(self.0.next.fetch_add(1, Ordering::Relaxed).to_string());
        let path = self.path(named);
        let written = self.write(&new, &path, bytes);
        if let Err(error) = written {
            // What is left of it goes at the next start at the latest.
            drop(std::fs::remove_file(&new));
            return Err(disk("write", &path, &error));
        }
        let mut index = self.lock();
        if index.held.insert(named, Held { bytes: length, since: now }).is_none() {
            index.total += length;
        }
        Ok(())
    }

    fn write(&self, new: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let folder = path.parent().unwrap_or(&self.0.folder);
        match std::fs::create_dir(folder) {
            Ok(()) => File::open(&self.0.folder)?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        std::fs::rename(new, path)?;
        File::open(folder)?.sync_all()
    }

    /// The bytes of a part, held against its name.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, PartError> {
        let mut bytes = Vec::new();
        let path = self.path(digest);
        let mut file = self.open_part(digest, &path)?;
        file.read_to_end(&mut bytes).map_err(|error| disk("read", &path, &error))?;
        if part_digest(&bytes) == digest { Ok(bytes) } else { Err(self.damaged(digest, path)) }
    }

    /// Holds a part against its name without keeping it in memory; gives its length.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn check(&self, digest: Digest) -> Result<u64, PartError> {
        let path = self.path(digest);
        let mut file = self.open_part(digest, &path)?;
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let (mut buffer, mut length) = (vec![0; READ_BYTES], 0);
        loop {
            let read = file.read(&mut buffer).map_err(|error| disk("read", &path, &error))?;
            if read == 0 {
                break;
            }
            context.update(&buffer[..read]);
            length += read as u64;
        }
        let is_whole = context.finish().as_ref() == digest.as_bytes();
        if is_whole { Ok(length) } else { Err(self.damaged(digest, path)) }
    }

    /// Up to `most` bytes of a part from `offset` on, not held against its name.
    ///
    /// # Errors
    /// When there is none, or the disk refuses.
    pub fn piece(&self, digest: Digest, offset: u64, most: usize) -> Result<Vec<u8>, PartError> {
        let path = self.path(digest);
        let mut file = self.open_part(digest, &path)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(most as u64).read_to_end(&mut bytes))
            .map_err(|error| disk("read", &path, &error))?;
        Ok(bytes)
    }

    fn open_part(&self, digest: Digest, path: &Path) -> Result<File, PartError> {
        if !self.has(digest) {
            return Err(PartError::Missing(digest));
        }
        match File::open(path) {
            Ok(file) => Ok(file),
            // It was there, and nobody here removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.damaged(digest, path.to_owned()))
            }
            Err(error) => Err(disk("read", path, &error)),
        }
    }

    /// Counts as missing from now on, so that whoever has it sends it again.
    fn damaged(&self, digest: Digest, path: PathBuf) -> PartError {
        self.lock().forget(digest);
        tracing::error!(%digest, path = %path.display(), "a part of the configuration is damaged");
        PartError::Damaged { digest, path }
    }

    /// Removes up to `most` parts that are not in `kept` and that nobody wanted for as long as `grace`. Gives how many
    /// it removed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sweep(
        &self,
        kept: &HashSet<Digest>,
        now: Timestamp,
        grace: Duration,
        most: usize,
    ) -> Result<usize, PartError> {
        let is_old = |held: &Held| now.since(held.since) >= grace;
        let left: Vec<Digest> = {
            let index = self.lock();
            let unnamed = index.held.iter().filter(|(digest, held)| !kept.contains(*digest) && is_old(held));
            unnamed.map(|(digest, _)| *digest).take(most).collect()
        };
        for digest in &left {
            let path = self.path(*digest);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(disk("remove", &path, &error));
                }
                _ => self.lock().forget(*digest),
            }
        }
        Ok(left.len())
    }
}

impl Index {
    fn forget(&mut self, digest: Digest) {
        if let Some(held) = self.held.remove(&digest) {
            self.total -= held.bytes;
        }
    }

    fn read_folder(&mut self, folder: &Path) -> Result<(), PartError> {
        let failed = |error: io::Error| disk("use", folder, &error);
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) else {
                tracing::warn!(path = %entry.path().display(), "no part of the configuration; left alone");
                continue;
            };
            let metadata = entry.metadata().map_err(failed)?;
            let written = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let since = Timestamp::from_millis(u64::try_from(written.as_millis()).unwrap_or(u64::MAX));
            self.held.insert(digest, Held { bytes: metadata.len(), since });
            self.total += metadata.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    #[test]
    fn a_part_reads_back_after_a_restart_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path()).unwrap();
        let digest = part_digest(b"hello");
        parts.put(digest, b"hello", at(1)).unwrap();
        parts.put(digest, b"hello", at(1)).unwrap();
        assert_eq!(parts.total(), 5);
        let parts = Parts::open(folder.path()).unwrap();
        assert_eq!((parts.total(), parts.has(digest)), (5, true));
        assert_eq!(parts.read(digest).unwrap(), b"hello");
        assert_eq!(parts.check(digest).unwrap(), 5);
        assert_eq!(parts.piece(digest, 1, 3).unwrap(), b"ell");
        assert_eq!(parts.missing(&[digest, part_digest(b"x")], at(1)), [part_digest(b"x")]);
    }

    #[test]
    fn bytes_under_a_foreign_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path()).unwrap();
        let named = part_digest(b"a");
        assert!(matches!(parts.put(named, b"b", at(1)), Err(PartError::Mismatch { .. })));
        assert!(matches!(parts.read(named), Err(PartError::Missing(_))));
    }

    #[test]
    fn a_damaged_part_is_named_and_can_be_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path()).unwrap();
        let digest = part_digest(b"hello");
        for damage in [&b"hellO"[..], b"hell", b""] {
            parts.put(digest, b"hello", at(1)).unwrap();
            std::fs::write(parts.path(digest), damage).unwrap();
            let error = if damage.is_empty() {
                parts.check(digest).unwrap_err()
            } else {
                parts.read(digest).unwrap_err()
            };
            assert!(error.to_string().contains(&digest.to_string()), "{error}");
            assert!(matches!(error, PartError::Damaged { .. }));
            assert_eq!(parts.missing(&[digest], at(1)), [digest]);
        }
        parts.put(digest, b"hello", at(1)).unwrap();
        std::fs::remove_file(parts.path(digest)).unwrap();
        assert!(matches!(parts.read(digest), Err(PartError::Damaged { .. })));
        parts.put(digest, b"hello", at(1)).unwrap();
        assert_eq!(parts.read(digest).unwrap(), b"hello");
    }

    #[test]
    fn what_was_not_written_to_its_end_is_no_part_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        drop(Parts::open(folder.path()).unwrap());
        std::fs::write(folder.path().join("new/0"), b"hal").unwrap();
        let parts = Parts::open(folder.path()).unwrap();
        assert_eq!(parts.total(), 0);
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn past_the_limit_of_all_parts_a_new_one_is_refused_and_an_old_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open_with(folder.path(), 6).unwrap();
        parts.put(part_digest(b"hello"), b"hello", at(1)).unwrap();
        assert!(matches!(parts.put(part_digest(b"ab"), b"ab", at(1)), Err(PartError::Full)));
        parts.put(part_digest(b"hello"), b"hello", at(1)).unwrap();
        parts.put(part_digest(b"a"), b"a", at(1)).unwrap();
    }

    #[test]
    fn a_sweep_takes_what_nothing_names_and_nobody_wanted_lately() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path()).unwrap();
        let [kept, wanted, left] = [b"a", b"b", b"c"].map(|bytes| {
            parts.put(part_digest(bytes), bytes, at(1)).unwrap();
            part_digest(bytes)
        });
        assert!(parts.missing(&[wanted], at(2)).is_empty());
        let named = HashSet::from([kept]);
        assert_eq!(parts.sweep(&named, at(2), HOUR, 10).unwrap(), 1);
        assert!(parts.has(kept) && parts.has(wanted) && !parts.has(left));
        assert_eq!(parts.sweep(&HashSet::new(), at(9), HOUR, 1).unwrap(), 1);
        assert_eq!(parts.total(), 1);
        assert!(!parts.path(left).exists());
    }
}
