//! A program that is spoken with through pipes for as long as it runs.
//!
//! It has a process group of its own: what is typed at a terminal is not for it. It ends when its input does, however this
//! process ended.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use super::program;
use super::stopwatch::{Stopwatch, pause};
use super::user;

/// What is kept of what it complains: the end, where the reason is.
const COMPLAINT_BYTES_MAX: usize = 4096;
/// How long it has to end once it has nothing more to read.
const GRACE: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A program that runs.
#[derive(Debug)]
pub struct Dialogue(Child);

/// What a program reads.
pub type Input = ChildStdin;
/// What it writes.
pub type Output = ChildStdout;
/// Of what it complains.
pub type Complaints = ChildStderr;

/// The ends of its pipes.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub input: Input,
    /// What it writes.
    pub output: Output,
    /// Of what it complains.
    pub complaints: Complaints,
}

impl Dialogue {
    /// Starts a program in `/`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(path: &Path, arguments: &[String]) -> io::Result<(Self, Pipes)> {
        let own = user::own();
        let mut child = program::command(path, &own.name, &own.home)
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let pipes = Pipes {
            input: child.stdin.take().ok_or_else(gone)?,
            output: child.stdout.take().ok_or_else(gone)?,
            complaints: child.stderr.take().ok_or_else(gone)?,
        };
        Ok((Self(child), pipes))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // One that has ended cannot be killed, and need not be.
        drop(self.0.kill());
    }

    /// Waits a moment for its end, which closing its input brought about; then ends it.
    pub fn end(&mut self) {
        let watch = Stopwatch::start();
        while watch.elapsed() < GRACE {
            match self.0.try_wait() {
                Ok(None) => pause(LOOK_INTERVAL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        self.kill();
        drop(self.0.wait());
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.kill();
        drop(self.0.wait());
    }
}

/// Reads complaints to their end; the last of them. For a thread.
pub fn last_complaints(mut from: Complaints) -> String {
    let (mut kept, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = from.read(&mut part) {
        kept.extend_from_slice(&part[..count]);
        let over = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_program_is_spoken_with_and_its_last_complaints_are_kept() {
        let script = "read line; echo \"<$line>\"; yes no | head -c 99999 >&2; echo why >&2";
        let arguments = ["-c".to_owned(), script.to_owned()];
        let (mut dialogue, pipes) = Dialogue::start(Path::new("/bin/sh"), &arguments).unwrap();
        let Pipes { mut input, mut output, complaints } = pipes;
        let complaints = std::thread::spawn(move || last_complaints(complaints));
        input.write_all(b"hello\n").unwrap();
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "<hello>\n");
        let complaints = complaints.join().unwrap();
        assert!(complaints.ends_with("no\nwhy") && complaints.len() <= COMPLAINT_BYTES_MAX);
        dialogue.end();
    }
}
