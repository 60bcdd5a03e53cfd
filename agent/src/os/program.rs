//! Runs a program to its end: what it reads is given, what it says is kept up to a limit, and it has a deadline.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::child::ChildError;
use super::stopwatch::{Stopwatch, pause};
use super::user;

/// Where programs are looked for, in this order.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most bytes that are kept of each of the two outputs; the rest is read and dropped.
const SAID_BYTES_MAX: usize = 1024 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Most bytes that are given in one go: as many as a pipe holds, so that both ends move.
const GIVEN_BYTES_MAX: usize = 64 * 1024;

/// A user that a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Number of the primary group; the program has no other.
    pub gid: u32,
    /// Home folder.
    pub home: String,
}

/// What to run.
#[derive(Debug)]
pub struct Program<'a> {
    /// The program.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
    /// What it reads.
    pub stdin: &'a [u8],
    /// As whom; none for the own user.
    pub user: Option<&'a RunAs>,
    /// Where.
    pub folder: &'a Path,
    /// How long it may take; then it and what it started is killed.
    pub timeout: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// Exit code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last line that it said of its failure, for people.
    pub fn last_words(&self) -> String {
        let said = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
        };
        let end = self.code.map_or("ended by a signal".to_owned(), |code| format!("exit code {code}"));
        match said(&self.stderr).or_else(|| said(&self.stdout)) {
            Some(line) => format!("{end}: {line}"),
            None => end,
        }
    }
}

/// Whether there is a program that can be run.
pub fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// A program as all are started here: it finds nothing of our environment but where programs are and whose it is, begins
/// in `/`, and has a process group of its own.
pub fn command(program: impl AsRef<OsStr>, user: &str, home: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("HOME", home)
        .env("USER", user)
        .env("LOGNAME", user)
        .current_dir("/")
        .process_group(0);
    command
}

/// Runs it.
///
/// # Errors
/// When it does not start, or takes too long.
pub fn run(program: &Program<'_>) -> Result<Ran, ChildError> {
    let failed = |source: io::Error| ChildError::Run { program: program.path.display().to_string(), source };
    let own = user::own();
    let (name, home) = program.user.map_or((&own.name, &own.home), |user| (&user.name, &user.home));
    let mut command = command(program.path, name, home);
    command
        .args(program.arguments)
        .env("LANG", "C.UTF-8")
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("SYSTEMD_PAGER", "")
        .current_dir(program.folder)
        .stdin(if program.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = program.user {
        // The standard library drops the supplementary groups as well.
        command.uid(user.uid).gid(user.gid);
    }
    let mut child = command.spawn().map_err(failed)?;
    let ended = converse(&mut child, program).map_err(failed);
    if !matches!(ended, Ok(Some(_))) {
        // The whole group: what it started would go on otherwise. Gone already is as good.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).ok();
        }
        child.wait().map_err(failed)?;
    }
    let deadline = program.timeout;
    ended?.ok_or_else(|| ChildError::Deadline { program: program.path.display().to_string(), deadline })
}

/// Gives and takes until the program has ended; none when its time is over. A daemon that it left behind may hold its
/// outputs open: they are not waited for.
fn converse(child: &mut Child, program: &Program<'_>) -> io::Result<Option<Ran>> {
    let watch = Stopwatch::start();
    let mut given = program.stdin;
    let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(pipe) = &stdin {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    for pipe in [stdout.as_ref().map(rustix::fd::AsFd::as_fd), stderr.as_ref().map(rustix::fd::AsFd::as_fd)] {
        pipe.map_or(Ok(()), |pipe| rustix::io::ioctl_fionbio(pipe, true))?;
    }
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    loop {
        let status = child.try_wait()?;
        if let Some(pipe) = &mut stdin {
            match pipe.write(&given[..given.len().min(GIVEN_BYTES_MAX)]) {
                Ok(count) => given = &given[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It reads no more.
                Err(_) => given = &[],
            }
        }
        if given.is_empty() {
            stdin = None;
        }
        let has_spoken = take(&mut stdout, &mut said)? | take(&mut stderr, &mut complained)?;
        if let Some(status) = status {
            return Ok(Some(Ran { code: status.code(), stdout: said, stderr: complained }));
        }
        if watch.elapsed() >= program.timeout {
            return Ok(None);
        }
        if !has_spoken {
            pause(LOOK_INTERVAL);
        }
    }
}

/// Takes all that is there; true where something was.
fn take(pipe: &mut Option<impl Read>, kept: &mut Vec<u8>) -> io::Result<bool> {
    let Some(reader) = pipe else { return Ok(false) };
    let mut part = [0; 16 * 1024];
    let mut has_any = false;
    loop {
        match reader.read(&mut part) {
            Ok(0) => {
                *pipe = None;
                return Ok(has_any);
            }
            Ok(count) => {
                has_any = true;
                let room = SAID_BYTES_MAX.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&part[..room]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(has_any),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stdin: &[u8], timeout: Duration) -> Result<Ran, ChildError> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let (path, folder) = (Path::new("/bin/sh"), Path::new("/"));
        run(&Program { path, arguments: &arguments, stdin, user: None, folder, timeout })
    }

    #[test]
    fn a_program_reads_all_it_is_given_and_both_outputs_are_kept() {
        let given = vec![b'x'; 1_000_000];
        let ran = shell("cat; echo no >&2; exit 3", &given, Duration::from_secs(60)).unwrap();
        assert_eq!((ran.code, ran.stdout.len(), ran.stderr.as_slice()), (Some(3), 1_000_000, &b"no\n"[..]));
        assert_eq!(ran.last_words(), "exit code 3: no");
    }

    #[test]
    fn the_environment_holds_nothing_of_ours() {
        let ran = shell("echo $LANG-$CARGO_MANIFEST_DIR", b"", Duration::from_secs(60)).unwrap();
        assert_eq!(ran.text(), "C.UTF-8-\n");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_all_it_started() {
        let error = shell("sleep 1000 & sleep 1000", b"", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ChildError::Deadline { .. }), "{error}");
    }

    #[test]
    fn one_that_leaves_a_daemon_behind_is_not_waited_for() {
        let ran = shell("sleep 2 & echo done", b"", Duration::from_secs(60)).unwrap();
        assert_eq!(ran.text(), "done\n");
    }

    #[test]
    fn endless_output_is_read_and_dropped() {
        let ran = shell("yes | head -c 3000000", b"", Duration::from_secs(60)).unwrap();
        assert_eq!(ran.stdout.len(), SAID_BYTES_MAX);
    }
}
