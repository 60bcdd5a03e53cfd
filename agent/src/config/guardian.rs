//! The guardian: a process outside all others that puts a node back that was cut off by a change.
//!
//! The steward starts it when it sees a deadline that nobody watches: outside its guards, and in a unit of its own where
//! there are units. It ends when the attempt has come to its end, and puts everything back when the
//! deadline is over and nobody works on it: the program that applies does so itself, as long as it lives.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Signal, kill_process, setsid};

use super::confirm;
use super::step::Problem;
use super::undo::ApplyLock;
use crate::os::stopwatch::{Stopwatch, pause};

/// How long the program waits for its guardian before it gives up, with nothing changed.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How long past its deadline a program may take to put everything back itself.
const OVERTIME: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until a guardian watches the attempt.
pub(crate) fn ensure(undo: &Path, nonce: u64) -> Result<(), Problem> {
    let watch = Stopwatch::start();
    while confirm::armed(undo) != Some(nonce) {
        if watch.elapsed() >= START_WITHIN {
            return Err(Problem::new(
                "no guardian watches over a change that could cut this node off, so it was not made; restart \
                 campanile-steward and try again",
            ));
        }
        pause(LOOK_INTERVAL);
    }
    Ok(())
}

/// Watches until the attempt has come to its end or is to be put back: true in the latter case, with the lock.
pub(crate) fn watch(folder: &Path) -> Result<Option<ApplyLock>, std::io::Error> {
    let undo = confirm::undo_folder(folder);
    let Some(nonce) = confirm::lacks_guardian(&undo) else { return Ok(None) };
    // Fails where it leads a session already.
    setsid().ok();
    confirm::set_armed(&undo, nonce)?;
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
