//! What runs for backups without an order: a save, a drill or a check of a policy, and the process that notices changes. Each beneath a
//! guard, the run with the limits of an order's.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use campanile_common::authority::ExecutionLimits;
use campanile_common::backup::PolicyName;
use campanile_common::wire::v1::order::OutputStream;

use super::work::{Trace, Work};
use crate::backup::watch::Noticed;
use crate::os::file::Stamp;
use crate::os::random;
use crate::os::stopwatch::Stopwatch;
use crate::steward::execute::{
    Ended, GuardEnd, GuardLimits, GuardSpec, Guarded, Launcher, UnitLimits, backup,
};

/// Where a guard finds this program: itself.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Most of what a run complained about that is kept.
const COMPLAINT_BYTES_MAX: usize = 2048;
/// Longest line of what notices changes: a name and a reason.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Memory of what notices changes: names of some ten thousand folders.
const WATCHER_MEMORY_BYTES: u64 = 256 << 20;

/// A run that the schedule started.
#[derive(Debug)]
pub(in crate::steward) struct Running {
    pub(super) policy: PolicyName,
    pub(super) work: Work,
    pub(in crate::steward) guarded: Guarded,
    /// The last of its kind before it: with the same afterwards, this one left no record.
    pub(super) before: Option<Trace>,
    complaint: Vec<u8>,
}

/// What notices changes of policies' files.
#[derive(Debug)]
pub(in crate::steward) struct Watcher {
    pub(in crate::steward) guarded: Guarded,
    /// What it was started for.
    pub(super) policies: BTreeMap<PolicyName, Stamp>,
    pub(super) started: Stopwatch,
    line: Vec<u8>,
}

/// How a run that left no record ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Untraced {
    /// It found another at work, or had reasons that it could not record.
    Refused,
    /// It did its work, and could not record it.
    Done,
    /// It was never at work, or was killed; how.
    Failed(String),
}

impl Running {
    /// Starts a run. Where there are units it has one of its own and outlives the steward.
    pub(super) fn start(
        launcher: &Launcher,
        most: &ExecutionLimits,
        policy: PolicyName,
        work: Work,
        settings: Vec<String>,
        before: Option<Trace>,
    ) -> io::Result<Self> {
        let mut argv = vec![OWN_PROGRAM.to_owned()];
        let action = work.action(&policy);
        argv.extend(backup::arguments(&action, 0, settings));
        argv.extend(work.flags().iter().map(|word| (*word).to_owned()));
        let has_units = launcher.systemd_run.is_some();
        let limits = GuardLimits { memory_bytes: most.memory_bytes, tasks: most.tasks };
        let spec = GuardSpec {
            argv,
            user: None,
            stdin: Vec::new(),
            order: String::new(),
            timeout_ms: Some(most.time_s.saturating_mul(1000)),
            limits: (!has_units).then_some(limits),
            outlives_steward: has_units,
        };
        let unit = UnitLimits {
            memory_bytes: most.memory_bytes,
            cpu_percent: most.cpu_percent,
            tasks: most.tasks,
            time: Duration::from_secs(most.time_s.into()),
            is_background: true,
            room: launcher.room_of(&action),
        };
        let name = format!("campanile-backup-{policy}-{:08x}.service", random::number() >> 32);
        let guarded = launcher.start(spec, Some((&name, &unit)))?;
        Ok(Self { policy, work, guarded, before, complaint: Vec::new() })
    }

    /// Reads what it writes. What it did it records itself; of what it says only complaints are kept.
    pub(in crate::steward) fn read(&mut self, stream: OutputStream, reads: usize) {
        let complaint = &mut self.complaint;
        self.guarded.read(stream, reads, |bytes| {
            if stream == OutputStream::Stderr {
                let room = COMPLAINT_BYTES_MAX - complaint.len();
                complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        });
    }

    /// How it ended, where it left no record.
    pub(super) fn untraced(&self) -> Untraced {
        let said = String::from_utf8_lossy(&self.complaint).trim().to_owned();
        let failed =
            |what: String| Untraced::Failed(if said.is_empty() { what } else { format!("{what}: {said}") });
        match self.guarded.ended() {
            Ended::Told(GuardEnd::Exited { code: 0 | 3 }) => Untraced::Done,
            Ended::Told(GuardEnd::Exited { code: 1 }) if said.is_empty() => Untraced::Refused,
            ended => failed(cause(ended)),
        }
    }

    /// How it was ended, where its record has no end.
    pub(super) fn cause(&self) -> String {
        cause(self.guarded.ended())
    }
}

fn cause(ended: Ended) -> String {
    match ended {
        Ended::Told(GuardEnd::Exited { code }) => format!("it ended with exit code {code}"),
        Ended::Told(GuardEnd::Signalled { signal }) => format!("it was ended by signal {signal}"),
        Ended::Told(GuardEnd::TimedOut) => {
            "it took longer than the node policy allows and was stopped".to_owned()
        }
        Ended::Told(GuardEnd::Stopped) => "it was stopped, because the steward was".to_owned(),
        Ended::Told(GuardEnd::NotStarted { reason }) => reason,
        Ended::NeverBegan => "its guard ended before it was started".to_owned(),
        Ended::Unclean | Ended::Silent => "its guard was killed".to_owned(),
    }
}

impl Watcher {
    /// Starts what notices changes of the files of these policies.
    pub(super) fn start(
        launcher: &Launcher,
        policies: BTreeMap<PolicyName, Stamp>,
        settings: Vec<String>,
    ) -> io::Result<Self> {
        let mut argv: Vec<String> = [OWN_PROGRAM, "backup", "watch"].map(str::to_owned).into();
        argv.extend(policies.keys().flat_map(|policy| ["--policy".to_owned(), policy.to_string()]));
        argv.extend(settings);
        let spec = GuardSpec {
            argv,
            user: None,
            stdin: Vec::new(),
            order: String::new(),
            timeout_ms: None,
            limits: Some(GuardLimits { memory_bytes: WATCHER_MEMORY_BYTES, tasks: 1 }),
            outlives_steward: false,
        };
        let guarded = launcher.start(spec, None)?;
        Ok(Self { guarded, policies, started: Stopwatch::start(), line: Vec::new() })
    }

    /// Reads what it noticed.
    pub(super) fn read(&mut self, stream: OutputStream, reads: usize) -> Vec<Noticed> {
        let (line, mut noticed) = (&mut self.line, Vec::new());
        self.guarded.read(stream, reads, |bytes| {
            if stream == OutputStream::Stderr {
                return tracing::warn!(said = %String::from_utf8_lossy(bytes).trim(), "what notices changes complains");
            }
            for byte in bytes {
                match byte {
                    b'\n' => noticed.extend(serde_json::from_slice::<Noticed>(&std::mem::take(line)).ok()),
                    _ if line.len() < LINE_BYTES_MAX => line.push(*byte),
                    _ => {}
                }
            }
        });
        noticed
    }
}
