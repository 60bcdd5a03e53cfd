//! Runs a program for its output, with a deadline and a bound on what it may say. Blocks: for errand threads.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::stopwatch::{Stopwatch, pause};

/// How often an unfinished child is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It did not start or could not be read.
    #[error("cannot run {program}")]
    Run {
        /// What was to run.
        program: String,
        /// Why it did not.
        source: io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} gave no answer within {deadline:?} and was ended")]
    Deadline {
        /// What ran.
        program: String,
        /// How long it had.
        deadline: Duration,
    },
    /// It said more than expected and was ended.
    #[error("{program} wrote more than {bytes_max} bytes and was ended")]
    TooMuch {
        /// What ran.
        program: String,
        /// How much it may write.
        bytes_max: usize,
    },
}

/// What `program` writes to its standard output, whatever its exit status.
///
/// # Errors
/// When it does not run, takes longer than `deadline` or writes more than `bytes_max`; it is then killed.
pub fn output(
    program: &Path,
    arguments: &[&str],
    deadline: Duration,
    bytes_max: usize,
) -> Result<Vec<u8>, ChildError> {
    let name = || program.display().to_string();
    let failed = |source: io::Error| ChildError::Run { program: name(), source };
    let watch = Stopwatch::start();
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut written = Vec::new();
    let end = loop {
        match drain(&mut child, &mut written, bytes_max) {
            Ok(true) => break Ok(()),
            Ok(false) if written.len() > bytes_max => {
                break Err(ChildError::TooMuch { program: name(), bytes_max });
            }
            Ok(false) if watch.elapsed() >= deadline => {
                break Err(ChildError::Deadline { program: name(), deadline });
            }
            Ok(false) => pause(LOOK_INTERVAL),
            Err(source) => break Err(failed(source)),
        }
    };
    // Killing is harmless to a child that has ended, and one that closed its output has nothing left to say.
    child.kill().map_err(failed)?;
    child.wait().map_err(failed)?;
    end.map(|()| written)
}

/// Takes what is there; true at the end of the output.
fn drain(child: &mut Child, written: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
    let Some(pipe) = child.stdout.as_mut() else { return Ok(true) };
    rustix::io::ioctl_fionbio(&*pipe, true)?;
    let mut part = [0; 4096];
    while written.len() <= bytes_max {
        match pipe.read(&mut part) {
            Ok(0) => return Ok(true),
            Ok(count) => written.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_is_read_to_its_end() {
        let said =
            output(Path::new("/bin/sh"), &["-c", "echo one; echo two >&2; exit 3"], LONG, 100).unwrap();
        assert_eq!(said, b"one\n");
    }

    #[test]
    fn a_child_that_hangs_is_ended_at_its_deadline() {
        let error =
            output(Path::new("/bin/sh"), &["-c", "exec sleep 1000"], Duration::ZERO, 100).unwrap_err();
        assert!(matches!(error, ChildError::Deadline { .. }), "{error}");
    }

    #[test]
    fn a_child_that_never_stops_talking_is_ended() {
        let error = output(Path::new("/bin/sh"), &["-c", "exec yes"], LONG, 10_000).unwrap_err();
        assert!(matches!(error, ChildError::TooMuch { .. }), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(Path::new("/nowhere/systemctl"), &[], LONG, 100).unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nowhere/systemctl");
    }
}
