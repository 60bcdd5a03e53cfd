//! One agent per state folder, and how to find it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getpid, kill_process};

use super::stopwatch::{Stopwatch, pause};

const LOCK_FILE: &str = "agent.lock";
/// A process that was killed while it started a child leaves its lock to the child until that runs a program of its
/// own: a moment, and on a busy machine a little more.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Held while the agent runs; the kernel releases it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The folder cannot be taken, or nobody has it.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another agent (process {pid}) uses {folder}; stop it or give this one a state_dir of its own")]
    Taken {
        /// Which folder.
        folder: PathBuf,
        /// By whom.
        pid: String,
    },
    /// The folder is not accessible.
    #[error("cannot use state folder {folder}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No agent runs there.
    #[error("no agent runs on {folder}")]
    NotRunning {
        /// Which folder.
        folder: PathBuf,
    },
}

impl Lock {
    /// As [`Self::take`], for daemons that start right after their predecessor was killed.
    ///
    /// # Errors
    /// When another agent keeps it, or it cannot be used.
    pub fn take_after_predecessor(folder: &Path) -> Result<Self, LockError> {
        let watch = Stopwatch::start();
        loop {
            match Self::take(folder) {
                Err(LockError::Taken { .. }) if watch.elapsed() < PREDECESSOR_PATIENCE => {
                    pause(LOOK_INTERVAL);
                }
                taken => return taken,
            }
        }
    }

    /// Takes the state folder, making it if it is missing.
    ///
    /// # Errors
    /// When another agent has it or it cannot be used.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let error = |source| LockError::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(error)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK_FILE))
            .map_err(error)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(error)?;
            return Err(LockError::Taken { folder: folder.to_owned(), pid: pid.trim().to_owned() });
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", getpid().as_raw_pid()));
        // On a full disk the agent still runs; only `log-level` cannot find it then.
        drop(written);
        Ok(Self { _file: file })
    }
}

/// True while an agent holds the folder. Makes nothing: a lock that root left behind would shut the agent out.
pub fn is_held(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(LOCK_FILE)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

/// Sends a signal to the agent that holds the folder.
///
/// # Errors
/// When none does.
pub fn signal_holder(folder: &Path, signal: Signal) -> Result<(), LockError> {
    let not_running = || LockError::NotRunning { folder: folder.to_owned() };
    let mut file = File::open(folder.join(LOCK_FILE)).map_err(|_| not_running())?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Err(not_running());
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|_| not_running())?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(not_running)?;
    kill_process(pid, signal).map_err(|_| not_running())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_only_looks_makes_nothing_and_sees_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_held(folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let held = Lock::take(folder.path()).unwrap();
        assert!(is_held(folder.path()));
        drop(held);
        assert!(!is_held(folder.path()));
    }

    #[test]
    fn a_lock_that_is_let_go_in_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path()).unwrap();
        assert!(matches!(Lock::take(folder.path()), Err(LockError::Taken { .. })));
        let path = folder.path().to_owned();
        let waiting = std::thread::spawn(move || Lock::take_after_predecessor(&path).is_ok());
        pause(LOOK_INTERVAL * 3);
        drop(held);
        assert!(waiting.join().unwrap());
    }
}
