//! A change takes effect for good only once the node has reached its aggregator anew: the files by which the program
//! that applies, the steward and the guardian agree about that.
//!
//! All are in the folder `undo` and carry the nonce of one attempt, so that none is ever taken for another's:
//! `deadline` (by the program, before the first such change), `armed` (by the guardian, once it watches),
//! `awaiting` (by the program, once all is changed), `confirmed` (by the steward, once a session that began after it
//! saw `awaiting` stands). The program changes nothing before it sees `armed`.
//!
//! Time is that since the machine started, which nobody sets. After a restart of the machine no deadline holds any
//! more: what was not confirmed is undone.

#![expect(clippy::disallowed_methods, reason = "an edge: these are files")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::os::{clock, file};

const DEADLINE_FILE: &str = "deadline";
const ARMED_FILE: &str = "armed";
const AWAITING_FILE: &str = "awaiting";
const CONFIRMED_FILE: &str = "confirmed";

/// Until when a change must be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// Names the attempt.
    pub nonce: u64,
    /// The run of the kernel whose clock `at_ms` is of.
    pub boot: String,
    /// Milliseconds since the machine started.
    pub at_ms: u64,
}

/// The folder `undo` of the folder `config`.
pub fn undo_folder(config_folder: &Path) -> PathBuf {
    config_folder.join("undo")
}

impl Deadline {
    /// One that is `within` from now.
    pub(crate) fn after(nonce: u64, within: Duration) -> Self {
        let at = clock::since_boot().saturating_add(within);
        Self { nonce, boot: clock::boot_id(), at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX) }
    }

    /// What is left of it; nothing after a restart of the machine.
    pub fn left(&self) -> Duration {
        if self.boot != clock::boot_id() {
            return Duration::ZERO;
        }
        Duration::from_millis(self.at_ms).saturating_sub(clock::since_boot())
    }
}

/// The deadline that stands, where one does. One that cannot be read is over: it is none that was set.
pub fn deadline(undo: &Path) -> Option<Deadline> {
    let text = std::fs::read(undo.join(DEADLINE_FILE)).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or(Deadline { nonce: 0, boot: String::new(), at_ms: 0 }))
}

pub(crate) fn set_deadline(undo: &Path, deadline: &Deadline) -> io::Result<()> {
    let text = serde_json::to_vec(deadline).map_err(io::Error::other)?;
    file::replace(&undo.join(DEADLINE_FILE), &text)
}

fn nonce_in(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write_nonce(path: &Path, nonce: u64) -> io::Result<()> {
    file::replace(path, nonce.to_string().as_bytes())
}

/// The attempt that a guardian watches.
pub fn armed(undo: &Path) -> Option<u64> {
    nonce_in(&undo.join(ARMED_FILE))
}

pub(crate) fn set_armed(undo: &Path, nonce: u64) -> io::Result<()> {
    write_nonce(&undo.join(ARMED_FILE), nonce)
}

/// The attempt that waits for its confirmation: the steward has `run` reach the aggregator anew for it.
pub fn awaiting(undo: &Path) -> Option<u64> {
    nonce_in(&undo.join(AWAITING_FILE))
}

pub(crate) fn set_awaiting(undo: &Path, nonce: u64) -> io::Result<()> {
    write_nonce(&undo.join(AWAITING_FILE), nonce)
}

/// Confirms the attempt that waits. False when it is another one, or none, or when its time is over: a session that
/// stands after a restart of the machine says nothing of what the restart took away.
///
/// # Errors
/// When the confirmation cannot be written.
pub fn confirm(undo: &Path, nonce: u64) -> io::Result<bool> {
    let is_in_time = || deadline(undo).is_some_and(|set| set.nonce == nonce && !set.left().is_zero());
    if awaiting(undo) != Some(nonce) || !is_in_time() {
        return Ok(false);
    }
    write_nonce(&undo.join(CONFIRMED_FILE), nonce).map(|()| true)
}

/// True when an attempt was confirmed, and nobody had begun to undo it before.
pub(crate) fn is_confirmed(undo: &Path, nonce: u64) -> bool {
    awaiting(undo) == Some(nonce) && nonce_in(&undo.join(CONFIRMED_FILE)) == Some(nonce)
}

/// No attempt waits any more, and none is confirmed.
pub(crate) fn refuse(undo: &Path) -> io::Result<()> {
    let path = undo.join(AWAITING_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| file::sync_folder(&path)),
    }
}

/// The attempt that nobody watches yet: the steward starts `guard config guardian` for it, where nothing that ends the
/// program, or the steward itself, ends the guardian.
pub fn lacks_guardian(undo: &Path) -> Option<u64> {
    let nonce = deadline(undo)?.nonce;
    (armed(undo) != Some(nonce)).then_some(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_attempt_that_waits_is_confirmed() {
        let undo = tempfile::tempdir().unwrap();
        assert!(!confirm(undo.path(), 7).unwrap());
        set_deadline(undo.path(), &Deadline::after(7, Duration::from_secs(1000))).unwrap();
        set_awaiting(undo.path(), 7).unwrap();
        assert!(!confirm(undo.path(), 8).unwrap());
        assert!(!is_confirmed(undo.path(), 7));
        assert!(confirm(undo.path(), 7).unwrap());
        assert!(is_confirmed(undo.path(), 7) && !is_confirmed(undo.path(), 8));
        refuse(undo.path()).unwrap();
        assert!(!is_confirmed(undo.path(), 7));
        assert!(!confirm(undo.path(), 7).unwrap(), "it comes too late");
    }

    #[test]
    fn nothing_is_confirmed_after_its_deadline_or_a_restart_of_the_machine() {
        let undo = tempfile::tempdir().unwrap();
        let other_boot =
            Deadline { boot: "another".to_owned(), ..Deadline::after(7, Duration::from_secs(1000)) };
        for over in [other_boot, Deadline::after(7, Duration::ZERO)] {
            set_deadline(undo.path(), &over).unwrap();
            set_awaiting(undo.path(), 7).unwrap();
            assert!(!confirm(undo.path(), 7).unwrap(), "{over:?}");
            assert!(!is_confirmed(undo.path(), 7));
        }
    }

    #[test]
    fn an_attempt_lacks_a_guardian_until_one_watches_it() {
        let undo = tempfile::tempdir().unwrap();
        assert_eq!(lacks_guardian(undo.path()), None);
        set_armed(undo.path(), 6).unwrap();
        set_deadline(undo.path(), &Deadline::after(7, Duration::from_secs(1))).unwrap();
        assert_eq!(lacks_guardian(undo.path()), Some(7));
        set_armed(undo.path(), 7).unwrap();
        assert_eq!(lacks_guardian(undo.path()), None);
    }

    #[test]
    fn a_deadline_of_another_start_of_the_machine_is_over() {
        let undo = tempfile::tempdir().unwrap();
        let mut set = Deadline::after(7, Duration::from_secs(1000));
        set_deadline(undo.path(), &set).unwrap();
        let read = deadline(undo.path()).unwrap();
        assert_eq!(read, set);
        assert!(read.left() > Duration::from_secs(900));
        set.boot = "another".to_owned();
        assert_eq!(set.left(), Duration::ZERO);
    }

    #[test]
    fn a_deadline_that_cannot_be_read_is_over() {
        let undo = tempfile::tempdir().unwrap();
        assert_eq!(deadline(undo.path()), None);
        std::fs::write(undo.path().join(DEADLINE_FILE), "{").unwrap();
        assert_eq!(deadline(undo.path()).unwrap().left(), Duration::ZERO);
    }
}
