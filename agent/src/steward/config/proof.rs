//! Changes that count only once the aggregator was reached anew: starts the guardian that undoes them otherwise, asks
//! for a new session, and confirms.
//!
//! The files of `config::confirm` say where an attempt stands. The guardian is no child of any guard: it outlives the
//! program that applies, `run`, and this process.

use std::io;
use std::path::PathBuf;
use std::process::Child;

use rustix::process::Pid;

use crate::config::confirm;
use crate::steward::execute::Launcher;

/// What an apply under way has noted: there is something to be undone while it exists.
const JOURNAL_FILE: &str = "journal";

/// Where the attempt under way stands.
#[derive(Debug)]
pub(in crate::steward) struct Proof {
    undo: PathBuf,
    /// The attempt that has its guardian.
    guarded: Option<u64>,
    guardians: Vec<Child>,
    /// The attempt for which a new session is asked.
    asked: Option<u64>,
    /// The attempt that was confirmed last.
    confirmed: Option<u64>,
}

impl Proof {
    pub(super) const fn new(undo: PathBuf) -> Self {
        Self { undo, guarded: None, guardians: Vec::new(), asked: None, confirmed: None }
    }

    /// True when there is something to be undone: of an apply under way, or of one that was cut.
    pub(super) fn is_pending(&self) -> bool {
        self.undo.join(JOURNAL_FILE).exists()
    }

    /// Starts the guardian of an attempt that has none yet.
    pub(in crate::steward) fn guard(
        &mut self,
        launcher: &Launcher,
        arguments: &[String],
    ) -> io::Result<bool> {
        self.guardians.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let Some(nonce) = confirm::lacks_guardian(&self.undo).filter(|nonce| self.guarded != Some(*nonce))
        else {
            return Ok(false);
        };
        // Tried once: without its guardian the program changes nothing.
        self.guarded = Some(nonce);
        self.guardians.push(launcher.start_guardian(arguments, nonce)?);
        Ok(true)
    }

    /// The attempt that waits for a new session, when it is another than before.
    pub(in crate::steward) fn newly_asked(&mut self) -> Option<u64> {
        let awaiting = confirm::awaiting(&self.undo);
        if awaiting == self.asked {
            return None;
        }
        self.asked = awaiting;
        awaiting
    }

    /// The attempt that waits for a new session.
    pub(in crate::steward) const fn asked(&self) -> Option<u64> {
        self.asked
    }

    /// A session that was begun after this attempt asked for it stands. True when that is what it waits for.
    pub(in crate::steward) fn confirm(&mut self, nonce: u64) -> io::Result<bool> {
        // It is told as often as there are sessions until the program has seen it.
        if self.asked != Some(nonce) || self.confirmed == Some(nonce) {
            return Ok(false);
        }
        let is_confirmed = confirm::confirm(&self.undo, nonce)?;
        if is_confirmed {
            self.confirmed = Some(nonce);
        }
        Ok(is_confirmed)
    }

    /// Guardians that this process started: they are spared when it ends what got away.
    pub(in crate::steward) fn guardians(&self) -> impl Iterator<Item = Pid> {
        self.guardians.iter().filter_map(|child| i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// True while a guardian is to be taken leave of.
    pub(in crate::steward) const fn has_guardians(&self) -> bool {
        !self.guardians.is_empty()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_gets_its_guardian_at_once_and_one_alone() {
        let undo = tempfile::tempdir().unwrap();
        let mut proof = Proof::new(undo.path().to_owned());
        let launcher = Launcher {
            program: "/bin/false".into(),
            systemd_run: Some("/bin/true".into()),
            state_dir: "/nowhere".into(),
            confines: false,
        };
        assert!(!proof.guard(&launcher, &[]).unwrap(), "nothing is to be watched");
        std::fs::write(undo.path().join("deadline"), r#"{"nonce":7,"boot":"","at_ms":1}"#).unwrap();
        assert!(proof.guard(&launcher, &[]).unwrap());
        assert!(proof.has_guardians());
        assert!(!proof.guard(&launcher, &[]).unwrap(), "it has one");
    }
}
