//! Locks: who works on a repository says so in it, as restic does and honours.
//!
//! Who adds takes a shared lock, of which there may be many; who removes takes the exclusive one, which is held alone.
//! A lock is written first and looked for others after, so that of two who come at once at least one gives way. It is
//! refreshed every [`REFRESH`]; one that was not for [`STALE`], or whose process on the same machine is gone, is what a
//! crash left, and goes when the next lock is taken.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Object, ObjectKind};
use crate::id::ObjectId;
use crate::repository::{Repository, RepositoryError};
use crate::tree::FileTime;

/// A lock that was not refreshed for so long counts no more.
pub const STALE: Duration = Duration::from_secs(30 * 60);
/// A lock is refreshed so often.
pub const REFRESH: Duration = Duration::from_secs(5 * 60);

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Of the machine.
    pub hostname: String,
    /// Who runs the process.
    pub username: String,
    /// Of the process.
    pub pid: u32,
    /// Of the user.
    pub uid: u32,
    /// Of the user.
    pub gid: u32,
}

/// The object below `locks/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockDocument {
    /// Taken or refreshed last.
    pub time: FileTime,
    /// Whether nobody else may hold one.
    pub exclusive: bool,
    /// Of the machine.
    #[serde(default)]
    pub hostname: String,
    /// Who runs the process.
    #[serde(default)]
    pub username: String,
    /// Of the process.
    #[serde(default)]
    pub pid: u32,
    /// Of the user.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// Of the user.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A lock that was not taken, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another works on the repository.
    #[error(
        "the repository is {}locked by process {} of {} on {} since {}: wait for it, or remove lock {} if it is dead",
        if .by.exclusive { "exclusively " } else { "" }, .by.pid, .by.username, .by.hostname, .by.time, .id
    )]
    Held {
        /// The lock's name.
        id: ObjectId,
        /// Who.
        by: LockDocument,
    },
    /// Somebody removed it. What was done under it may have met others' work: stop.
    #[error("the lock is gone: it was removed, or not refreshed for half an hour")]
    Lost,
    /// The repository cannot be read or written.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl From<BackendError> for LockError {
    fn from(error: BackendError) -> Self {
        Self::Repository(error.into())
    }
}

/// Work that adds to a repository: nothing is removed meanwhile. Released when dropped.
#[derive(Debug)]
pub struct SharedLock(Held);

/// Work that removes from a repository: nobody else works on it. Released when dropped.
#[derive(Debug)]
pub struct ExclusiveLock(Held);

#[derive(Debug)]
struct Held {
    repository: Repository,
    holder: Holder,
    exclusive: bool,
    id: Mutex<Option<ObjectId>>,
}

impl SharedLock {
    /// Takes one.
    ///
    /// # Errors
    /// [`LockError::Held`] while somebody holds the exclusive one.
    pub fn take(repository: &Repository, holder: Holder, now: FileTime) -> Result<Self, LockError> {
        Held::take(repository, holder, false, now).map(Self)
    }

    /// Says that the holder is alive; to be called every [`REFRESH`].
    ///
    /// # Errors
    /// [`LockError::Lost`] when the lock is no longer there: the work must stop.
    pub fn refresh(&self, now: FileTime) -> Result<(), LockError> {
        self.0.refresh(now)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it cannot be removed: it counts for another half hour.
    pub fn release(self) -> Result<(), LockError> {
        self.0.release()
    }
}

impl ExclusiveLock {
    /// Takes it.
    ///
    /// # Errors
    /// [`LockError::Held`] while somebody holds any lock.
    pub fn take(repository: &Repository, holder: Holder, now: FileTime) -> Result<Self, LockError> {
        Held::take(repository, holder, true, now).map(Self)
    }

    /// Says that the holder is alive; to be called every [`REFRESH`].
    ///
    /// # Errors
    /// [`LockError::Lost`] when the lock is no longer there: the work must stop.
    pub fn refresh(&self, now: FileTime) -> Result<(), LockError> {
        self.0.refresh(now)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it cannot be removed: it counts for another half hour.
    pub fn release(self) -> Result<(), LockError> {
        self.0.release()
    }
}

impl Held {
    fn take(
        repository: &Repository,
        holder: Holder,
        exclusive: bool,
        now: FileTime,
    ) -> Result<Self, LockError> {
        // Before anything is written, so that who waits and tries again disturbs nobody.
        conflicts(repository, &holder, exclusive, None, now)?;
        let held = Self { repository: repository.clone(), holder, exclusive, id: Mutex::new(None) };
        let id = held.write(now)?;
        *held.id() = Some(id);
        conflicts(repository, &held.holder, exclusive, Some(id), now)?;
        Ok(held)
    }

    fn id(&self) -> std::sync::MutexGuard<'_, Option<ObjectId>> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, now: FileTime) -> Result<ObjectId, RepositoryError> {
        let Holder { hostname, username, pid, uid, gid } = self.holder.clone();
        let document =
            LockDocument { time: now, exclusive: self.exclusive, hostname, username, pid, uid, gid };
        self.repository.write_document(ObjectKind::Lock, &document)
    }

    /// The new one is there before the old one goes: at no moment is there none.
    fn refresh(&self, now: FileTime) -> Result<(), LockError> {
        let backend = self.repository.backend();
        let mut id = self.id();
        let old = id.ok_or(LockError::Lost)?;
        if !backend.list(ObjectKind::Lock)?.iter().any(|listed| listed.id == old) {
            return Err(LockError::Lost);
        }
        *id = Some(self.write(now)?);
        backend.remove(Object::new(ObjectKind::Lock, old))?;
        Ok(())
    }

    fn release(self) -> Result<(), LockError> {
        let taken = self.id().take();
        let Some(id) = taken else { return Ok(()) };
        Ok(self.repository.backend().remove(Object::new(ObjectKind::Lock, id))?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let id = self.id().take();
        if let Some(id) = id {
            // What stays counts for half an hour; nothing better can be done here.
            drop(self.repository.backend().remove(Object::new(ObjectKind::Lock, id)));
        }
    }
}

/// Fails when another's lock stands against ours. Locks that a crash left are removed.
fn conflicts(
    repository: &Repository,
    holder: &Holder,
    exclusive: bool,
    own: Option<ObjectId>,
    now: FileTime,
) -> Result<(), LockError> {
    for listed in repository.backend().list(ObjectKind::Lock)? {
        // Some stores leave an empty object where a write was cut.
        if Some(listed.id) == own || listed.size == 0 {
            continue;
        }
        let object = Object::new(ObjectKind::Lock, listed.id);
        let by: LockDocument = match repository.read_document(object, "lock") {
            Err(RepositoryError::Backend(BackendError::Missing(_))) => continue,
            read => read?,
        };
        if is_stale(&by, holder, now, is_alive) {
            repository.backend().remove(object)?;
        } else if exclusive || by.exclusive {
            return Err(LockError::Held { id: listed.id, by });
        }
    }
    Ok(())
}

fn is_stale(lock: &LockDocument, reader: &Holder, now: FileTime, is_alive: impl Fn(u32) -> bool) -> bool {
    let stale = i64::try_from(STALE.as_secs()).unwrap_or(i64::MAX);
    let is_old = now.seconds.saturating_sub(lock.time.seconds) > stale;
    let is_ours = lock.hostname == reader.hostname && !lock.hostname.is_empty();
    is_old || (is_ours && lock.pid != reader.pid && !is_alive(lock.pid))
}

/// A process that may not be asked is alive.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture_repository::Fixture;

    fn holder(hostname: &str, pid: u32) -> Holder {
        Holder { hostname: hostname.to_owned(), username: "root".to_owned(), pid, uid: 0, gid: 0 }
    }

    fn at(seconds: i64) -> FileTime {
        FileTime { seconds: 1_777_000_000 + seconds, nanoseconds: 0 }
    }

    #[test]
    fn shared_locks_stand_together_and_the_exclusive_one_alone() {
        let fixture = Fixture::new();
        let repository = &fixture.repository;
        let first = SharedLock::take(repository, holder("a", 1), at(0)).unwrap();
        let second = SharedLock::take(repository, holder("b", 1), at(0)).unwrap();
        let refused = ExclusiveLock::take(repository, holder("c", 1), at(1)).unwrap_err();
        assert!(matches!(&refused, LockError::Held { by, .. } if !by.exclusive), "{refused}");
        drop(first);
        second.release().unwrap();
        let exclusive = ExclusiveLock::take(repository, holder("c", 1), at(2)).unwrap();
        let refused = SharedLock::take(repository, holder("a", 1), at(3)).unwrap_err();
        assert!(refused.to_string().contains("exclusively locked by process 1 of root on c"), "{refused}");
        assert!(ExclusiveLock::take(repository, holder("a", 1), at(3)).is_err());
        assert_eq!(fixture.count(ObjectKind::Lock), 1, "who was refused leaves nothing");
        drop(exclusive);
        assert_eq!(fixture.count(ObjectKind::Lock), 0);
    }

    #[test]
    fn a_lock_lasts_as_long_as_it_is_refreshed() {
        let fixture = Fixture::new();
        let repository = &fixture.repository;
        let lock = ExclusiveLock::take(repository, holder("a", 1), at(0)).unwrap();
        lock.refresh(at(1500)).unwrap();
        assert!(SharedLock::take(repository, holder("b", 1), at(3000)).is_err());
        let later = SharedLock::take(repository, holder("b", 1), at(3301)).unwrap();
        assert!(matches!(lock.refresh(at(3302)), Err(LockError::Lost)));
        drop(lock);
        later.refresh(at(3303)).unwrap();
    }

    #[test]
    fn a_lock_of_a_dead_process_counts_no_more_on_its_own_machine() {
        let lock = |hostname: &str, pid| LockDocument {
            time: at(0),
            exclusive: true,
            hostname: hostname.to_owned(),
            username: String::new(),
            pid,
            uid: 0,
            gid: 0,
        };
        let reader = holder("a", 7);
        let living = |pid| pid == 5;
        assert!(!is_stale(&lock("a", 5), &reader, at(1), living));
        assert!(is_stale(&lock("a", 6), &reader, at(1), living));
        assert!(!is_stale(&lock("b", 6), &reader, at(1), living));
        assert!(is_stale(&lock("b", 6), &reader, at(1801), living));
        // A clock that runs ahead makes no lock old.
        assert!(!is_stale(&lock("b", 6), &reader, at(-4000), living));
        assert!(!is_alive(0) && is_alive(std::process::id()));
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_not_ignored() {
        let fixture = Fixture::new();
        let object = Object::new(ObjectKind::Lock, ObjectId::of(b"lock"));
        fixture.memory.overwrite(object, b"something".to_vec());
        let refused = SharedLock::take(&fixture.repository, holder("a", 1), at(0)).unwrap_err();
        assert!(matches!(refused, LockError::Repository(RepositoryError::Damaged { .. })), "{refused}");
        fixture.memory.overwrite(object, Vec::new());
        SharedLock::take(&fixture.repository, holder("a", 1), at(0)).unwrap();
    }
}
