//! A process that runs beside the test and ends with it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// Lines of a log that are shown when a test fails.
const TAIL_LINES: usize = 25;
/// How long an orderly stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// A running agent or aggregator. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        let second = file.try_clone().expect("a file can be opened twice");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.is_running(), "{} has ended\n{}", self.name, self.tail());
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// True until it ends.
    ///
    /// # Panics
    /// Never: it is our own child.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Panics
    /// When it has ended before.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("our own child");
    }

    /// SIGTERM, and waits for an orderly end.
    ///
    /// # Panics
    /// When it does not end in order.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_end(STOP_TIMEOUT);
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.tail());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on for longer than `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let ended = wait::within(limit, || self.child.try_wait().expect("our own child"));
        ended.unwrap_or_else(|| panic!("{} did not end within {limit:?}\n{}", self.name, self.tail()))
    }

    /// All it has logged, earlier runs with the same log included.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until its log holds `text`.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait_log(&self, text: &str, limit: Duration) {
        let found = wait::within(limit, || self.log().contains(text).then_some(()));
        assert!(found.is_some(), "{} did not log `{text}` within {limit:?}\n{}", self.name, self.tail());
    }

    /// The end of its log, with a heading.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- {} ({}):\n{}", self.name, self.log.display(), end.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or ended now: neither can fail in a way that matters here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
