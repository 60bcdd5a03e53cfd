//! Programs in a process group of their own, which ends as a whole: with its first process, at a deadline, or when this
//! process is to stop. What such a program complains of is kept, up to a limit.

use std::io::{self, PipeReader, Read};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::program;
use super::stopwatch::{Stopwatch, pause};
use super::user;

/// What is kept of the output: its end, where the reason is.
const SAID_BYTES_MAX: usize = 4096;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a group that is to stop has for it before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// What is run, as the own user, in `/`.
#[derive(Debug)]
pub struct GroupCommand<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// Of its environment, beside the usual.
    pub environment: &'a [(&'a str, String)],
    /// How long it may take.
    pub deadline: Duration,
}

/// A program that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is none.
    #[error("no program is named")]
    Nothing,
    /// It did not start, or could not be waited for.
    #[error("cannot run `{program}`: {source}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long, and was killed with all that it started.
    #[error("it took longer than {} s and was ended", .0.as_secs_f64())]
    Deadline(Duration),
    /// This process is to stop.
    #[error("it was stopped")]
    Stopped,
    /// It says that it failed.
    #[error("{0}")]
    Failed(String),
}

/// How a group ended.
enum End {
    Exited(ExitStatus),
    Deadline,
    Stopped,
}

/// A first process, and what all of them complain of.
struct Group {
    child: Child,
    said: PipeReader,
    kept: Vec<u8>,
    watch: Stopwatch,
}

/// Runs a program to its end.
///
/// # Errors
/// When it does not start, takes too long, is stopped, or fails.
pub fn run(command: &GroupCommand<'_>, is_stopping: &(dyn Fn() -> bool + Sync)) -> Result<(), GroupError> {
    let (mut group, _) = start(command, false)?;
    let end = group.tend(command.deadline, is_stopping);
    judge(command, end, &group.kept)
}

/// Runs a program whose standard output is read by `consume`. What it is given second tells, once the output has
/// ended, whether the program ended well; it waits for that. A program that is not wanted any more is ended.
///
/// # Errors
/// When it does not start.
pub fn stream<T>(
    command: &GroupCommand<'_>,
    is_stopping: &(dyn Fn() -> bool + Sync),
    consume: impl FnOnce(ChildStdout, &mut dyn FnMut() -> io::Result<()>) -> T,
) -> Result<T, GroupError> {
    let (mut group, stdout) = start(command, true)?;
    let stdout = stdout.ok_or(GroupError::Nothing)?;
    let is_given_up = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    Ok(thread::scope(|scope| {
        let is_given_up = &is_given_up;
        scope.spawn(move || {
            let end = group.tend(command.deadline, &|| is_stopping() || is_given_up.load(Ordering::Relaxed));
            // Whoever gave up does not listen.
            drop(sender.send(judge(command, end, &group.kept)));
        });
        let mut ended_well = || match receiver.recv() {
            Ok(judged) => judged.map_err(io::Error::other),
            Err(_) => Err(io::Error::other(GroupError::Stopped)),
        };
        let consumed = consume(stdout, &mut ended_well);
        is_given_up.store(true, Ordering::Relaxed);
        consumed
    }))
}

fn start(command: &GroupCommand<'_>, is_read: bool) -> Result<(Group, Option<ChildStdout>), GroupError> {
    let (name, arguments) = command.argv.split_first().ok_or(GroupError::Nothing)?;
    let failed = |source| GroupError::Run { program: name.clone(), source };
    let (said, saying) = io::pipe().map_err(failed)?;
    rustix::io::ioctl_fionbio(&said, true).map_err(|error| failed(error.into()))?;
    let own = user::own();
    let stdout = if is_read { Stdio::piped() } else { Stdio::from(saying.try_clone().map_err(failed)?) };
    let mut child = program::command(name, &own.name, &own.home)
        .args(arguments)
        .env("LANG", "C.UTF-8")
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::from(saying))
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take();
    Ok((Group { child, said, kept: Vec::new(), watch: Stopwatch::start() }, stdout))
}

fn judge(command: &GroupCommand<'_>, end: io::Result<End>, kept: &[u8]) -> Result<(), GroupError> {
    let program = command.argv.first().cloned().unwrap_or_default();
    match end.map_err(|source| GroupError::Run { program, source })? {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(status) => {
            let text = String::from_utf8_lossy(kept);
            let words = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            let end =
                status.code().map_or("ended by a signal".to_owned(), |code| format!("exit code {code}"));
            Err(GroupError::Failed(words.map_or(end.clone(), |words| format!("{end}: {words}"))))
        }
        End::Deadline => Err(GroupError::Deadline(command.deadline)),
        End::Stopped => Err(GroupError::Stopped),
    }
}

impl Group {
    /// Waits for the first process; then all the others are ended.
    fn tend(&mut self, deadline: Duration, is_stopping: &(dyn Fn() -> bool + Sync)) -> io::Result<End> {
        let end = loop {
            self.listen();
            if self.has_exited()? {
                break None;
            }
            if is_stopping() {
                self.signal(Signal::TERM);
                let since = self.watch.elapsed();
                while !self.has_exited()? && self.watch.elapsed().saturating_sub(since) < GRACE {
                    self.listen();
                    pause(LOOK_INTERVAL);
                }
                break Some(End::Stopped);
            }
            if self.watch.elapsed() >= deadline {
                break Some(End::Deadline);
            }
            pause(LOOK_INTERVAL);
        };
        // Before the first process is taken leave of: until then the group's number is no other's.
        self.signal(Signal::KILL);
        let status = self.child.wait()?;
        self.listen();
        Ok(end.unwrap_or(End::Exited(status)))
    }

    fn pid(&self) -> io::Result<Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::Error::other("a child without a number"))
    }

    fn has_exited(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid()?), options)?.is_some())
    }

    /// A group that is gone needs no signal.
    fn signal(&self, signal: Signal) {
        if let Ok(pid) = self.pid() {
            kill_process_group(pid, signal).ok();
        }
    }

    fn listen(&mut self) {
        let mut part = [0; 4096];
        // Bounded: who never stops talking is heard again the next time.
        for _ in 0..16 {
            let Ok(count @ 1..) = self.said.read(&mut part) else { return };
            self.kept.extend_from_slice(&part[..count]);
            let excess = self.kept.len().saturating_sub(SAID_BYTES_MAX);
            self.kept.drain(..excess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, deadline: Duration) -> Result<(), GroupError> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let environment = [("CAMPANILE_POLICY", "files".to_owned())];
        run(&GroupCommand { argv: &argv, environment: &environment, deadline }, &|| false)
    }

    fn read(script: &str, is_stopping: bool) -> (String, io::Result<()>) {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let command = GroupCommand { argv: &argv, environment: &[], deadline: LONG };
        let consume = |mut stdout: ChildStdout, ended_well: &mut dyn FnMut() -> io::Result<()>| {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            (text, ended_well())
        };
        stream(&command, &|| is_stopping, consume).unwrap()
    }

    #[test]
    fn how_a_program_failed_is_told_in_its_last_words() {
        assert!(shell("[ $CAMPANILE_POLICY = files ]", LONG).is_ok());
        let error = shell("echo one; echo the reason >&2; exit 3", LONG).unwrap_err();
        assert_eq!(error.to_string(), "exit code 3: the reason");
        assert!(shell("yes | head -c 3000000; exit 0", LONG).is_ok(), "whatever it says is read");
        assert!(shell("kill -9 $$", LONG).unwrap_err().to_string().contains("signal"));
    }

    #[test]
    fn a_group_ends_whole_at_its_deadline_and_with_its_first_process() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        for (script, is_fine) in [("sleep 1000", false), ("", true)] {
            let script = format!("sleep 1000 & echo $! > {}; {script}", pid.display());
            assert_eq!(shell(&script, Duration::from_millis(300)).is_ok(), is_fine);
            let number = std::fs::read_to_string(&pid).unwrap();
            let stat = format!("/proc/{}/stat", number.trim());
            let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
            let watch = Stopwatch::start();
            while !is_gone() {
                assert!(watch.elapsed() < LONG, "it still runs");
                pause(LOOK_INTERVAL);
            }
        }
    }

    #[test]
    fn what_is_read_is_good_only_when_its_program_says_so() {
        let (text, end) = read("echo dump", false);
        assert!(text == "dump\n" && end.is_ok());
        let (text, end) = read("echo half; echo broken >&2; exit 1", false);
        assert_eq!((text.as_str(), end.unwrap_err().to_string().as_str()), ("half\n", "exit code 1: broken"));
        let (_, end) = read("sleep 1000", true);
        assert_eq!(end.unwrap_err().to_string(), "it was stopped");
    }

    #[test]
    fn a_reader_that_gives_up_ends_the_program() {
        let argv = ["sh", "-c", "yes"].map(str::to_owned);
        let command = GroupCommand { argv: &argv, environment: &[], deadline: LONG };
        assert_eq!(stream(&command, &|| false, |_, _| 7).unwrap(), 7);
    }

    #[test]
    fn a_missing_program_is_named() {
        let argv = ["/nowhere/pg_dump".to_owned()];
        let command = GroupCommand { argv: &argv, environment: &[], deadline: LONG };
        assert!(run(&command, &|| false).unwrap_err().to_string().contains("`/nowhere/pg_dump`"));
    }
}
