//! One agent per state folder, and how to find it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getpid, kill_process};

const LOCK_FILE: &str = "agent.lock";

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
