//! The guardian: a process outside all others that puts a node back that was cut off by a change.
//!
//! It lives in a unit of its own where there are units; else the steward starts it, outside its guards, when it sees a
//! deadline that nobody watches. It ends when the attempt has come to its end, and puts everything back when the
//! deadline is over and nobody works on it: the program that applies does so itself, as long as it lives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::confirm;
use super::execute::problem;
use super::step::Problem;
use super::undo::ApplyLock;
use crate::os::child;
use crate::os::stopwatch::{Stopwatch, pause};

/// How long the program waits for its guardian before it gives up, with nothing changed.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How long past its deadline a program may take to put everything back itself.
const OVERTIME: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const OUTPUT_BYTES_MAX: usize = 4096;

/// How the guardian of an attempt comes to be.
#[derive(Debug, Clone)]
pub(crate) enum GuardianStart {
    /// In a transient unit, by this program (`systemd-run`), with these arguments behind its own.
    Unit { systemd_run: PathBuf, argv: Vec<String> },
    /// By the steward, which sees the deadline.
    Steward,
}

/// Waits until a guardian watches the attempt.
pub(crate) fn ensure(start: &GuardianStart, undo: &Path, nonce: u64) -> Result<(), Problem> {
    let mut said = String::new();
    if let GuardianStart::Unit { systemd_run, argv } = start {
        let unit = format!("--unit=campanile-revert-{nonce:016x}.service");
        let own = ["--quiet", "--collect", "--service-type=exec", &unit, "--"];
        let arguments: Vec<&str> = own.into_iter().chain(argv.iter().map(String::as_str)).collect();
        let output = child::output(systemd_run, &arguments, START_WITHIN, OUTPUT_BYTES_MAX);
        said = output.err().map_or_else(String::new, |error| format!(" ({error})"));
    }
    let watch = Stopwatch::start();
    while confirm::guarded(undo) != Some(nonce) {
        if watch.elapsed() >= START_WITHIN {
            return Err(problem(format!(
                "no guardian watches over the change{said}, and it could cut this node off: nothing was changed \
                 by it. Restart campanile-steward and try again"
            )));
        }
        pause(LOOK_INTERVAL);
    }
    Ok(())
}

/// Watches until the attempt has come to its end or is to be put back: true in the latter case, with the lock.
pub(crate) fn watch(folder: &Path) -> Result<Option<ApplyLock>, std::io::Error> {
    let undo = confirm::undo_folder(folder);
    let Some(nonce) = confirm::lacks_guardian(&undo) else { return Ok(None) };
    confirm::set_guarded(&undo, nonce)?;
    let mut overdue: Option<Stopwatch> = None;
    loop {
        match confirm::deadline(&undo) {
            Some(deadline) if deadline.nonce == nonce => {
                if deadline.left().is_zero() {
                    if let Ok(lock) = ApplyLock::take(folder) {
                        return Ok(Some(lock));
                    }
                    let watch = overdue.get_or_insert_with(Stopwatch::start);
                    if watch.elapsed() >= OVERTIME
                        && let Some(holder) = ApplyLock::holder(folder)
                    {
                        // It hangs: what it did not put back is put back here.
                        kill_process(holder, Signal::KILL).ok();
                    }
                } else {
                    overdue = None;
                }
            }
            _ => return Ok(None),
        }
        pause(LOOK_INTERVAL);
    }
}
