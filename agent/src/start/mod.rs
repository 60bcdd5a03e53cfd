//! How runs of the agent began and ended, and whether the next one does everything or is in safe mode: no more than to
//! show that the node is there.
//!
//! Runs that end abnormally one after the other, each before it was good for a minute, would leave the node unseen; the
//! service manager starts it again and again. From so many on it starts in safe mode, tries everything again after an
//! hour, and after twice as long each time that fails. `ledger` keeps the record.

mod ledger;

use std::time::Duration;

use campanile_common::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use ledger::{Ledger, LedgerError};

/// A run of so long is a good one, however it ends then.
pub const GOOD_AFTER: Duration = Duration::from_secs(60);
/// The longest between two tries to do everything.
const RETRY_MAX: Duration = Duration::from_secs(24 * 3600);
/// Runs that are kept: as many as may be counted.
const RUNS_KEPT: usize = 100;
/// Of how a run ended, so much is kept.
const REASON_BYTES_MAX: usize = 200;
const KILLED: &str = "killed, or crashed";

/// When the agent starts in safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeModeSettings {
    /// After so many runs that ended abnormally; 0 for never.
    pub starts: u32,
    /// Within so long.
    pub within: Duration,
    /// How long until everything is tried again.
    pub retry: Duration,
}

/// A run that ended abnormally, or that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    started: Timestamp,
    /// How it ended; none while it goes on, and where it could not say.
    end: Option<String>,
}

/// Safe mode, from when on and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Safe {
    since: Timestamp,
    reason: String,
    /// When everything is tried again.
    try_at: Timestamp,
    /// How long after the last try that is.
    waits_s: u64,
    /// Everything is being tried.
    is_trying: bool,
}

/// What is remembered from one run to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// Of the program: another one may do better.
    version: String,
    /// Those that were not good, oldest first.
    runs: Vec<Run>,
    safe: Option<Safe>,
}

/// What a run does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Full,
    /// No more than to show that the node is there.
    Safe {
        /// Since when and why.
        reason: String,
        /// When everything is tried again.
        try_at: Timestamp,
    },
}

impl Record {
    /// Begins a run: what it does.
    pub fn begin(&mut self, version: &str, settings: SafeModeSettings, now: Timestamp) -> Mode {
        if self.version != version {
            *self = Self { format: ledger::FORMAT, version: version.to_owned(), ..Self::default() };
        }
        if settings.starts == 0 {
            (self.runs, self.safe) = (Vec::new(), None);
        }
        if let Some(safe) = &mut self.safe
            && safe.is_trying
        {
            let wait = Duration::from_secs(safe.waits_s).saturating_mul(2).min(RETRY_MAX);
            (safe.is_trying, safe.waits_s, safe.try_at) = (false, wait.as_secs(), now + wait);
        }
        if self.safe.is_none() {
            self.safe = self.fall(settings, now);
        }
        let mode = self.mode(now);
        if mode == Mode::Full {
            self.start_everything(now);
        }
        mode
    }

    /// What is done now.
    fn mode(&self, now: Timestamp) -> Mode {
        match &self.safe {
            Some(safe) if now < safe.try_at => {
                let reason = format!("since {}: {}", safe.since, safe.reason);
                Mode::Safe { reason, try_at: safe.try_at }
            }
            Some(_) | None => Mode::Full,
        }
    }

    /// Everything is started, in safe mode as a try.
    pub fn start_everything(&mut self, now: Timestamp) {
        if let Some(safe) = &mut self.safe {
            safe.is_trying = true;
        }
        let excess = (self.runs.len() + 1).saturating_sub(RUNS_KEPT);
        self.runs.drain(..excess);
        self.runs.push(Run { started: now, end: None });
    }

    /// Why the node goes to safe mode, where it has to.
    fn fall(&self, settings: SafeModeSettings, now: Timestamp) -> Option<Safe> {
        let most = usize::try_from(settings.starts).unwrap_or(usize::MAX);
        // A clock that was set back makes runs look recent, which is the safer mistake.
        let is_recent = |run: &&Run| now.since(run.started) <= settings.within;
        let recent = self.runs.iter().rev().take_while(is_recent).count();
        if most == 0 || recent < most {
            return None;
        }
        let mut ends: Vec<&str> = Vec::new();
        for run in &self.runs[self.runs.len() - recent..] {
            let end = run.end.as_deref().unwrap_or(KILLED);
            if !ends.contains(&end) {
                ends.push(end);
            }
        }
        let reason = format!("last {recent} runs ended with: {}", ends.join("; "));
        let waits_s = settings.retry.as_secs();
        Some(Safe { since: now, reason, try_at: now + settings.retry, waits_s, is_trying: false })
    }

    /// The run has done everything for a while: what was before is forgotten.
    pub fn went_well(&mut self) {
        (self.runs, self.safe) = (Vec::new(), None);
    }

    /// The run ended as it was told to: nothing is wrong with it.
    pub fn stopped(&mut self) {
        self.runs.clear();
        if let Some(safe) = &mut self.safe {
            safe.is_trying = false;
        }
    }

    /// The run ended by itself.
    pub fn failed(&mut self, how: &str) {
        if let Some(run) = self.runs.last_mut() {
            let how = how.replace('\n', " ");
            run.end = Some(how[..how.floor_char_boundary(REASON_BYTES_MAX)].to_owned());
        }
    }

    /// Leaves safe mode; false when there is none.
    pub fn leave(&mut self) -> bool {
        let was_safe = self.safe.is_some();
        self.went_well();
        was_safe
    }

    /// Since when the node is in safe mode and why; none when it is not.
    pub fn safe_mode(&self, now: Timestamp) -> Option<String> {
        match self.mode(now) {
            Mode::Safe { reason, .. } => Some(reason),
            Mode::Full => None,
        }
    }
}

#[cfg(test)]
mod tests;
