//! What runs for the configuration without an order: a program beneath a guard, like an order's.

use std::fmt;
use std::time::Duration;

use campanile_common::api::{EXIT_PENDING, EXIT_REVERTED, EXIT_UNCHANGED};
use campanile_common::authority::Policy;
use campanile_common::id::Digest;
use campanile_common::wire::v1::order::OutputStream;

use crate::os::random;
use crate::steward::execute::{Ended, GuardEnd, GuardLimits, GuardSpec, Guarded, Launcher, Room, UnitLimits};

/// Where a guard finds this program: itself.
pub(in crate::steward) const OWN_PROGRAM: &str = "/proc/self/exe";
/// Packages are fetched and services restarted in it.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Most of what a program complained about that is kept.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) enum Work {
    /// A generation that is followed without an order is applied.
    Follow(u64, Digest),
    /// The node is compared with its configuration.
    Check,
    /// What an apply that was cut had changed is undone.
    Recover,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follow(number, _) => write!(f, "applies generation {number}"),
            Self::Check => f.write_str("compares itself with its configuration"),
            Self::Recover => f.write_str("undoes an apply that was cut"),
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) enum End {
    /// It did what it was to do.
    Done,
    /// What it had changed was undone, because it was not confirmed.
    Reverted,
    /// It failed; why.
    Failed(String),
}

/// A program under way.
#[derive(Debug)]
pub(in crate::steward) struct Program {
    pub(in crate::steward) work: Work,
    pub(in crate::steward) guarded: Guarded,
    complaint: Vec<u8>,
}

impl Program {
    /// Starts it. Where there are units it gets one of its own, out of the steward's confinement.
    pub(in crate::steward) fn start(
        launcher: &Launcher,
        work: Work,
        arguments: Vec<String>,
        policy: &Policy,
    ) -> std::io::Result<Self> {
        let most = &policy.limits;
        let mut argv = vec![OWN_PROGRAM.to_owned()];
        argv.extend(arguments);
        let limits = GuardLimits { memory_bytes: most.memory_bytes, tasks: most.tasks };
        let spec = GuardSpec {
            argv,
            user: None,
            stdin: Vec::new(),
            order: String::new(),
            timeout_ms: u32::try_from(TIMEOUT.as_millis()).ok(),
            limits: launcher.systemd_run.is_none().then_some(limits),
            outlives_steward: false,
        };
        let unit = UnitLimits {
            memory_bytes: most.memory_bytes,
            cpu_percent: most.cpu_percent,
            tasks: most.tasks,
            time: TIMEOUT,
            is_background: false,
            room: Room::Open,
        };
        let name = format!("campanile-config-{:016x}.service", random::number());
        let guarded = launcher.start(spec, Some((&name, &unit)))?;
        Ok(Self { work, guarded, complaint: Vec::new() })
    }

    /// Reads what it writes. What it changes is in the state; of what it prints only complaints are kept.
    pub(in crate::steward) fn read(&mut self, stream: OutputStream, reads: usize) {
        let complaint = &mut self.complaint;
        self.guarded.read(stream, reads, |bytes| {
            if stream == OutputStream::Stderr {
                let room = COMPLAINT_BYTES_MAX - complaint.len();
                complaint.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        });
    }

    /// How it ended, once it is over.
    pub(in crate::steward) fn end(&self) -> End {
        let said = String::from_utf8_lossy(&self.complaint).trim().to_owned();
        let failed =
            |what: String| End::Failed(if said.is_empty() { what } else { format!("{what}: {said}") });
        match self.guarded.ended() {
            Ended::Told(GuardEnd::Exited { code }) if code == i32::from(EXIT_UNCHANGED) => End::Done,
            // What it found is in the state.
            Ended::Told(GuardEnd::Exited { code })
                if self.work == Work::Check && code == i32::from(EXIT_PENDING) =>
            {
                End::Done
            }
            Ended::Told(GuardEnd::Exited { code }) if code == i32::from(EXIT_REVERTED) => End::Reverted,
            Ended::Told(GuardEnd::Exited { code }) => failed(format!("exit code {code}")),
            Ended::Told(GuardEnd::Signalled { signal }) => failed(format!("ended by signal {signal}")),
            Ended::Told(GuardEnd::TimedOut) => failed("it took too long and was stopped".to_owned()),
            Ended::Told(GuardEnd::Stopped) => failed("stopped, because the steward was".to_owned()),
            Ended::Told(GuardEnd::NotStarted { reason }) => End::Failed(reason),
            Ended::Unclean | Ended::NeverBegan | Ended::Silent => failed("its guard ended".to_owned()),
        }
    }
}
