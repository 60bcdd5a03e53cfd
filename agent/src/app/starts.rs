//! Keeps the record of starts. What cannot be kept is told of and keeps nobody from starting.

use std::path::Path;

use anyhow::Context as _;
use rustix::process::Signal;

use crate::os::clock;
use crate::os::lock::{self, LockError};
use crate::settings::Settings;
use crate::start::{Ledger, Mode, Record, SafeModeSettings};

/// The record of one state folder.
#[derive(Debug, Clone)]
pub(super) struct Starts {
    ledger: Ledger,
}

impl Starts {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { ledger: Ledger::new(state_dir) }
    }

    /// Begins a run.
    pub(super) fn begin(&self, settings: SafeModeSettings) -> Mode {
        let mut mode = Mode::Full;
        self.change(|record| mode = record.begin(env!("CARGO_PKG_VERSION"), settings, clock::now()));
        mode
    }

    /// Changes what is on disk: another process may have changed it meanwhile.
    pub(super) fn change(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.ledger.read().unwrap_or_else(|error| {
            tracing::warn!(error = %anyhow::Error::new(error), "the record of starts begins anew");
            Record::default()
        });
        let before = record.clone();
        change(&mut record);
        if record != before
            && let Err(error) = self.ledger.write(&record)
        {
            let error = anyhow::Error::new(error);
            tracing::warn!(error = format!("{error:#}"), "the record of starts is not kept");
        }
    }

    /// Since when the node is in safe mode and why.
    pub(super) fn safe_mode(&self) -> Option<String> {
        self.ledger.read().ok()?.safe_mode(clock::now())
    }
}

/// `safe-mode off`: has the agent do everything again, at once where it runs.
pub(super) fn leave(settings: &Settings) -> anyhow::Result<()> {
    let ledger = Ledger::new(&settings.state_dir);
    let mut record = ledger.read().context("nothing was changed")?;
    if !record.leave() {
        println!("the agent is not in safe mode");
        return Ok(());
    }
    ledger.write(&record).context("the agent stays in safe mode")?;
    match lock::signal_holder(&settings.state_dir, Signal::HUP) {
        Ok(()) => println!("safe mode is over: the agent does everything again"),
        Err(LockError::NotRunning { .. }) => println!("safe mode is over, from the agent's next start on"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// `safe-mode status`.
pub(super) fn show(settings: &Settings) -> anyhow::Result<()> {
    let record = Ledger::new(&settings.state_dir).read()?;
    match record.safe_mode(clock::now()) {
        Some(reason) => println!("in safe mode {reason}; `campanile-agent safe-mode off` ends it"),
        None => println!("not in safe mode"),
    }
    Ok(())
}
