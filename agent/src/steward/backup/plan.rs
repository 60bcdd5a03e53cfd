//! When a policy runs next on this node. Pure: what is known and the time come in, a time goes out.
//!
//! The schedule says when a policy is due; here is what comes on top of it: another try of what failed, changes that
//! were noticed, and standing back while the machine is under pressure.

use std::time::Duration;

use campanile_common::backup::{Past, Schedule, Seat, When};
use campanile_common::time::Timestamp;

use crate::backup::runs::History;

/// What an editor or a build does in several steps is saved at once.
const SETTLE: Duration = Duration::from_secs(5);
/// Something that never settles is saved all the same.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// Runs that follow changes begin so far apart, at least: what changed right after one began waits so long, and has the
/// other half of a minute to be saved.
const CHANGES_APART: Duration = Duration::from_secs(30);
/// Files that cannot be watched are looked at so often.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// A start waits at most so long for the machine to have time.
const PRESSURE_PATIENCE: Duration = Duration::from_secs(3600);
/// And no longer than this part of the interval, so that what is saved often is not late for it.
const PRESSURE_SHARE: u32 = 4;
/// How long a run stands back before the machine is looked at again.
const PRESSURE_INTERVAL: Duration = Duration::from_secs(30);
/// Per cent of the last ten seconds in which something waited for a processor: above it the machine has work enough.
const CPU_PRESSURE_MAX: f64 = 80.0;
/// The same for its disks.
const IO_PRESSURE_MAX: f64 = 50.0;

/// How changes of a policy's files are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    /// Not at all, and they need not be.
    Off,
    /// They are told.
    Watched {
        /// The first and the last that no run has seen.
        touched: Option<(Timestamp, Timestamp)>,
    },
    /// They cannot be told: the files are looked at now and then.
    Blind,
}

/// What is known of a policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) history: &'a History,
    /// Since when somebody looks after it.
    pub(super) awake: Timestamp,
    pub(super) seat: &'a Seat,
}

/// When a run begins by the clock: when the policy is due, or earlier, when one that failed is tried again. Now or
/// before now means at once.
pub(super) fn by_clock(facts: &Facts<'_>, now: Timestamp) -> Option<Timestamp> {
    let past = Past { last: facts.history.last_started(), since: facts.history.since, awake: facts.awake };
    let due = facts.schedule.next_start(&past, now, facts.seat);
    let retry = facts.history.retry(now).map(|retry| facts.schedule.in_window(retry.max(now), facts.seat));
    [due, retry].into_iter().flatten().min()
}

/// When a run begins for what changed, where that is noticed.
pub(super) fn by_change(
    schedule: &Schedule,
    history: &History,
    attention: Attention,
    now: Timestamp,
) -> Option<Timestamp> {
    if schedule.when != When::Continuous {
        return None;
    }
    let (wanted, apart) = match attention {
        Attention::Off | Attention::Watched { touched: None } => return None,
        Attention::Watched { touched: Some((first, last)) } => {
            ((last + SETTLE).min(first + SETTLE_MAX), CHANGES_APART)
        }
        Attention::Blind => (now, SCAN_INTERVAL),
    };
    // Times of a clock that was ahead count as now.
    let last = history.last();
    let begun = last.map(|run| run.started.min(now) + apart);
    // At most half of the time is spent on it, however long a run takes.
    let rested = last.and_then(|run| run.end.as_ref());
    let rested = rested.map(|end| end.time.min(now) + Duration::from_millis(end.duration_ms));
    let retry = history.retry(now);
    [begun, rested, retry].into_iter().flatten().chain([wanted]).max()
}

/// A run that stands back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Until when.
    pub(super) until: Timestamp,
    /// Why, for people.
    pub(super) reason: String,
}

/// Whether a run that has been due since `due` stands back, for `[cpu, io]` are under such pressure.
pub(super) fn stands_back(
    schedule: &Schedule,
    due: Timestamp,
    now: Timestamp,
    pressure: [Option<f64>; 2],
) -> Option<Standing> {
    let limits = [("processors", CPU_PRESSURE_MAX), ("disks", IO_PRESSURE_MAX)];
    let mut pressed = pressure.iter().zip(limits);
    let (found, what) =
        pressed.find_map(|(found, (what, most))| Some((found.filter(|it| *it > most)?, what)))?;
    let last = due + PRESSURE_PATIENCE.min(schedule.interval() / PRESSURE_SHARE);
    (now < last).then(|| Standing {
        until: last.min(now + PRESSURE_INTERVAL),
        reason: format!(
            "the machine waits for its {what} ({found:.0} %); this run begins by {last} all the same"
        ),
    })
}

/// The share of the last ten seconds, in per cent, that a file of `/proc/pressure` tells of.
pub(super) fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests;
