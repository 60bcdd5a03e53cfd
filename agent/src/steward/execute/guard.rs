//! The guard: a process between the steward and one command, so that whatever the command starts ends with it.
//!
//! It inherits every orphan beneath it, and ends them all when the command has ended, took too long, is to be stopped,
//! or when the steward is gone: the socket between the two closes however the steward ends. Only what is to outlive the
//! steward goes on then, for as long as its time lasts.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitStatus, geteuid, getrlimit, pidfd_open, setrlimit, setsid,
};

use super::message::{FromGuard, GuardEnd, GuardLimits, GuardSpec, ToGuard};
use crate::os::packet::{Interest, PacketSocket, Received, wait};
use crate::os::stopwatch::{Stopwatch, pause};
use crate::os::{process_tree, program, user};

/// How long a guard waits for its orders: the steward sends them before it starts the guard.
const ORDERS_WITHIN: Duration = Duration::from_secs(30);
/// How long a command that is to stop has for it before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long killing may take: longer hangs in the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How often orphans that ended are taken leave of.
const REAP_INTERVAL: Duration = Duration::from_secs(1);
const GRACE_LOOK_INTERVAL: Duration = Duration::from_millis(10);
const PACKET_BYTES_MAX: usize = 64 * 1024;
const OPEN_FILES_MAX: u64 = 1024;
/// The limit is the guard's as well, which must be able to report.
const DATA_BYTES_MIN: u64 = 16 << 20;

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Started by hand, or the kernel refuses.
    #[error("a guard is started by the steward: {0}")]
    Start(#[from] io::Error),
    /// What came is no order.
    #[error("the steward sent no order")]
    Order,
}

/// Standard input of the command, and what is still to be written to it.
type Input = (ChildStdin, Vec<u8>);

struct Guard {
    socket: PacketSocket,
    child: Pid,
    process: OwnedFd,
    input: Option<Input>,
    status: Option<WaitStatus>,
    watch: Stopwatch,
    timeout: Option<Duration>,
    outlives_steward: bool,
    /// The steward is gone.
    is_alone: bool,
}

/// Runs one command under guard.
///
/// # Errors
/// When there is nothing to run.
pub fn run() -> Result<(), GuardError> {
    let socket = PacketSocket::from_standard_input()?;
    let spec = receive_spec(&socket)?;
    process_tree::adopt_orphans()?;
    // Fails where the guard leads a session already.
    setsid().ok();
    // Before it does: the command may end its guard at once, and has run all the same.
    tell(&socket, &FromGuard::Began);
    let guard = match start(&spec) {
        Ok((child, input)) => Guard {
            process: pidfd_open(child, PidfdFlags::empty()).map_err(io::Error::from)?,
            socket,
            child,
            input,
            status: None,
            watch: Stopwatch::start(),
            timeout: spec.timeout_ms.map(|timeout| Duration::from_millis(timeout.into())),
            outlives_steward: spec.outlives_steward,
            is_alone: false,
        },
        Err(reason) => {
            tell(&socket, &FromGuard::Ended { end: GuardEnd::NotStarted { reason }, is_clean: true });
            return Ok(());
        }
    };
    guard.watch_over();
    Ok(())
}

fn tell(socket: &PacketSocket, message: &FromGuard) {
    if let Ok(packet) = message.to_packet() {
        // A steward that is gone hears nothing; what happened is then unknown to it.
        drop(socket.send(&packet));
    }
}

fn receive_spec(socket: &PacketSocket) -> Result<GuardSpec, GuardError> {
    wait(&[(socket.as_fd(), Interest::READ)], Some(ORDERS_WITHIN))?;
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let Received::Packet(length) = socket.receive(&mut buffer)? else { return Err(GuardError::Order) };
    match ToGuard::from_packet(&buffer[..length]) {
        Ok(ToGuard::Run(spec)) => Ok(spec),
        _ => Err(GuardError::Order),
    }
}

fn start(spec: &GuardSpec) -> Result<(Pid, Option<Input>), String> {
    let (path, arguments) = spec.argv.split_first().ok_or("it names no program")?;
    let own = user::own();
    let user = match &spec.user {
        Some(name) if *name != own.name => {
            let found = user::named(name).ok_or_else(|| format!("this node has no user `{name}`"))?;
            if !geteuid().is_root() && found.uid != own.uid {
                return Err(format!("the steward runs as `{}` and cannot become `{name}`", own.name));
            }
            found
        }
        _ => own.clone(),
    };
    limit(spec.limits.as_ref(), user.uid != own.uid)
        .map_err(|error| format!("cannot set its limits: {error}"))?;
    let mut command = program::command(path, &user.name, &user.home);
    command.args(arguments).env("LANG", "C.UTF-8").stdin(if spec.stdin.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    });
    if !spec.order.is_empty() {
        command.env("CAMPANILE_ORDER", &spec.order);
    }
    if user.uid != own.uid {
        // The standard library also drops the supplementary groups: the command has the user's primary group alone.
        command.uid(user.uid).gid(user.gid);
    }
    let mut child = command.spawn().map_err(|error| format!("cannot start `{path}`: {error}"))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a number");
    let mut input = None;
    if let Some(pipe) = child.stdin.take() {
        rustix::io::ioctl_fionbio(&pipe, true).map_err(|error| error.to_string())?;
        input = Some((pipe, spec.stdin.clone()));
    }
    Ok((pid, input))
}

fn limit(limits: Option<&GuardLimits>, is_other_user: bool) -> io::Result<()> {
    set_limit(Resource::Core, 0)?;
    set_limit(Resource::Nofile, OPEN_FILES_MAX)?;
    let Some(limits) = limits else { return Ok(()) };
    // What a process may write to; address space would also count what runtimes only set aside.
    set_limit(Resource::Data, limits.memory_bytes.max(DATA_BYTES_MIN))?;
    if is_other_user {
        // It counts all processes of a user, so ours, or root's, would be the wrong ones.
        set_limit(Resource::Nproc, limits.tasks.into())?;
    }
    Ok(())
}

fn set_limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

impl Guard {
    fn watch_over(mut self) {
        let end = loop {
            self.reap();
            if let Some(status) = self.status {
                break Some(end_of(status));
            }
            let left = self.timeout.map(|timeout| timeout.saturating_sub(self.watch.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                break Some(GuardEnd::TimedOut);
            }
            if let Some(end) = self.wait(left.map_or(REAP_INTERVAL, |left| left.min(REAP_INTERVAL))) {
                break end;
            }
        };
        if matches!(end, Some(GuardEnd::TimedOut | GuardEnd::Stopped)) {
            self.ask_to_end();
        }
        let is_clean =
            process_tree::kill_descendants(&[], KILL_PATIENCE, || while process_tree::reap().is_some() {});
        if let Some(end) = end {
            tell(&self.socket, &FromGuard::Ended { end, is_clean });
        }
    }

    /// Waits once. How it ends, when it is to: the inner none when the steward is gone and nobody asks.
    fn wait(&mut self, timeout: Duration) -> Option<Option<GuardEnd>> {
        let mut awaited = vec![(self.process.as_fd(), Interest::READ)];
        if !self.is_alone {
            // One whose other end is closed would be ready for ever.
            awaited.push((self.socket.as_fd(), Interest::READ));
        }
        if let Some((pipe, _)) = &self.input {
            awaited.push((pipe.as_fd(), Interest { read: false, write: true }));
        }
        let Ok(ready) = wait(&awaited, Some(timeout)) else {
            pause(timeout);
            return None;
        };
        let is_told = !self.is_alone && ready[1].read;
        let is_taking = self.input.is_some() && ready.last().is_some_and(|ready| ready.write);
        if is_taking {
            self.feed();
        }
        if !is_told {
            return None;
        }
        let mut buffer = [0; 64];
        match self.socket.receive(&mut buffer) {
            Ok(Received::Nothing) => None,
            Ok(Received::Packet(_) | Received::TooLong) => Some(Some(GuardEnd::Stopped)),
            Ok(Received::Closed) | Err(_) if self.outlives_steward => {
                self.is_alone = true;
                None
            }
            Ok(Received::Closed) | Err(_) => Some(None),
        }
    }

    fn feed(&mut self) {
        let Some((pipe, rest)) = &mut self.input else { return };
        match pipe.write(rest) {
            Ok(count) if count < rest.len() => drop(rest.drain(..count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // All of it, or as much as the command cared to read.
            Ok(_) | Err(_) => self.input = None,
        }
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = process_tree::reap() {
            if pid == self.child {
                self.status = Some(status);
            }
        }
    }

    /// Lets the command end in its own way, for a while.
    fn ask_to_end(&mut self) {
        let (watch, mut asked) = (Stopwatch::start(), BTreeSet::new());
        while process_tree::ask_descendants_to_end(&mut asked) > 0 && watch.elapsed() < GRACE {
            pause(GRACE_LOOK_INTERVAL);
            self.reap();
        }
    }
}

fn end_of(status: WaitStatus) -> GuardEnd {
    match status.terminating_signal() {
        Some(signal) => GuardEnd::Signalled { signal },
        None => GuardEnd::Exited { code: status.exit_status().unwrap_or(-1) },
    }
}
