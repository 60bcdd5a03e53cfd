//! Runs commands: each beneath a guard, in a transient unit where systemd runs the machine.

#![expect(clippy::disallowed_methods, reason = "an edge: it starts processes")]

pub(super) mod backup;
pub mod guard;
mod guardian;
mod message;
mod room;
pub mod service;
mod unit;

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use campanile_common::authority::BackupAction;
use campanile_common::backup::{POLICY_BYTES_MAX, policy_from_file};
use campanile_common::wire::v1::order::OutputStream;
use rustix::process::Pid;

use crate::os::packet::{PacketSocket, Received};
use crate::os::stopwatch::Stopwatch;
use crate::os::{child, file};
use crate::settings::{Settings, UnitUse};
use message::{FromGuard, ToGuard};
pub(super) use message::{GuardEnd, GuardLimits, GuardSpec};
pub(super) use room::Room;
pub(super) use unit::UnitLimits;

/// Bytes of one read of a pipe: as many as it holds.
const READ_BYTES: usize = 64 * 1024;
/// How long past its time a command's guard may take to end it: then the guard itself is killed.
const GUARD_OVERTIME: Duration = Duration::from_secs(20);
/// How long after the guard's end its pipes may stay open: who holds them then got away.
const PIPES_OVERTIME: Duration = Duration::from_secs(2);

/// The service manager's version is asked for once, and is one short line and a list of words.
const VERSION_WITHIN: Duration = Duration::from_secs(5);
const VERSION_BYTES_MAX: usize = 64 * 1024;
/// systemd runs the machine where this exists.
const SYSTEMD_FOLDER: &str = "/run/systemd/system";
/// This program, however often its file is replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How guards are started.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    /// This program.
    pub(super) program: PathBuf,
    /// `systemd-run`, where commands run in units.
    pub(super) systemd_run: Option<PathBuf>,
    /// The steward's state folder.
    pub(super) state_dir: PathBuf,
    /// Units of backups are confined.
    pub(super) confines: bool,
}

/// A guard at work.
#[derive(Debug)]
pub(super) struct Guarded {
    child: Child,
    socket: Option<PacketSocket>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    has_begun: bool,
    end: Option<(GuardEnd, bool)>,
    is_exited: bool,
    is_overdue: bool,
    watch: Stopwatch,
    /// When its guard should have ended it.
    deadline: Option<Duration>,
    /// When the guard was seen to have ended.
    ended: Option<Duration>,
    /// How long the guard's process may last after its socket was closed.
    patience: Duration,
}

/// How a guarded command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// As its guard says.
    Told(GuardEnd),
    /// As its guard says, but something it started could not be ended.
    Unclean,
    /// The guard never came so far as to start it.
    NeverBegan,
    /// The guard ended without a word.
    Silent,
}

/// Which pipe or socket of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Where the guard speaks.
    Socket,
    /// Output of the command.
    Output(OutputStream),
}

impl Launcher {
    /// Starts guards as the settings say, in units where systemd runs the machine and the steward is root.
    pub(super) fn new(settings: &Settings, uid: u32) -> Self {
        let steward = &settings.steward;
        let has_units = steward.units == UnitUse::Auto && uid == 0 && Path::new(SYSTEMD_FOLDER).is_dir();
        Self {
            program: OWN_PROGRAM.into(),
            systemd_run: has_units.then(|| steward.systemd_run.clone()),
            state_dir: steward.state_dir.clone(),
            confines: has_units && settings.is_confined && knows_properties(&steward.systemd_run),
        }
    }

    /// Starts a guard with its orders. `unit` is the name and the limits of the unit that it gets, where there are
    /// units.
    pub(super) fn start(&self, spec: GuardSpec, unit: Option<(&str, &UnitLimits)>) -> io::Result<Guarded> {
        let deadline = spec.timeout_ms.map(|timeout| Duration::from_millis(timeout.into()) + GUARD_OVERTIME);
        let (ours, theirs) = PacketSocket::pair()?;
        let packet = ToGuard::Run(spec).to_packet().map_err(io::Error::other)?;
        if !ours.send(&packet)? {
            return Err(io::Error::other("the command does not fit the socket"));
        }
        let mut command = match (&self.systemd_run, unit) {
            (Some(systemd_run), Some((name, limits))) => {
                let mut command = Command::new(systemd_run);
                let (program, properties) = self.in_room(&limits.room);
                command.args(unit::arguments(name, limits));
                command.args(properties.iter().flat_map(|property| ["-p", property])).arg("--").arg(program);
                command
            }
            _ => Command::new(&self.program),
        };
        let mut child = command
            .arg("guard")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        for pipe in
            [stdout.as_ref().map(|p| p.as_fd()), stderr.as_ref().map(|p| p.as_fd())].into_iter().flatten()
        {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Guarded {
            child,
            socket: Some(ours),
            stdout,
            stderr,
            has_begun: false,
            end: None,
            is_exited: false,
            is_overdue: false,
            watch: Stopwatch::start(),
            deadline,
            ended: None,
            patience: PIPES_OVERTIME,
        })
    }
}

impl Launcher {
    /// What work of a policy of this node may do in its unit.
    pub(super) fn room_of(&self, action: &BackupAction) -> Room {
        let policies = self.state_dir.join("backup/policies");
        let path = policies.join(action.policy().file_name());
        let read = file::read_secret(&path, POLICY_BYTES_MAX as u64).ok().flatten();
        let policy = read.and_then(|json| policy_from_file(action.policy(), &json).ok());
        Room::of(action, policy.as_ref())
    }

    /// This program as the service manager finds it, and what the unit's properties are.
    fn in_room(&self, room: &Room) -> (PathBuf, Vec<String>) {
        let properties = if self.confines { room.properties(&self.state_dir) } else { Vec::new() };
        if !properties.is_empty()
            && let Ok(program) = std::fs::read_link("/proc/self/exe")
            && program.is_file()
        {
            return (program, properties);
        }
        // The service manager starts it, not we. Not the name that the file has: an upgrade removes it. A confined
        // process may not look into ours, so that at the moment of an upgrade none is.
        (format!("/proc/{}/exe", rustix::process::getpid()).into(), Vec::new())
    }
}

/// Whether the service manager knows what units of backups are confined with.
fn knows_properties(systemd_run: &Path) -> bool {
    let said = child::output(systemd_run, &["--version"], VERSION_WITHIN, VERSION_BYTES_MAX);
    let version = said.map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    let knows = room::is_known_to(&version);
    if !knows {
        tracing::warn!(version, "this systemd is too old to confine the units of backups: 247 is needed");
    }
    knows
}

impl Guarded {
    /// What is to be waited for; output only where it `may_read`.
    pub(super) fn ports(&self, may_read: bool) -> Vec<(Port, BorrowedFd<'_>)> {
        let mut ports = Vec::new();
        ports.extend(self.socket.as_ref().map(|socket| (Port::Socket, socket.as_fd())));
        if may_read {
            let output = |stream| Port::Output(stream);
            ports.extend(self.stdout.as_ref().map(|pipe| (output(OutputStream::Stdout), pipe.as_fd())));
            ports.extend(self.stderr.as_ref().map(|pipe| (output(OutputStream::Stderr), pipe.as_fd())));
        }
        ports
    }

    /// The guard's process.
    pub(super) fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Asks the guard to stop the command.
    pub(super) fn stop(&self) {
        let Ok(packet) = ToGuard::Stop.to_packet() else { return };
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(&packet)) {
            tracing::debug!(%error, "guard is gone already");
        }
    }

    /// Has no more interest in it: the guard ends what it started and itself. To be waited for all the same.
    pub(super) fn abandon(&mut self) {
        (self.socket, self.stdout, self.stderr) = (None, None, None);
        self.patience = GUARD_OVERTIME;
    }

    /// Hears what the guard says.
    pub(super) fn listen(&mut self) {
        let mut buffer = [0; 1024];
        while let Some(socket) = &self.socket {
            match socket.receive(&mut buffer) {
                Ok(Received::Nothing) => return,
                Ok(Received::Packet(length)) => match FromGuard::from_packet(&buffer[..length]) {
                    Ok(FromGuard::Began) => self.has_begun = true,
                    Ok(FromGuard::Ended { end, is_clean }) => self.end = Some((end, is_clean)),
                    Err(error) => tracing::warn!(%error, "guard speaks in riddles"),
                },
                Ok(Received::TooLong | Received::Closed) | Err(_) => self.socket = None,
            }
        }
    }

    /// Reads up to so many times what the command wrote and hands it to `sink`; true when there may be more.
    pub(super) fn read(&mut self, stream: OutputStream, reads: usize, mut sink: impl FnMut(&[u8])) -> bool {
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..reads {
            let read = match stream {
                OutputStream::Stdout => self.stdout.as_mut().map(|pipe| pipe.read(&mut buffer)),
                OutputStream::Stderr => self.stderr.as_mut().map(|pipe| pipe.read(&mut buffer)),
            };
            match read {
                Some(Ok(count)) if count > 0 => sink(&buffer[..count]),
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    match stream {
                        OutputStream::Stdout => self.stdout = None,
                        OutputStream::Stderr => self.stderr = None,
                    }
                    return false;
                }
            }
        }
        true
    }

    /// True when the guard's process has ended and its output was read. Kills a guard that does not do its work.
    pub(super) fn is_over(&mut self) -> bool {
        let now = self.watch.elapsed();
        if self.deadline.is_some_and(|deadline| now >= deadline) && !self.is_overdue {
            self.is_overdue = true;
            self.kill();
        }
        if !self.is_exited && (self.socket.is_none() || self.is_overdue) {
            // An error is a child that is no more.
            self.is_exited = !matches!(self.child.try_wait(), Ok(None));
            let waited = *self.ended.get_or_insert(now);
            if !self.is_exited && now.saturating_sub(waited) >= self.patience {
                self.kill();
            }
        }
        if !self.is_exited {
            return false;
        }
        let ended = *self.ended.get_or_insert(now);
        if now.saturating_sub(ended) >= PIPES_OVERTIME {
            (self.socket, self.stdout, self.stderr) = (None, None, None);
        }
        self.socket.is_none() && self.stdout.is_none() && self.stderr.is_none()
    }

    /// True while nothing but waiting is left to be done: `is_over` is then asked again soon.
    pub(super) fn is_ending(&self) -> bool {
        self.socket.is_none() || self.is_overdue
    }

    fn kill(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::debug!(%error, "guard has ended already");
        }
    }

    /// How it ended, once it is over.
    pub(super) fn ended(&self) -> Ended {
        match &self.end {
            Some((end, true)) => Ended::Told(end.clone()),
            Some((_, false)) => Ended::Unclean,
            None if self.has_begun => Ended::Silent,
            None => Ended::NeverBegan,
        }
    }
}
