//! How this node stands to its configuration: the file `state.json`, which outlives every process that writes it.
//!
//! Written by the steward (what it accepted, what it was offered) and by `guard config` (what was applied, what
//! drifted), each change under one lock. A damaged file is an error by name, never read as empty: a node that forgot
//! the highest number it accepted could be led back to an older generation.

#![expect(clippy::disallowed_methods, reason = "an edge: the state is a file")]

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use campanile_common::id::Digest;
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::{ConfigPhase, ConfigReport, DRIFTED_MAX, Drifted};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::os::file;

const FILE: &str = "state.json";
const LOCK_FILE: &str = "state.lock";
const FORMAT: u16 = 1;
/// A generation that was undone so often is tried no more without an order.
pub const REVERTS_MAX: u32 = 2;
/// Generations whose reverts are remembered.
const REVERTED_MAX: usize = 16;
/// A problem in a report is one line.
const DETAIL_CHARS_MAX: usize = 400;

/// The folder of all that is configured: `<steward.state_dir>/config`.
pub fn folder_of(steward_state_dir: &Path) -> PathBuf {
    steward_state_dir.join("config")
}

/// The folder of the parts of generations, each under its digest.
pub fn parts_of(config_folder: &Path) -> PathBuf {
    config_folder.join("parts")
}

/// The state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what was written.
    #[error(
        "{path} is damaged: {problem}; restore it from a backup, or move it away to begin anew: the node then \
         takes any signed generation, an older one too"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Of a newer program.
    #[error("{path} has format {found}, newest known is {FORMAT}; install the newer agent")]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// Cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A node's name and labels, as the aggregator told them with an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// How often a generation was undone because it was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reverted {
    digest: Digest,
    times: u32,
    /// The last attempt that counted: it counts once, whoever undoes it and however often that is begun.
    last: u64,
}

/// How this node stands to its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u16,
    /// Number and digest of the highest release that was accepted; raised before it is applied.
    pub highest: Option<(u64, Digest)>,
    /// The generation that is applied.
    pub current: Option<(u64, Digest)>,
    /// The one before it.
    pub previous: Option<(u64, Digest)>,
    /// When the current one was applied.
    pub applied: Option<Timestamp>,
    /// How the node stands.
    pub phase: ConfigPhase,
    /// The generation that was tried last, where it is not the current one.
    pub tried: Option<(u64, Digest)>,
    /// What went wrong last, in a line.
    pub detail: String,
    /// What differs by another hand, at most [`DRIFTED_MAX`].
    pub drifted: Vec<Drifted>,
    /// How many resources differ.
    pub drifted_count: u32,
    /// Name and labels with the last offer that was accepted.
    pub told: Option<Told>,
    reverted: Vec<Reverted>,
}

impl State {
    /// Reads the state in the folder `config`; the empty one where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or of a newer program.
    pub fn load(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        #[derive(Deserialize)]
        struct Format {
            format: u16,
        }
        let damaged =
            |error: serde_json::Error| StateError::Damaged { path: path.clone(), problem: error.to_string() };
        let Format { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format > FORMAT {
            return Err(StateError::TooNew { path, found: format });
        }
        serde_json::from_slice(&text).map_err(damaged)
    }

    /// Changes the state under its lock, durably; makes the folder where it is missing. Returns what is stored now.
    ///
    /// # Errors
    /// When it cannot be read or written; the old one then stands.
    pub fn update(folder: &Path, change: impl FnOnce(&mut Self)) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        let failed = |source| StateError::Write { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock_path = folder.join(LOCK_FILE);
        let lock =
            File::options().create(true).truncate(false).write(true).open(lock_path).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let old = Self::load(folder)?;
        let mut state = old.clone();
        change(&mut state);
        state.format = FORMAT;
        if state != old {
            let text = serde_json::to_vec_pretty(&state).expect("a state has no odd keys");
            file::replace(&path, &text).map_err(failed)?;
        }
        Ok(state)
    }

    /// Raises the highest accepted release.
    pub fn accept(&mut self, named: (u64, Digest)) {
        if self.highest.is_none_or(|(highest, _)| named.0 > highest) {
            self.highest = Some(named);
        }
    }

    /// An attempt to go to a generation begins.
    pub fn begin(&mut self, named: (u64, Digest)) {
        self.accept(named);
        self.phase = ConfigPhase::Applying;
        self.tried = Some(named).filter(|named| Some(*named) != self.current);
        self.detail.clear();
    }

    /// All is changed, and waits to be confirmed.
    pub fn confirm(&mut self) {
        self.phase = ConfigPhase::Confirming;
    }

    /// It is applied, and confirmed where that was asked.
    pub fn succeed(&mut self, named: (u64, Digest), now: Timestamp) {
        if self.current != Some(named) {
            self.previous = self.current.replace(named);
        }
        self.applied = Some(now);
        self.phase = ConfigPhase::Applied;
        self.tried = None;
        self.detail.clear();
        self.drifted.clear();
        self.drifted_count = 0;
        self.reverted.retain(|reverted| reverted.digest != named.1);
    }

    /// Nothing is under way any more that moves the node to another generation.
    pub fn settle(&mut self) {
        if matches!(self.phase, ConfigPhase::Applying | ConfigPhase::Confirming) {
            self.phase =
                if self.current.is_some() { ConfigPhase::Applied } else { ConfigPhase::Unconfigured };
        }
    }

    /// What was under way when this was stored was interrupted, and left nothing behind.
    pub fn interrupt(&mut self) {
        if let (ConfigPhase::Applying | ConfigPhase::Confirming, Some(tried)) = (self.phase, self.tried) {
            self.fail(tried, "the apply was interrupted before it had changed anything");
        }
        self.settle();
    }

    /// It failed, and was undone.
    pub fn fail(&mut self, named: (u64, Digest), detail: &str) {
        self.phase = ConfigPhase::Failed;
        self.tried = Some(named);
        self.detail = in_a_line(detail);
    }

    /// The attempt with this nonce was not confirmed, and was undone.
    pub fn revert(&mut self, named: (u64, Digest), nonce: u64, detail: &str) {
        let digest = named.1;
        let before = self.reverted.iter().find(|reverted| reverted.digest == digest);
        let is_counted = before.is_some_and(|before| before.last == nonce);
        let times = self.reverts_of(digest).saturating_add(u32::from(!is_counted));
        self.reverted.retain(|reverted| reverted.digest != digest);
        self.reverted.push(Reverted { digest, times, last: nonce });
        let excess = self.reverted.len().saturating_sub(REVERTED_MAX);
        self.reverted.drain(..excess);
        self.phase = ConfigPhase::Reverted;
        self.tried = Some(named);
        let given_up = if times < REVERTS_MAX {
            String::new()
        } else {
            format!("; undone {times} times, it is tried no more without an order")
        };
        self.detail = in_a_line(&format!("{detail}{given_up}"));
    }

    /// What differs by another hand. An entry that was there before keeps the time at which it was found, unless it
    /// was put right in between.
    pub fn set_drifted(&mut self, mut found: Vec<Drifted>) {
        for drifted in &mut found {
            let before = self.drifted.iter().find(|before| before.resource == drifted.resource);
            if let Some(before) = before.filter(|before| !before.is_enforced && !drifted.is_enforced) {
                drifted.found = before.found;
            }
            drifted.detail = in_a_line(&drifted.detail);
        }
        // What was put right stays in sight until the next generation, or until it differs again.
        let named: BTreeSet<_> = found.iter().map(|drifted| drifted.resource.clone()).collect();
        let differing = found.iter().filter(|drifted| !drifted.is_enforced).count();
        let old = std::mem::take(&mut self.drifted);
        found.extend(old.into_iter().filter(|old| old.is_enforced && !named.contains(&old.resource)));
        found.truncate(DRIFTED_MAX);
        self.drifted_count = u32::try_from(differing).unwrap_or(u32::MAX);
        self.drifted = found;
    }

    /// How often a generation was undone because it was not confirmed.
    pub fn reverts_of(&self, digest: Digest) -> u32 {
        self.reverted.iter().find(|reverted| reverted.digest == digest).map_or(0, |reverted| reverted.times)
    }

    /// True when a generation was undone so often that only an order tries it again.
    pub fn has_given_up(&self, digest: Digest) -> bool {
        self.reverts_of(digest) >= REVERTS_MAX
    }

    /// As it is told to the aggregator. The sealing key, and why the node follows nothing, are the steward's to say.
    pub fn report(&self, sealing_key: Option<String>, denied: String) -> ConfigReport {
        ConfigReport {
            sealing_key,
            current: self.current,
            applied: self.applied,
            phase: self.phase,
            tried: self.tried,
            is_given_up: self.tried.is_some_and(|(_, digest)| self.has_given_up(digest)),
            detail: self.detail.clone(),
            drifted: self.drifted.clone(),
            drifted_count: self.drifted_count,
            denied,
        }
    }
}

fn in_a_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (u64, Digest) = (1, Digest::from_bytes([1; 32]));
    const B: (u64, Digest) = (2, Digest::from_bytes([2; 32]));

    fn drifted(name: &str, found: u64, is_enforced: bool) -> Drifted {
        Drifted {
            resource: format!("file:{name}").parse().unwrap(),
            found: Timestamp::from_millis(found),
            detail: "content".to_owned(),
            is_enforced,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_stored() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("config");
        assert_eq!(State::load(&folder).unwrap(), State::default());
        let stored = State::update(&folder, |state| {
            state.begin(A);
            state.succeed(A, Timestamp::from_millis(5));
            state.begin(B);
            state.revert(B, 1, "nobody\nconfirmed it");
            state.set_drifted(vec![drifted("/etc/motd", 7, false)]);
            state.told = Some(Told { name: "web-1".to_owned(), labels: Labels::default() });
        });
        let stored = stored.unwrap();
        assert_eq!(State::load(&folder).unwrap(), stored);
        assert_eq!(stored.highest, Some(B));
        assert_eq!(stored.current, Some(A));
        assert_eq!(stored.detail, "nobody confirmed it");
    }

    #[test]
    fn a_damaged_state_is_named_and_never_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        State::update(folder.path(), |state| state.begin(A)).unwrap();
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        for damaged in ["", "{}", &text[..text.len() / 2], &text.replacen("tried", "tired", 1)] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(State::load(folder.path()), Err(StateError::Damaged { .. })), "{damaged}");
            assert!(State::update(folder.path(), |state| state.begin(B)).is_err());
        }
        std::fs::write(&path, text.replacen("\"format\": 1", "\"format\": 9", 1)).unwrap();
        assert!(matches!(State::load(folder.path()), Err(StateError::TooNew { found: 9, .. })));
    }

    #[test]
    fn a_generation_that_was_undone_twice_is_given_up_until_it_succeeds() {
        let mut state = State::default();
        state.begin(A);
        state.succeed(A, Timestamp::from_millis(1));
        for (nonce, is_given_up) in [(5, false), (5, false), (6, true), (7, true)] {
            state.begin(B);
            state.revert(B, nonce, "not confirmed");
            assert_eq!(state.has_given_up(B.1), is_given_up);
            assert_eq!(state.report(None, String::new()).is_given_up, is_given_up);
        }
        assert!(state.detail.contains("3 times"), "{}", state.detail);
        assert!(!state.has_given_up(A.1));
        state.begin(B);
        state.succeed(B, Timestamp::from_millis(2));
        assert!(!state.has_given_up(B.1));
        assert_eq!((state.current, state.previous, state.tried), (Some(B), Some(A), None));
    }

    #[test]
    fn the_highest_number_never_falls() {
        let mut state = State::default();
        state.accept(B);
        state.accept(A);
        assert_eq!(state.highest, Some(B));
    }

    #[test]
    fn drift_keeps_the_time_at_which_it_was_found_and_what_was_put_right_stays_in_sight() {
        let mut state = State::default();
        state.set_drifted(vec![drifted("/a", 1, false), drifted("/b", 1, true)]);
        assert_eq!(state.drifted_count, 1);
        state.set_drifted(vec![drifted("/a", 9, false)]);
        assert_eq!(state.drifted, [drifted("/a", 1, false), drifted("/b", 1, true)]);
        state.set_drifted(vec![drifted("/b", 9, false)]);
        assert_eq!(state.drifted, [drifted("/b", 9, false)]);
        assert_eq!(state.drifted_count, 1);
    }
}
