//! Processes: starting ours, finding them again, stopping exactly them.
//!
//! A process is ours when it runs one of our programs with one of our settings files. It is held by a pidfd from
//! before that is checked until the signal is sent, so that a number the kernel gave to somebody else meanwhile is
//! never signalled.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_dumpable_behavior,
};

/// How often a child is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// Longest command line that is compared.
const COMMAND_LINE_BYTES_MAX: u64 = 16 * 1024;

/// A process that cannot mean another meanwhile.
#[derive(Debug)]
pub struct Held {
    pid: u32,
    fd: OwnedFd,
}

/// Finds every process that runs `program` with `--config` and one of `settings`.
///
/// # Errors
/// When the list of processes cannot be read.
pub fn find(program: &str, settings: &BTreeSet<PathBuf>) -> io::Result<Vec<Held>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Processes come and go: one that cannot be looked at any more is none of those to be stopped.
        let Some(held) = hold(pid) else { continue };
        if runs(pid, program, settings) {
            found.push(held);
        }
    }
    Ok(found)
}

/// Asks all to end, and ends those that have not within `grace`. Returns when all are gone.
///
/// # Errors
/// When one cannot be signalled or waited for.
pub fn stop(processes: &[Held], grace: Duration) -> io::Result<()> {
    for process in processes {
        send(process, Signal::TERM)?;
        // One that was halted must wake up to hear it.
        send(process, Signal::CONT)?;
    }
    let deadline = Instant::now() + grace;
    for process in processes {
        if !wait_until(process, deadline)? {
            send(process, Signal::KILL)?;
        }
    }
    let deadline = Instant::now() + grace;
    for process in processes {
        if !wait_until(process, deadline)? {
            return Err(io::Error::other(format!("process {} does not end", process.pid)));
        }
    }
    Ok(())
}

/// Starts a daemon of ours: in a process group of its own, so that a Ctrl-C at the terminal reaches us alone, and
/// with everything it says appended to `log`.
///
/// # Errors
/// When it cannot be started.
pub fn start(program: &Path, arguments: &[&OsStr], log: &Path) -> io::Result<Child> {
    let log = append(log)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Runs a short-lived program to its end with `input` on its standard input; what it says on standard error goes to
/// `log`. Gives what it printed. `keep_waiting` is asked every few milliseconds; after a no the program is killed.
///
/// # Errors
/// When it cannot be started or did not end in time.
pub fn run(
    program: &Path,
    arguments: &[&OsStr],
    input: &[u8],
    log: &Path,
    keep_waiting: impl Fn() -> bool,
) -> io::Result<(ExitStatus, String)> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(append(log)?)
        .process_group(0)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why by its exit status. The input is far shorter than a pipe.
        match stdin.write_all(input) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if !keep_waiting() {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
    };
    let mut printed = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(COMMAND_LINE_BYTES_MAX).read_to_string(&mut printed)?;
    }
    Ok((status, printed))
}

/// Starts a daemon of ours that reads `secret` from its standard input and says in one line whether it is ready.
/// Gives that line.
///
/// # Errors
/// When it cannot be started or says nothing.
pub fn start_with_secret(program: &Path, arguments: &[&OsStr], secret: &[u8]) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(secret)?;
    }
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).take(COMMAND_LINE_BYTES_MAX).read_line(&mut line)?;
    }
    if line.is_empty() {
        return Err(io::Error::other(format!("it ended at once ({})", child.wait()?)));
    }
    Ok(line.trim_end().to_owned())
}

/// Keeps other processes of the same user from reading this one's memory, and the kernel from writing it to a file.
///
/// # Errors
/// When the kernel refuses.
pub fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The last lines of a log, at most 4 KiB of them.
pub fn tail(log: &Path) -> String {
    const TAIL_BYTES: u64 = 4096;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if text.trim().is_empty() => "(the log is empty)".to_owned(),
        Ok(text) => text.trim_end().to_owned(),
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}

/// Sleeps for a moment between two looks at something.
pub fn pause(length: Duration) {
    thread::sleep(length);
}

fn append(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(log)
}

fn hold(pid: u32) -> Option<Held> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    Some(Held { pid, fd: pidfd_open(raw, PidfdFlags::empty()).ok()? })
}

fn runs(pid: u32, program: &str, settings: &BTreeSet<PathBuf>) -> bool {
    let mut line = Vec::new();
    let read = File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(COMMAND_LINE_BYTES_MAX).read_to_end(&mut line));
    read.is_ok() && is_ours(&line, program, settings)
}

/// Judges a command line as `/proc` gives it, each argument ended by a zero byte.
fn is_ours(line: &[u8], program: &str, settings: &BTreeSet<PathBuf>) -> bool {
    let mut arguments = line.split(|byte| *byte == 0).map(|bytes| Path::new(OsStr::from_bytes(bytes)));
    let is_program = arguments.next().and_then(Path::file_name) == Some(OsStr::new(program));
    is_program
        && arguments
            .clone()
            .zip(arguments.skip(1))
            .any(|(flag, value)| flag == Path::new("--config") && settings.contains(value))
}

fn send(process: &Held, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(&process.fd, signal) {
        // It ended by itself.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

/// Waits for the end of the process; false when the deadline came first.
fn wait_until(process: &Held, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        // A pidfd becomes readable when its process ends, also before anybody has reaped it.
        let mut ends = [PollFd::new(&process.fd, PollFlags::IN)];
        match poll(&mut ends, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(line: &[u8]) -> bool {
        let settings = BTreeSet::from([PathBuf::from("/demo/nodes/a/agent.toml")]);
        is_ours(line, "campanile-agent", &settings)
    }

    #[test]
    fn our_program_with_our_settings_is_ours() {
        assert!(ours(b"/usr/bin/campanile-agent\0run\0--config\0/demo/nodes/a/agent.toml\0"));
    }

    #[test]
    fn an_editor_another_fleet_and_another_program_are_not() {
        for line in [
            b"vim\0/demo/nodes/a/agent.toml\0".as_slice(),
            b"vim\0--config\0/demo/nodes/a/agent.toml\0",
            b"campanile-agent\0run\0--config\0/other/nodes/a/agent.toml\0",
            b"campanile-aggregator\0serve\0--config\0/demo/nodes/a/agent.toml\0",
            b"campanile-agent\0run\0/demo/nodes/a/agent.toml\0",
            b"campanile-agent\0run\0--config\0",
            b"",
        ] {
            assert!(!ours(line), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn the_tail_of_a_long_log_is_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, format!("{}\nthe end\n", "x".repeat(10_000))).unwrap();
        let tail = tail(&log);
        assert!(tail.ends_with("the end"));
        assert!(tail.len() <= 4096);
    }

    #[test]
    fn a_stopped_process_is_gone_even_if_it_ignores_the_first_signal() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read -r line; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let held = hold(child.id()).unwrap();
        stop(&[held], Duration::from_millis(50)).unwrap();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn what_a_program_prints_comes_back_and_what_it_complains_goes_to_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = "read -r line; echo \"got $line\"; echo complaint >&2; exit 3";
        let arguments = [OsStr::new("-c"), OsStr::new(script)];
        let (status, printed) = run(Path::new("/bin/sh"), &arguments, b"secret\n", &log, || true).unwrap();
        assert_eq!((status.code(), printed.as_str()), (Some(3), "got secret\n"));
        assert_eq!(tail(&log), "complaint");
    }
}
