//! Space and inodes of every mounted file system.
//!
//! A file system whose server is gone hangs whoever asks it, for hours. So a walk asks them one after the other on
//! a thread of its own, and the round takes the answers that have come. When one is overdue its thread is given
//! up, the file system is marked and not asked again while that thread hangs, and a new walk asks the others. Only
//! so many threads may hang, the last of them not in a remote file system, since those tend to die together; then
//! nobody is asked, values lapse, and the collector says that it is not complete.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use campanile_common::sample::Scale;

use super::mount::{Mount, mounts};
use super::readings::{Devices, Family, Readings, Scalars};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::errand::Errand;
use crate::os::proc_fs::{KeptFile, Layout};
use crate::os::statvfs::Space;

/// Most file systems told apart.
pub const FILESYSTEMS_MAX: usize = 128;
/// Most threads that may hang at once. Each holds a few pages of memory until its file system answers.
pub const STUCK_MAX: usize = 4;
/// Time between two walks.
const WALK_INTERVAL: Duration = Duration::from_secs(10);
/// A file system that takes longer hangs. A disk that spins up answers from memory, so this is generous.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Rounds that must pass besides: after a stall of this process the thread gets its turn first.
const ANSWER_ROUNDS_MIN: u32 = 2;
/// An answer holds for this long, that is three walks.
const ANSWER_HOLDS: Duration = Duration::from_secs(30);
/// First and longest wait before a file system that hung is asked again.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(600);

static FAMILIES: &[Family] = &[
    Family::gauge("node_filesystem_size_bytes", Scale::ONE),
    Family::gauge("node_filesystem_free_bytes", Scale::ONE),
    Family::gauge("node_filesystem_avail_bytes", Scale::ONE),
    Family::gauge("node_filesystem_files", Scale::ONE),
    Family::gauge("node_filesystem_files_free", Scale::ONE),
    Family::gauge("node_filesystem_readonly", Scale::ONE),
    Family::gauge("node_filesystem_device_error", Scale::ONE),
];
static STUCK: &[Family] = &[Family::gauge("campanile_agent_stuck_threads", Scale::ONE)];

/// Asks one mount point; the machine, or a test.
pub type Ask = Arc<dyn Fn(&str) -> io::Result<Space> + Send + Sync>;

/// Collector `filesystem`.
pub struct Filesystem {
    file: KeptFile,
    exclude: Vec<String>,
    ask: Ask,
    states: Vec<State>,
    /// File systems past the limit, which are not asked.
    excess: usize,
    walk: Option<Walk>,
    walk_due: Duration,
    stuck: Vec<Stuck>,
    devices: Devices,
    stuck_count: Scalars,
}

/// What is known of one file system.
struct State {
    mount: Mount,
    key: String,
    answer: Answer,
    /// How often in a row it hung.
    hangs: u32,
    retry_at: Duration,
}

enum Answer {
    Awaited,
    Given { space: Space, at: Duration },
    Failed,
}

/// A thread asking file systems in turn.
struct Walk {
    errand: Errand<io::Result<Space>>,
    points: Vec<String>,
    /// Which of them is asked now.
    current: usize,
    since: Duration,
    rounds: u32,
}

struct Stuck {
    point: String,
    thread: JoinHandle<()>,
}

impl Filesystem {
    /// Finds mounts below this `/proc`; those that `exclude` covers are left out.
    pub fn new(proc_root: &Path, exclude: Vec<String>, ask: Ask) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("self/mountinfo"), Layout::Records),
            exclude,
            ask,
            states: Vec::new(),
            excess: 0,
            walk: None,
            walk_due: Duration::ZERO,
            stuck: Vec::new(),
            devices: Devices::new(FAMILIES, FILESYSTEMS_MAX),
            stuck_count: Scalars::new(STUCK),
        }
    }

    /// Takes the answers that have come. When one is overdue, gives its thread up and goes on with the others.
    fn follow_walk(&mut self, uptime: Duration) -> Result<(), CollectError> {
        let Some(mut walk) = self.walk.take() else { return Ok(()) };
        // Asked before the answers, since the last of them comes before the end.
        let is_finished = walk.errand.is_finished();
        while let Some(answer) = walk.errand.next_answer() {
            self.note_answer(&walk.points[walk.current], answer, uptime);
            walk.current += 1;
            (walk.since, walk.rounds) = (uptime, 0);
        }
        if is_finished {
            // A walk that ends early has panicked; what it asked then counts as failed.
            if let Some(point) = walk.points.get(walk.current) {
                self.note_answer(point, Err(io::Error::other("the thread panicked")), uptime);
            }
            return Ok(());
        }
        walk.rounds += 1;
        let is_overdue =
            uptime.saturating_sub(walk.since) >= ANSWER_DEADLINE && walk.rounds >= ANSWER_ROUNDS_MIN;
        if !is_overdue || walk.current >= walk.points.len() {
            self.walk = Some(walk);
            return Ok(());
        }
        let rest = walk.points.split_off(walk.current + 1);
        let point = walk.points.swap_remove(walk.current);
        self.note_hang(&point, uptime);
        self.stuck.push(Stuck { point, thread: walk.errand.abandon() });
        let free = self.points_to_ask(uptime);
        self.start_walk(rest.into_iter().filter(|point| free.contains(point)).collect(), uptime)
    }

    fn note_answer(&mut self, point: &str, answer: io::Result<Space>, uptime: Duration) {
        let Some(state) = self.states.iter_mut().find(|state| state.mount.point == point) else { return };
        state.hangs = 0;
        state.answer = match answer {
            Ok(space) => Answer::Given { space, at: uptime },
            Err(error) => {
                if !matches!(state.answer, Answer::Failed) {
                    tracing::warn!(mount_point = point, %error, "a file system cannot be read");
                }
                Answer::Failed
            }
        };
    }

    fn note_hang(&mut self, point: &str, uptime: Duration) {
        tracing::warn!(mount_point = point, "a file system does not answer; it is left alone until it does");
        let Some(state) = self.states.iter_mut().find(|state| state.mount.point == point) else { return };
        let wait = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(state.hangs)).min(RETRY_MAX);
        state.answer = Answer::Failed;
        state.hangs = state.hangs.saturating_add(1);
        state.retry_at = uptime + wait;
    }

    /// Does nothing when there is nothing to ask, or too many threads hang already.
    fn start_walk(&mut self, points: Vec<String>, uptime: Duration) -> Result<(), CollectError> {
        if points.is_empty() || self.stuck.len() >= STUCK_MAX {
            return Ok(());
        }
        let (ask, asked) = (Arc::clone(&self.ask), points.clone());
        let errand = Errand::start("filesystem", points.len(), move |answers| {
            for point in asked {
                // Room for every answer is kept, so this fails only when nobody listens any more.
                if answers.try_send(ask(&point)).is_err() {
                    break;
                }
            }
        });
        let errand =
            errand.map_err(|error| CollectError::Failed { what: "statvfs", reason: error.to_string() })?;
        self.walk = Some(Walk { errand, points, current: 0, since: uptime, rounds: 0 });
        Ok(())
    }

    /// Reads which file systems there are; what was known of those that stay is kept.
    fn find_mounts(&mut self, round: &mut Round<'_>) -> Result<(), CollectError> {
        let mut found = mounts(self.file.read(round.buffer)?, &self.exclude);
        self.excess = found.len().saturating_sub(FILESYSTEMS_MAX);
        found.truncate(FILESYSTEMS_MAX);
        let mut known = std::mem::take(&mut self.states);
        for mount in found {
            let key = format!("{}\0{}\0{}", mount.device, mount.kind, mount.point);
            let state = match known.iter().position(|state| state.key == key) {
                Some(index) => State { mount, ..known.swap_remove(index) },
                None => State { mount, key, answer: Answer::Awaited, hangs: 0, retry_at: Duration::ZERO },
            };
            self.states.push(state);
        }
        Ok(())
    }

    fn points_to_ask(&self, uptime: Duration) -> Vec<String> {
        let only_local = self.stuck.len() + 1 >= STUCK_MAX;
        let is_free = |state: &&State| {
            uptime >= state.retry_at
                && !(only_local && state.mount.is_remote())
                && !self.stuck.iter().any(|stuck| stuck.point == state.mount.point)
        };
        self.states.iter().filter(is_free).map(|state| state.mount.point.clone()).collect()
    }

    fn give_readings(&mut self, readings: &mut Readings, uptime: Duration) {
        self.devices.rewind();
        for State { mount, key, answer, .. } in &self.states {
            let space = match answer {
                Answer::Awaited => continue,
                Answer::Given { at, .. } if uptime >= *at + ANSWER_HOLDS => continue,
                Answer::Given { space, .. } => Some(space),
                Answer::Failed => None,
            };
            let labels = |_| {
                vec![
                    ("device", mount.device.as_str()),
                    ("fstype", mount.kind.as_str()),
                    ("mountpoint", mount.point.as_str()),
                ]
            };
            let Some(slot) = self.devices.slot(readings, key, labels) else { continue };
            if let Some(space) = space {
                let Space { size_bytes, free_bytes, avail_bytes, files, files_free } = *space;
                for (index, value) in
                    [size_bytes, free_bytes, avail_bytes, files, files_free].into_iter().enumerate()
                {
                    readings.set(slot, index, i64::try_from(value).unwrap_or(i64::MAX));
                }
            }
            readings.set(slot, 5, mount.is_readonly.into());
            readings.set(slot, 6, space.is_none().into());
        }
        readings.drop_series(self.excess * FAMILIES.len());
        let stuck = i64::try_from(self.stuck.len()).expect("few may be stuck");
        self.stuck_count.set(readings, 0, stuck);
    }
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let uptime = round.uptime;
        self.stuck.retain(|stuck| !stuck.thread.is_finished());
        self.follow_walk(uptime)?;
        if self.walk.is_none() && uptime >= self.walk_due && round.starts > 0 {
            self.find_mounts(round)?;
            self.walk_due = uptime + WALK_INTERVAL;
            let points = self.points_to_ask(uptime);
            if !points.is_empty() {
                round.starts -= 1;
            }
            self.start_walk(points, uptime)?;
        }
        self.give_readings(readings, uptime);
        let has_failed = self.states.iter().any(|state| matches!(state.answer, Answer::Failed));
        if has_failed || !self.stuck.is_empty() {
            return Ok(Outcome::Partial);
        }
        let is_first = self.states.iter().all(|state| matches!(state.answer, Answer::Awaited));
        Ok(if is_first { Outcome::Absent } else { Outcome::Complete })
    }

    fn exclude_mounts(&mut self, exclude: &[String]) {
        exclude.clone_into(&mut self.exclude);
        // Mounts are found anew in the next round.
        self.walk_due = Duration::ZERO;
    }

    fn forget(&mut self) {
        self.devices.forget();
        self.stuck_count.forget();
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out the files that are read")]
mod tests;
